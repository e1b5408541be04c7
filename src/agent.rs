//! Wires the stages, starts them from the end of the flow to its beginning, and stops them from
//! the beginning to the end.
//!
//! Start: open the store, bind listeners, start committer, packers, batcher, lanes, sources; then
//! say ready. Stop: only sources hear the signal; everything behind them ends because its input
//! closed; delivery has what is left of the grace period. What is not delivered stays in the
//! store. A stage that ends by itself is a failure: the agent drains and ends with an error.

mod holds;
pub mod service;
pub mod signals;
pub mod supervisor;
mod wiring;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::chunk::SourceTag;
use crate::clock::Timestamp;
use crate::delivery::Phase;
use crate::intake::Intake;
use crate::mapping::Mapping;
use crate::meter::Meter;
use crate::settlement::Posting;
use crate::stop::Stopper;
use crate::store::reader::Reader;
use crate::store::tallies::Status;
use crate::{admin, breaker, delivery, pack, source, store, tenant};
use supervisor::Supervisor;

/// Everything that an agent needs to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Part of event ids and track ids.
    pub name: Arc<str>,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
    /// Bytes read but not committed, over all sources.
    pub intake_bytes_max: u32,
    /// The store.
    pub store: store::Settings,
    /// Batching and packing.
    pub pack: pack::Settings,
    /// Sending.
    pub delivery: delivery::Settings,
    /// Health, metrics and status over HTTP.
    pub admin: admin::Settings,
    /// Every configured meter.
    pub meters: Vec<Arc<Meter>>,
    /// Every configured source, with its name and its meter.
    pub sources: Vec<Source>,
}

/// A configured source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The meter that its events are for.
    pub meter: Arc<Meter>,
    /// How its lines become events; none: each of them is one, in JSON.
    pub mapping: Option<Arc<Mapping>>,
    /// What it reads.
    pub settings: source::Settings,
    /// When it is held; none: never.
    pub breaker: Option<breaker::Settings>,
}

/// What a running agent can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To drain and end; the second time, to end at once.
    Stop,
    /// To try again what is held for what was read.
    LookAgain,
}

/// Why an agent could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The HTTP client.
    #[error("delivery: {0}")]
    Delivery(#[from] tenant::transport::Error),
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// A listener.
    #[error("source {name}")]
    Source {
        /// The configured source.
        name: Arc<str>,
        /// What is wrong with it.
        #[source]
        reason: source::Error,
    },
    /// The system gave no thread or pipe.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A stage ended that should not have.
    #[error("stage {name} ended by itself: {reason}")]
    StageDied {
        /// Which stage.
        name: String,
        /// Why, as far as is known.
        reason: String,
    },
}

/// What an agent tells once everything runs.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// Where health, metrics and status are.
    pub admin: Option<SocketAddr>,
    /// Where sources listen, by name: an address, or the path of a socket.
    pub listening: Vec<(Arc<str>, String)>,
    /// The sources with their counters.
    pub sources: Vec<Arc<SourceTag>>,
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the store holds.
    pub status: Status,
    /// Whether it was asked to stop before its sources had ended and everything was delivered.
    pub was_stopped: bool,
}

/// How long threads may take to end once they have nothing left to do.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Runs an agent until its sources have ended and everything is delivered, or until it is asked
/// to stop.
pub async fn run(
    settings: Settings,
    inherited: source::listen::Inherited,
    mut requests: mpsc::Receiver<Request>,
    ready: impl FnOnce(&Ready),
) -> Result<Report, Error> {
    let mut run = wiring::start(&settings, inherited)?;
    ready(&run.ready);
    service::tell_ready();
    run.until_lanes_end(&mut requests).await;
    service::tell_stopping();
    run.end(&settings).await
}

/// A running agent.
struct Run {
    ready: Ready,
    /// Ends those who only look on, the admin server and what tells systemd, last of all.
    onlookers_until: CancellationToken,
    supervisor: Supervisor,
    lanes: JoinSet<()>,
    /// The owner of the token, which may be needed until the end.
    far_end: JoinSet<()>,
    stopper: Stopper,
    /// Open while sources may still come to need it.
    intake: Option<Intake>,
    groups_done: Option<oneshot::Receiver<()>>,
    /// The last sender beside those of the lanes.
    postings: Option<Sender<Posting>>,
    phase: watch::Sender<Phase>,
    /// Tells the committer that what it cannot write now is given up.
    abandon: CancellationToken,
    grace: Duration,
    stopping_since: Option<Instant>,
    /// Tells the committer that this run does not end well.
    tell_died: CancellationToken,
    died: Option<Error>,
}

