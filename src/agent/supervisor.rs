//! Every thread and long-lived task of the agent, named, watched and joined.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::Error;
use crate::store;

/// Whether a member may end before the agent stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A source that follows its input for ever.
    EndlessSource,
    /// A source whose input has an end.
    EndingSource,
    /// Something behind the sources, which ends when its input closes.
    Stage,
}

#[derive(Debug)]
struct Member {
    name: String,
    role: Role,
    /// Somebody asked it to end.
    is_asked: bool,
    /// None: a task of the runtime.
    thread: Option<JoinHandle<()>>,
}

/// Why a member ended.
type Reason = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct Ended {
    number: u64,
    result: Result<(), Reason>,
}

/// The members that have not ended.
#[derive(Debug)]
pub struct Supervisor {
    /// By number: for a moment two may have one name, where one takes the place of the other.
    members: BTreeMap<u64, Member>,
    next: u64,
    tell: mpsc::UnboundedSender<Ended>,
    told: mpsc::UnboundedReceiver<Ended>,
    ends_expected: bool,
}

impl Default for Supervisor {
    fn default() -> Self {
        // Bounded by the number of members: each tells once.
        let (tell, told) = mpsc::unbounded_channel();
        Self { members: BTreeMap::new(), next: 0, tell, told, ends_expected: false }
    }
}

impl Supervisor {
    /// Runs `work` on a thread called `name`.
    pub fn thread<E: Into<Reason>>(
        &mut self,
        name: &str,
        role: Role,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<(), Error> {
        let tell = self.tell.clone();
        let number = self.number();
        let thread = std::thread::Builder::new()
            // Linux shows 15 characters.
            .name(name.chars().take(15).collect())
            .spawn(move || {
                // A panic ends this stage, and the agent in good order, not the process.
                let result = match catch_unwind(AssertUnwindSafe(work)) {
                    Ok(result) => result.map_err(Into::into),
                    Err(_) => Err("it panicked".into()),
                };
                // The supervisor is gone only after it gave the member up.
                let _ = tell.send(Ended { number, result });
            })
            .map_err(|source| Error::System { what: "thread", source })?;
        self.insert(number, name, role, Some(thread));
        Ok(())
    }

    /// Runs `work` on the runtime.
    pub fn task<E: Into<Reason> + Send + 'static>(
        &mut self,
        name: &str,
        role: Role,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let tell = self.tell.clone();
        let number = self.number();
        let task = tokio::spawn(work);
        tokio::spawn(async move {
            let result = match task.await {
                Ok(result) => result.map_err(Into::into),
                Err(panic) => Err(panic.into()),
            };
            let _ = tell.send(Ended { number, result });
        });
        self.insert(number, name, role, None);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn insert(&mut self, number: u64, name: &str, role: Role, thread: Option<JoinHandle<()>>) {
        let name = name.to_owned();
        self.members.insert(number, Member { name, role, is_asked: false, thread });
    }

    /// From now on the member of this `name` may end.
    pub fn expect_end(&mut self, name: &str) {
        for member in self.members.values_mut().filter(|member| member.name == name) {
            member.is_asked = true;
        }
    }

    /// From now on members may end.
    pub fn expect_ends(&mut self) {
        self.ends_expected = true;
    }

    /// Waits for the next member to end; for ever when there is none. An error: it should not
    /// have ended, or not like that.
    pub async fn next(&mut self) -> Result<(), Error> {
        if self.members.is_empty() {
            return std::future::pending().await;
        }
        let Some(Ended { number, result }) = self.told.recv().await else { return Ok(()) };
        let Some(member) = self.members.remove(&number) else { return Ok(()) };
        let Member { name, role, is_asked, thread } = member;
        if let Some(thread) = thread {
            // It told that it ended as its last act, so this does not wait.
            let _ = thread.join();
        }
        tracing::debug!(name, "ended");
        match result {
            Err(reason) => Err(match reason.downcast::<store::Error>() {
                // Another start would change nothing.
                Ok(error) if error.is_damage() => Error::Store(*error),
                Ok(error) => Error::StageDied { name, reason: error.to_string() },
                Err(reason) => Error::StageDied { name, reason: reason.to_string() },
            }),
            Ok(()) if self.ends_expected || is_asked || role == Role::EndingSource => Ok(()),
            Ok(()) => Err(Error::StageDied { name, reason: "nobody asked it to".into() }),
        }
    }

    /// Sources that have not ended.
    pub fn sources_left(&self) -> usize {
        self.members.values().filter(|member| member.role != Role::Stage).count()
    }

    /// Whether every member has ended.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The names of those that have not ended.
    pub fn names(&self) -> String {
        self.members.values().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}
