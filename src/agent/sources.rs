//! The sources that run, and what takes their places.
//!
//! A source that is replaced is drained first: what it has handed over is committed before the next
//! one asks the store where to go on. So nothing is read twice and nothing is left out, however many
//! reloads come in between: each only says what is to come then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::task::JoinSet;

use super::supervisor::{Role, Supervisor};
use super::{Error, Source, holds};
use crate::breaker::Breaker;
use crate::chunk::SourceTag;
use crate::intake::{Drained, Intake};
use crate::position::Cursor;
use crate::settlement::Posting;
use crate::source::{Context, Prepared, Running};
use crate::stop::Stopper;
use crate::store::reader::Reader;
use crate::telemetry::{SourceCounters, Vitals};

/// After a failure to read the store it is tried again so much later.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// All sources.
#[derive(Debug)]
pub(super) struct Sources {
    agent: Arc<str>,
    directory: PathBuf,
    vitals: Arc<Vitals>,
    slots: BTreeMap<Arc<str>, Slot>,
    /// Each ends with a slot that is free, and what the store knows of its files.
    drains: JoinSet<Freed>,
    /// None: there will be no further source.
    supplies: Option<Supplies>,
}

/// What a source hands over to.
#[derive(Debug)]
pub(super) struct Supplies {
    /// Lines.
    pub(super) intake: Intake,
    /// That it is held.
    pub(super) postings: Sender<Posting>,
}

/// The place of one source.
#[derive(Debug, Default)]
struct Slot {
    /// None: nothing is left of the source before, or there was none.
    active: Option<Active>,
    /// What comes next; none behind a drained source: it goes.
    next: Option<Successor>,
    /// Somebody waits until the place is free.
    is_awaited: bool,
}

/// A source that runs.
#[derive(Debug)]
struct Active {
    tag: Arc<SourceTag>,
    stopper: Stopper,
    /// Where its end is seen; none: somebody waits for it.
    drained: Option<Drained>,
    /// Where it listens.
    address: Option<String>,
}

/// The place of a source that has ended, and of which everything is committed.
#[derive(Debug)]
pub(super) struct Freed {
    name: Arc<str>,
    cursors: Vec<Cursor>,
}

/// A source that can be started.
#[derive(Debug)]
pub(super) struct Successor {
    /// What is configured.
    pub(super) source: Source,
    /// What was prepared of it.
    pub(super) prepared: Prepared,
}

impl Sources {
    /// None yet, of the agent called `agent` with its store in `directory`.
    pub(super) fn new(
        agent: &Arc<str>,
        directory: PathBuf,
        vitals: &Arc<Vitals>,
        supplies: Supplies,
    ) -> Self {
        Self {
            agent: Arc::clone(agent),
            directory,
            vitals: Arc::clone(vitals),
            slots: BTreeMap::new(),
            drains: JoinSet::new(),
            supplies: Some(supplies),
        }
    }

    /// Those that run, as everything else sees them.
    pub(super) fn tags(&self) -> Vec<Arc<SourceTag>> {
        self.active().map(|source| Arc::clone(&source.tag)).collect()
    }

    /// Where each listens that does.
    pub(super) fn addresses(&self) -> Vec<(Arc<str>, String)> {
        let address =
            |source: &Active| Some((Arc::clone(&source.tag.name), source.address.clone()?));
        self.active().filter_map(address).collect()
    }

    fn active(&self) -> impl Iterator<Item = &Active> {
        self.slots.values().filter_map(|slot| slot.active.as_ref())
    }

    /// Starts a source when the agent starts.
    pub(super) fn begin(
        &mut self,
        source: Successor,
        supervisor: &mut Supervisor,
    ) -> Result<(), Error> {
        self.start(source, Arc::default(), supervisor)
    }

    /// Has `successor` take its place, behind the source of its name when there is one.
    pub(super) fn put(&mut self, successor: Successor, supervisor: &mut Supervisor) {
        let name = Arc::clone(&successor.source.name);
        let slot = self.slots.entry(Arc::clone(&name)).or_default();
        slot.next = Some(successor);
        if slot.active.is_some() {
            self.drain(&name, supervisor);
        } else if !std::mem::replace(&mut slot.is_awaited, true) {
            // There may have been one of its name, in another run or before another reload.
            self.await_place(name, None);
        }
    }

