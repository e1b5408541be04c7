//! Makes known when a source is held and when it goes on: in the log and in the store. It is held
//! for its lines by the breaker, and before the first schema of its meter has come.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::supervisor::{Role, Supervisor};
use crate::breaker::{Found, Standing};
use crate::chunk::SourceTag;
use crate::clock::Timestamp;
use crate::settlement::{Posting, Settlement, SourceState};

/// Records that `source` begins to read, and makes known what its breaker decides until sources
/// drain. To be called before the source runs.
pub(super) fn start(
    source: &Arc<SourceTag>,
    postings: &Sender<Posting>,
    drain: &CancellationToken,
    supervisor: &mut Supervisor,
) {
    let awaited = source.destination.without_schema();
    let is_ready = awaited.is_none();
    let standings = source.breaker.standings();
    if let Some(meter) = awaited {
        let reason = format!("the schema of meter {} has not come yet", meter.name);
        post_state(source, SourceState::Held, reason, postings);
    } else {
        post(source, Standing::Reading, postings);
        if standings.is_none() {
            return;
        }
    }
    let name = member(&source.name);
    let (source, postings, drain) = (Arc::clone(source), postings.clone(), drain.clone());
    supervisor.task(&name, Role::Stage, async move {
        if !is_ready {
            // Without the token the committer would wait for this sender.
            if drain.run_until_cancelled(source.destination.schemas_come()).await.is_none() {
                return Ok(());
            }
            post(&source, Standing::Reading, &postings);
        }
        if let Some(standings) = standings {
            return watch(source, standings, postings, drain).await;
        }
        drop(postings);
        drain.cancelled().await;
        Ok(())
    });
}

/// The name of the task for a source.
pub(super) fn member(source: &str) -> String {
    format!("hold/{source}")
}

/// Records that `source` is not held.
pub(super) fn post_reading(source: &SourceTag, postings: &Sender<Posting>) {
    post(source, Standing::Reading, postings);
}

async fn watch(
    source: Arc<SourceTag>,
    mut standings: watch::Receiver<Standing>,
    postings: Sender<Posting>,
    drain: CancellationToken,
) -> Result<(), Error> {
    let mut held_since = Instant::now();
    loop {
        tokio::select! {
            // First: behind a stop nobody is held, and the committer waits for this sender.
            biased;
            () = drain.cancelled() => return Ok(()),
            changed = standings.changed() => if changed.is_err() { return Ok(()) },
        }
        let standing = *standings.borrow_and_update();
        let name = &*source.name;
        match standing {
            Standing::Held { found, hold } => {
                held_since = Instant::now();
                let (invalid_share, lines) = (found.share(), found.lines);
                let hold_seconds = hold.as_secs_f64();
                tracing::error!(
                    source = name,
                    invalid_share,
                    lines,
                    hold_seconds,
                    "source held: too many of its lines are no events"
                );
            }
            Standing::Reading => {
                let held_seconds = held_since.elapsed().as_secs_f64();
                tracing::info!(source = name, held_seconds, "the source is not held any more");
            }
        }
        post(&source, standing, &postings);
    }
}

fn post(source: &SourceTag, standing: Standing, postings: &Sender<Posting>) {
    let (state, reason) = match standing {
        Standing::Reading => (SourceState::Reading, String::new()),
        Standing::Held { found, .. } => (SourceState::Held, reason(found)),
    };
    post_state(source, state, reason, postings);
}

fn post_state(source: &SourceTag, state: SourceState, reason: String, postings: &Sender<Posting>) {
    let source = Arc::clone(&source.name);
    let settlement = Settlement::Source { source, state, reason, at: Timestamp::now() };
    let (committed, _) = oneshot::channel();
    // A committer that is gone has died, which the supervisor tells.
    let _ = postings.send(Posting { settlement, committed });
}

fn reason(found: Found) -> String {
    format!("{} of the last {} lines are dead letters", found.invalid, found.lines)
}
