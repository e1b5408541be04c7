//! A running agent: what it is asked, what of it ends, and its own end.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::reconciling::Reconciling;
use super::reload::Reloading;
use super::schemas::Keeping;
use super::sources::Sources;
use super::supervisor::Supervisor;
use super::{Error, Report, Request, Settings, replaying, service};
use crate::admin::View;
use crate::chunk::SourceTag;
use crate::clock::Timestamp;
use crate::committer::Terms;
use crate::delivery::Phase;
use crate::delivery::lanes::Lanes;
use crate::pack::batcher;
use crate::settlement::Posting;
use crate::store::reader::Reader;
use crate::tenant::Tenant;

/// How long threads may take to end once they have nothing left to do.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A running agent.
pub(super) struct Run {
    /// What holds.
    pub(super) settings: Settings,
    /// What parts obey from the moment at which it is changed.
    pub(super) live: Live,
    pub(super) sources: Sources,
    pub(super) reloading: Reloading,
    /// The problems of the last reload, when it was refused.
    pub(super) refused: watch::Sender<Vec<String>>,
    /// Ends those who only look on, the admin server and what tells systemd, last of all.
    pub(super) onlookers_until: CancellationToken,
    pub(super) supervisor: Supervisor,
    pub(super) lanes: Lanes,
    pub(super) tenant: Tenant,
    /// The owner of the token, which may be needed until the end.
    pub(super) far_end: JoinSet<()>,
    pub(super) schemas: Keeping,
    pub(super) reconciling: Reconciling,
    /// Tells the committer that sources drain.
    pub(super) drain: CancellationToken,
    pub(super) groups_done: Option<oneshot::Receiver<()>>,
    /// The last sender beside those of lanes and sources.
    pub(super) postings: Option<Sender<Posting>>,
    pub(super) phase: watch::Sender<Phase>,
    /// Tells the committer that what it cannot write now is given up.
    pub(super) abandon: CancellationToken,
    pub(super) stopping_since: Option<Instant>,
    /// Tells the committer that this run does not end well.
    pub(super) tell_died: CancellationToken,
    pub(super) died: Option<Error>,
}

/// What parts obey that run already.
pub(super) struct Live {
    pub(super) batching: watch::Sender<batcher::Settings>,
    pub(super) terms: watch::Sender<Terms>,
    pub(super) view: watch::Sender<View>,
}

impl Live {
    /// The limits of the store, and whether there have ever been sources that cannot read again.
    pub(super) fn set_terms(&self, settings: &Settings, has_streams: bool) {
        self.terms.send_modify(|terms| {
            terms.limits = settings.store.limits();
            terms.has_streams |= has_streams;
        });
    }

    /// What there is to be seen.
    pub(super) fn set_view(&self, settings: &Settings, sources: Vec<Arc<SourceTag>>) {
        self.view.send_modify(|view| {
            view.sources = sources;
            view.meters.clone_from(&settings.meters);
            view.bytes_max = settings.store.bytes_max;
            view.lag_max = settings.admin.lag_max;
            view.token.clone_from(&settings.admin.token);
            view.replay = replaying::of(settings);
        });
    }
}

impl Run {
    /// Everything between ready and the end of the last lane.
    pub(super) async fn until_lanes_end(&mut self, requests: &mut mpsc::Receiver<Request>) {
        loop {
            let have_ended = self.supervisor.sources_left() == 0 && !self.sources.are_changing();
            if have_ended && self.close() {
                // The last sender is gone: the stages behind it end one after the other.
                self.supervisor.expect_ends();
                tracing::info!("every source has ended, delivering what is left");
            }
            let deadline = self.deadline();
            tokio::select! {
                Some(request) = requests.recv() => match request {
                    Request::Stop => self.stop(),
                    Request::Reload => self.reload(),
                },
                freed = self.sources.freed() => {
                    let filled = freed.and_then(|freed| self.sources.fill(freed, &mut self.supervisor));
                    filled.unwrap_or_else(|error| self.fail(error));
                    self.end_reload();
                }
                prepared = self.reloading.prepared() => self.take_over(prepared),
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
                // It ends before its users only by a panic, after which no request would go out, or when
                // a reload has put another in its place.
                Some(ended) = self.far_end.join_next() => if let Err(panic) = ended {
                    self.fail(Error::StageDied { name: "token".into(), reason: panic.to_string() });
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.pass_deadline();
                }
            }
        }
    }

    /// No source and no lane comes any more. False: so it was before.
    fn close(&mut self) -> bool {
        self.reloading.stop();
        self.lanes.close();
        self.sources.close()
    }

    /// The first request drains, a second one ends at once. Nothing is lost either way.
    fn stop(&mut self) {
        if self.stopping_since.is_some() {
            tracing::warn!("asked twice: stopping now");
            self.give_up_sources();
            self.advance(Phase::Abandon);
            return;
        }
        let grace = self.settings.shutdown_grace;
        tracing::info!(grace_seconds = grace.as_secs_f64(), "stopping");
        service::tell_stopping();
        self.stopping_since = Some(Instant::now());
        self.supervisor.expect_ends();
        self.close();
        self.sources.stop();
        self.drain.cancel();
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
        self.stopping_since.map(|since| since + self.settings.shutdown_grace.mul_f64(share))
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
        self.sources.abandon();
        self.drain.cancel();
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
    pub(super) fn fail(&mut self, error: Error) {
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
    pub(super) async fn end(mut self) -> Result<Report, Error> {
        self.postings = None;
        self.close();
        self.supervisor.expect_ends();
        self.onlookers_until.cancel();
        self.sources.stop();
        self.drain.cancel();
        let until = Instant::now() + self.settings.shutdown_grace.mul_f64(0.1).max(LAST_WAIT);
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
        let status =
            Reader::open(&self.settings.store.directory)?.status(Timestamp::now(), None)?;
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