    /// Ends the source called `name`, with nothing in its place.
    pub(super) fn remove(&mut self, name: &str, supervisor: &mut Supervisor) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.next = None;
            self.drain(name, supervisor);
        }
    }

    fn drain(&mut self, name: &str, supervisor: &mut Supervisor) {
        let active = self.slots.get_mut(name).and_then(|slot| slot.active.as_mut());
        let Some(Active { tag, stopper, drained, .. }) = active else { return };
        // Asked before: it has not ended yet.
        let Some(drained) = drained.take() else { return };
        supervisor.expect_end(&member(name));
        supervisor.expect_end(&holds::member(name));
        stopper.drain();
        let name = Arc::clone(&tag.name);
        self.await_place(name, Some(drained));
    }

    /// Waits for the end of a source and then for what the store knows of its files.
    fn await_place(&mut self, name: Arc<str>, drained: Option<Drained>) {
        let directory = self.directory.clone();
        self.drains.spawn(async move {
            if let Some(drained) = drained {
                drained.wait().await;
            }
            let cursors = cursors(Arc::clone(&name), directory).await;
            Freed { name, cursors }
        });
    }

    /// Whether some source is being drained so that another takes its place, or none.
    pub(super) fn are_changing(&self) -> bool {
        self.supplies.is_some() && !self.drains.is_empty()
    }

    /// Waits until a source is drained; for ever while none is being drained.
    pub(super) async fn freed(&mut self) -> Result<Freed, Error> {
        match self.drains.join_next().await {
            Some(Ok(freed)) => Ok(freed),
            Some(Err(error)) => {
                let reason = error.to_string();
                Err(Error::StageDied { name: "reload".into(), reason })
            }
            None => std::future::pending().await,
        }
    }

    /// Fills a place that was freed.
    pub(super) fn fill(
        &mut self,
        Freed { name, cursors }: Freed,
        supervisor: &mut Supervisor,
    ) -> Result<(), Error> {
        let (Some(Slot { active, next, .. }), Some(supplies)) =
            (self.slots.remove(&name), &self.supplies)
        else {
            return Ok(());
        };
        match (active, next) {
            (active, Some(Successor { source, prepared })) => {
                let prepared = prepared.behind(cursors);
                let counters = active.map(|before| Arc::clone(&before.tag.counters));
                let successor = Successor { source, prepared };
                self.start(successor, counters.unwrap_or_default(), supervisor)?;
                self.announce(&name);
            }
            // One that is gone is not held.
            (Some(gone), None) => holds::post_reading(&gone.tag, &supplies.postings),
            (None, None) => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        Successor { source, prepared }: Successor,
        counters: Arc<SourceCounters>,
        supervisor: &mut Supervisor,
    ) -> Result<(), Error> {
        let Some(Supplies { intake, postings }) = &self.supplies else { return Ok(()) };
        let Source { name, destination, mapping, settings: _, breaker } = source;
        let stopper = Stopper::new();
        let stopper = stopper.map_err(|source| Error::System { what: "stop signal", source })?;
        let breaker = breaker.map(Breaker::new).unwrap_or_default();
        let tag = SourceTag { mapping, counters, breaker, ..SourceTag::new(name, destination) };
        let (tag, stop) = (Arc::new(tag), stopper.signal());
        // Its state is on record before its first line is.
        holds::start(&tag, postings, &stop.drain, supervisor);
        let (intake, drained) = intake.traced();
        let (agent, vitals) = (Arc::clone(&self.agent), Arc::clone(&self.vitals));
        let pulse = vitals.stage(&member(&tag.name));
        let context = Context { agent, tag: Arc::clone(&tag), intake, stop, vitals, pulse };
        let address = prepared.address();
        let role = if prepared.ends() { Role::EndingSource } else { Role::EndlessSource };
        match prepared.into_running(context) {
            Running::Blocking(work) => supervisor.thread(&member(&tag.name), role, work)?,
            Running::Async(work) => supervisor.task(&member(&tag.name), role, work),
        }
        let name = Arc::clone(&tag.name);
        let active = Some(Active { tag, stopper, drained: Some(drained), address });
        self.slots.insert(name, Slot { active, ..Slot::default() });
        Ok(())
    }

    /// Tells where a source listens that was started by a reload.
    fn announce(&self, name: &str) {
        let active = self.slots.get(name).and_then(|slot| slot.active.as_ref());
        if let Some(Active { address: Some(address), .. }) = active {
            tracing::info!(source = name, %address, "listening");
        }
    }

    /// Asks every source to read its files again that it has read once, and ends every hold.
    pub(super) fn look_again(&self) {
        for Active { tag, stopper, .. } in self.active() {
            stopper.look_again();
            tag.breaker.close();
        }
    }

    /// Lets the intake hold so much.
    pub(super) fn raise_intake(&self, bytes_max: u32) {
        if let Some(supplies) = &self.supplies {
            supplies.intake.raise(bytes_max);
        }
    }

    /// No source comes any more. False: so it was before.
    pub(super) fn close(&mut self) -> bool {
        self.supplies.take().is_some()
    }

    /// Asks every source to drain and end; none comes any more.
    pub(super) fn stop(&mut self) {
        self.supplies = None;
        for slot in self.slots.values_mut() {
            slot.next = None;
            if let Some(active) = &mut slot.active {
                active.stopper.drain();
            }
        }
    }

    /// Asks every source to end now.
    pub(super) fn abandon(&mut self) {
        self.stop();
        for active in self.slots.values_mut().filter_map(|slot| slot.active.as_mut()) {
            active.stopper.abandon();
        }
    }
}

/// The name of a source's thread or task.
fn member(source: &str) -> String {
    format!("source/{source}")
}

/// What the store knows of the files of `source`.
async fn cursors(source: Arc<str>, directory: PathBuf) -> Vec<Cursor> {
    loop {
        let (name, directory) = (Arc::clone(&source), directory.clone());
        // The disk is not waited for on the runtime's threads.
        let read = move || Reader::open(&directory)?.cursors(&name);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(cursors)) => return cursors,
            Ok(Err(error)) => {
                tracing::error!(source = &*source, %error, "failed to read where a source goes on, trying again");
            }
            // The runtime ends.
            Err(_) => return std::future::pending().await,
        }
        tokio::time::sleep(STORE_PAUSE).await;
    }
}