impl Run {
    /// Everything between ready and the end of the last lane.
    async fn until_lanes_end(&mut self, requests: &mut mpsc::Receiver<Request>) {
        loop {
            if self.supervisor.sources_left() == 0 && self.intake.take().is_some() {
                // The last sender is gone: the stages behind it end one after the other.
                self.supervisor.expect_ends();
                tracing::info!("every source has ended, delivering what is left");
            }
            let deadline = self.deadline();
            tokio::select! {
                Some(request) = requests.recv() => match request {
                    Request::Stop => self.stop(),
                    Request::LookAgain => self.look_again(),
                },
                ended = self.supervisor.next() => if let Err(error) = ended { self.fail(error) },
                () = told(&mut self.groups_done) => self.advance(match self.stopping_since {
                    Some(_) => Phase::Hurry,
                    None => Phase::Finish,
                }),
                joined = self.lanes.join_next() => match joined {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(panic)) => self.fail(Error::StageDied {
                        name: "delivery".into(),
                        reason: panic.to_string(),
                    }),
                },
                // It ends before its users only by a panic, after which no request would go out.
                Some(ended) = self.far_end.join_next() => if let Err(panic) = ended {
                    self.fail(Error::StageDied { name: "token".into(), reason: panic.to_string() });
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.pass_deadline();
                }
            }
        }
    }

    fn look_again(&self) {
        self.stopper.look_again();
        for source in &self.ready.sources {
            source.breaker.close();
        }
    }

    /// The first request drains, a second one ends at once. Nothing is lost either way.
    fn stop(&mut self) {
        if self.stopping_since.is_some() {
            tracing::warn!("asked twice: stopping now");
            self.give_up_sources();
            self.advance(Phase::Abandon);
            return;
        }
        tracing::info!(grace_seconds = self.grace.as_secs_f64(), "stopping");
        service::tell_stopping();
        self.stopping_since = Some(Instant::now());
        self.supervisor.expect_ends();
        self.stopper.drain();
        self.intake = None;
        if self.phase() >= Phase::Finish {
            self.advance(Phase::Hurry);
        }
    }

    /// Each part of the stop has its share of the grace period, so that the whole ends within:
    /// sources and commits half, requests until 70 %, their answers until 90 %.
    fn deadline(&self) -> Option<Instant> {
        let share = match self.phase() {
            Phase::Run | Phase::Finish | Phase::Hurry if !self.abandon.is_cancelled() => 0.5,
            Phase::Run | Phase::Finish | Phase::Hurry => 0.7,
            Phase::Halt => 0.9,
            Phase::Abandon => return None,
        };
        self.stopping_since.map(|since| since + self.grace.mul_f64(share))
    }

    fn pass_deadline(&mut self) {
        match self.phase() {
            Phase::Run | Phase::Finish | Phase::Hurry if !self.abandon.is_cancelled() => {
                self.give_up_sources();
            }
            Phase::Run | Phase::Finish | Phase::Hurry => self.advance(Phase::Halt),
            Phase::Halt | Phase::Abandon => self.advance(Phase::Abandon),
        }
    }

    fn give_up_sources(&mut self) {
        self.stopper.abandon();
        self.abandon.cancel();
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves the end forward, never back.
    fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }

    /// A stage that ended without being asked takes the agent with it: what is read is kept, and
    /// a service manager starts it again.
    fn fail(&mut self, error: Error) {
        tracing::error!(%error, "a stage died");
        self.tell_died.cancel();
        // The first one is the cause of the others.
        self.died.get_or_insert(error);
        if self.stopping_since.is_none() {
            self.stop();
        } else {
            self.give_up_sources();
            self.advance(Phase::Abandon);
        }
    }

    /// The lanes have ended: the committer's last input closes, and every thread is joined.
    async fn end(mut self, settings: &Settings) -> Result<Report, Error> {
        self.postings = None;
        self.intake = None;
        self.supervisor.expect_ends();
        self.onlookers_until.cancel();
        self.stopper.drain();
        let until = Instant::now() + self.grace.mul_f64(0.1).max(LAST_WAIT);
        while !self.supervisor.is_empty() {
            match timeout_at(until, self.supervisor.next()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.fail(error),
                Err(_) => {
                    let name = self.supervisor.names();
                    self.fail(Error::StageDied { name, reason: "it does not end".into() });
                    break;
                }
            }
        }
        if let Some(error) = self.died {
            return Err(error);
        }
        let status = Reader::open(&settings.store.directory)?.status(Timestamp::now(), None)?;
        tracing::info!(
            read = status.equation.read,
            delivered = status.equation.delivered,
            dead_lettered = status.equation.dead_lettered,
            stored = status.equation.stored,
            "stopped"
        );
        Ok(Report { status, was_stopped: self.stopping_since.is_some() })
    }
}

/// Waits until `receiver` is told or its sender is gone, once; afterwards for ever.
async fn told(receiver: &mut Option<oneshot::Receiver<()>>) {
    match receiver {
        Some(waiting) => {
            // Gone without a word: the committer died, which the supervisor tells.
            let _ = waiting.await;
            *receiver = None;
        }
        None => std::future::pending().await,
    }
}
