//! The lane of one meter: takes its oldest batches and sends them until each has its receipt.
//!
//! A lane owns its meter: nobody else sends its batches, so a batch is never sent twice at one
//! time. While it fails, it sends one batch at a time, as a probe. Its unsettled batches are
//! always among the oldest of its meter, which is what the store relies on after a crash.

mod backlog;
mod contract;

pub use backlog::stranger;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::request::{Done, Parcel, Sender};
use super::{Misfit, OnUnknown, Phase, Settings};
use crate::clock::Timestamp;
use crate::mediation::answer::Words;
use crate::meter::Meter;
use crate::settlement::{BatchId, LaneState, Settlement};
use crate::store::reader::Reader;
use crate::telemetry::{Pulse, Reminder};
use crate::tenant::backoff;
use crate::tenant::outcome::{Cause, Outcome};
use contract::Contract;

/// When so many single events are refused and nothing is delivered, the meter is held: a set-up
/// that refuses everything must not turn the whole backlog into dead letters.
const REFUSED_IN_A_ROW_MAX: u32 = 20;

/// When one batch was refused so often without a known reason, the meter is held.
const UNEXPLAINED_MAX: u32 = 5;

/// One meter's lane.
#[derive(Debug)]
pub struct Lane {
    meter: Arc<Meter>,
    setups: watch::Receiver<Option<Setup>>,
    /// The meter is gone.
    is_removed: bool,
    sender: Sender,
    reader: Arc<Mutex<Reader>>,
    /// Changes when others wrote to the store.
    written: watch::Receiver<i64>,
    timing: Timing,
    window: usize,
    /// The youngest batch that was read.
    after: BatchId,
    /// Read, not delivered, not under way; oldest first.
    waiting: VecDeque<Parcel>,
    under_way: JoinSet<Done>,
    trouble: Option<Trouble>,
    on_unknown: OnUnknown,
    /// What nobody has decided about has to be looked for before anything is sent.
    looks: bool,
    /// Why nothing is sent until a person has decided.
    undecided: Option<String>,
    /// Whether what is stored fits the schema of the meter.
    contract: Contract,
    /// Single events refused since the last delivery.
    refused_in_a_row: u32,
    is_exhausted: bool,
    /// The store cannot be read.
    unreadable: Reminder,
}

/// How a lane works, until it is told otherwise.
#[derive(Debug, Clone)]
pub struct Setup {
    meter: Arc<Meter>,
    timing: Timing,
    window: usize,
    on_unknown: OnUnknown,
    retry_after_max: Duration,
}

impl Setup {
    /// Whose lane works so.
    pub fn meter_name(&self) -> &str {
        &self.meter.name
    }

    /// Of the lane of `meter`.
    pub fn new(settings: &Settings, meter: Arc<Meter>) -> Self {
        Self {
            meter,
            timing: Timing {
                backoff_base: settings.tenant.backoff_base,
                backoff_max: settings.tenant.backoff_max,
                hold_interval: settings.hold_interval,
            },
            window: settings.tenant.requests_in_flight_max.max(1) as usize,
            on_unknown: settings.on_unknown,
            retry_after_max: settings.tenant.retry_after_max,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Timing {
    backoff_base: Duration,
    backoff_max: Duration,
    hold_interval: Duration,
}

/// Failures in a row.
#[derive(Debug)]
struct Trouble {
    state: LaneState,
    failures: u32,
    again_at: Instant,
}

impl Lane {
    /// A lane that works as `setup` says.
    pub fn new(
        setup: Setup,
        setups: watch::Receiver<Option<Setup>>,
        sender: Sender,
        reader: Arc<Mutex<Reader>>,
        written: watch::Receiver<i64>,
        misfit: Misfit,
    ) -> Self {
        let Setup { meter, timing, window, on_unknown, retry_after_max } = setup;
        Self {
            contract: Contract::new(&meter, misfit),
            meter,
            setups,
            is_removed: false,
            sender: Sender { retry_after_max, ..sender },
            reader,
            written,
            timing,
            window,
            after: BatchId(0),
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
            trouble: None,
            on_unknown,
            looks: on_unknown == OnUnknown::Hold,
            undecided: None,
            refused_in_a_row: 0,
            is_exhausted: false,
            unreadable: Reminder::default(),
        }
    }

    /// Sends until the phase says that it is over, first behind what is left of a wait that the
    /// server asked for before.
    pub async fn run(mut self, pulse: Arc<Pulse>) {
        let opens_at = self.sender.gate.opens_at();
        match opens_at.map(|at| at.saturating_duration_since(Instant::now())) {
            None => self.sender.note(self.state(LaneState::Running, String::new())),
            Some(wait) => {
                self.fail(LaneState::Retrying, "the server asked for a pause before", wait);
            }
        }
        let mut changes = self.sender.phase.clone();
        let mut before = Phase::Run;
        loop {
            let phase = *changes.borrow_and_update();
            if phase > before {
                // What was committed last may have come without being seen.
                self.is_exhausted = false;
                before = phase;
            }
            let beat = pulse.beat();
            self.fill(phase).await;
            drop(beat);
            if self.under_way.is_empty() && self.is_over(phase) {
                if self.is_removed {
                    self.take_leave().await;
                }
                return;
            }
            let again_at = self.again_at();
            tokio::select! {
                Some(done) = self.under_way.join_next() => self.take_back(done),
                () = self.meter.backlog.notified() => self.is_exhausted = false,
                Ok(()) = self.written.changed() => {
                    self.is_exhausted = false;
                    self.looks |= self.undecided.is_some();
                }
                // Without this arm a hold for the schema would outlast its mending.
                () = self.contract.changed() => {}
                () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {}
                () = next_phase(&mut changes, phase), if phase < Phase::Abandon => {}
                // Without this arm a reload would change nothing before the next request.
                Ok(()) = self.setups.changed() => self.renew(),
            }
        }
    }

    /// Works as it is told by now. What was held is tried at once: whoever has the configuration
    /// read again has mended something.
    fn renew(&mut self) {
        let setup = self.setups.borrow_and_update().clone();
        self.is_removed = setup.is_none();
        let Some(setup) = setup else { return };
        let Setup { meter, timing, window, on_unknown, retry_after_max } = setup;
        self.sender.retry_after_max = retry_after_max;
        (self.meter, self.timing, self.window) = (meter, timing, window);
        self.on_unknown = on_unknown;
        let had_trouble = self.trouble.take().is_some() || self.contract.broken().is_some();
        // What is stored is held against the schema anew.
        self.contract = self.contract.renewed(&self.meter);
        (self.refused_in_a_row, self.is_exhausted) = (0, false);
        match on_unknown {
            OnUnknown::Hold => self.looks = true,
            OnUnknown::Resend => self.looks = false,
        }
        let goes_on = on_unknown == OnUnknown::Resend && self.undecided.take().is_some();
        if goes_on || (had_trouble && self.undecided.is_none()) {
            self.sender.note(self.state(LaneState::Running, String::new()));
        }
    }

    /// Begins as many requests as may be under way.
    async fn fill(&mut self, phase: Phase) {
        loop {
            if self.looks {
                self.look().await;
            }
            let allowed = if self.trouble.is_some() { 1 } else { self.window };
            self.look_at_schema();
            let is_stopped = self.undecided.is_some() || self.contract.is_settled();
            let is_early = self.looks || is_stopped || self.again_at().is_some();
            let is_over = self.is_removed || phase >= Phase::Halt;
            if is_over || is_early || self.under_way.len() >= allowed {
                return;
            }
            let Some(parcel) = self.next().await else {
                if self.is_exhausted {
                    self.go_on();
                }
                return;
            };
            if self.on_unknown == OnUnknown::Hold && parcel.head.is_undecided() {
                self.keep(parcel);
                self.looks = true;
                continue;
            }
            let Some(parcel) = self.fitting(parcel).await else { continue };
            let request = self.sender.clone().deliver(Arc::clone(&self.meter), parcel);
            self.under_way.spawn(request);
        }
    }

    /// When the next request may begin; none when it may now. A success of what was under way
    /// ends the trouble, and not the wait that the server asked for.
    fn again_at(&self) -> Option<Instant> {
        let trouble = self.trouble.as_ref().map(|trouble| trouble.again_at);
        trouble.filter(|at| *at > Instant::now()).max(self.sender.gate.opens_at())
    }

    fn take_back(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let Done { parcel, events, outcome } = match done {
            Ok(done) => done,
            // What its request came to is not known: the lane ends with it, and then the agent.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let unexplained = parcel.as_ref().map_or(0, |parcel| parcel.unexplained);
        if let Some(parcel) = parcel {
            self.looks |= self.on_unknown == OnUnknown::Hold && parcel.head.is_undecided();
            self.keep(parcel);
        }
        if let Some(repeat) = outcome.as_ref().and_then(Outcome::repeat) {
            self.meter.counters.retries.add(repeat, 1);
        }
        match outcome {
            None => {}
            Some(Outcome::Delivered { .. }) => self.recover(),
            Some(Outcome::Refused { words, .. }) => self.take_refusal(events, &words),
            Some(Outcome::Retry { after, cause, reason }) => {
                let wait = self.backoff(after);
                match cause {
                    Cause::Ill => self.fail(LaneState::Retrying, &reason, wait),
                    Cause::RateLimited => {
                        // The rate is the tenant's: every lane waits.
                        self.sender.tenant.budget.pause(wait);
                        self.fail(LaneState::Retrying, &reason, wait);
                    }
                    Cause::Unexplained => self.take_unexplained(unexplained, &reason, wait),
                }
            }
            Some(Outcome::Unknown(reason)) if self.on_unknown == OnUnknown::Hold => {
                let meter = &*self.meter.name;
                tracing::warn!(meter, reason, "nobody knows whether a request was taken");
            }
            Some(Outcome::Unknown(reason)) => {
                let wait = self.backoff(None);
                self.fail(LaneState::Retrying, &format!("outcome unknown: {reason}"), wait);
            }
            Some(Outcome::Hold(reason) | Outcome::Unauthorized(reason)) => {
                self.fail(LaneState::Held, &reason, self.timing.hold_interval);
            }
        }
    }

    /// A refusal that says nothing of what would help: it may pass, and a person has to look when it
    /// does not.
    fn take_unexplained(&mut self, times: u32, reason: &str, wait: Duration) {
        if times < UNEXPLAINED_MAX {
            self.fail(LaneState::Retrying, reason, wait);
            return;
        }
        let reason = format!("{times} refusals without a known reason, the last one: {reason}");
        self.fail(LaneState::Held, &reason, self.timing.hold_interval.max(wait));
    }

    /// A batch was cut, or its only event given up: its halves are at the end of the queue.
    fn take_refusal(&mut self, events: u32, words: &Words) {
        self.is_exhausted = false;
        if events > 1 {
            return;
        }
        self.refused_in_a_row += 1;
        let (meter, refused) = (&*self.meter.name, self.refused_in_a_row);
        if refused < REFUSED_IN_A_ROW_MAX {
            tracing::warn!(meter, refused, %words, "an event was refused, it is a dead letter");
            return;
        }
        // Nothing gets through: more likely the set-up is wrong than every event. Go on one by
        // one, so slowly that a person comes first.
        let reason = format!("{refused} events in a row were refused, the last one: {words}");
        self.fail(LaneState::Held, &reason, self.timing.hold_interval);
    }

    fn backoff(&self, asked: Option<Duration>) -> Duration {
        let Timing { backoff_base, backoff_max, .. } = self.timing;
        backoff::wait(backoff_base, backoff_max, self.failures(), asked, fastrand::f64())
    }

    /// Failures in a row, the present one included. Requests that were under way together fail
    /// together: that is one failure, and not a reason to wait for as long as after many.
    fn failures(&self) -> u32 {
        match &self.trouble {
            Some(trouble) if trouble.again_at > Instant::now() => trouble.failures,
            Some(trouble) => trouble.failures + 1,
            None => 1,
        }
    }

    fn fail(&mut self, state: LaneState, reason: &str, wait: Duration) {
        let was = self.trouble.as_ref().map(|trouble| trouble.state);
        self.pause(state, wait);
        if was == Some(state) || self.is_stopped() {
            return;
        }
        // Once when it begins, not at every try.
        let meter = &*self.meter.name;
        if state == LaneState::Held {
            tracing::error!(meter, reason, "meter held: a person is needed");
        } else {
            tracing::warn!(meter, reason, "delivery failed, trying again");
        }
        self.sender.note(self.state(state, reason.to_owned()));
    }

    fn pause(&mut self, state: LaneState, wait: Duration) {
        let failures = self.failures();
        let before = self.trouble.as_ref().map(|trouble| trouble.again_at);
        let again_at = Some(Instant::now() + wait).max(before);
        self.trouble = again_at.map(|again_at| Trouble { state, failures, again_at });
    }

    fn recover(&mut self) {
        self.refused_in_a_row = 0;
        let trouble = self.trouble.take();
        if self.is_stopped() {
            return;
        }
        if let Some(trouble) = trouble {
            let (meter, failures) = (&*self.meter.name, trouble.failures);
            tracing::info!(meter, failures, "delivery works again");
            self.sender.note(self.state(LaneState::Running, String::new()));
        }
    }

    /// Whether nothing is sent for a reason that no request can change.
    fn is_stopped(&self) -> bool {
        self.undecided.is_some() || self.contract.broken().is_some()
    }

    fn state(&self, state: LaneState, reason: String) -> Settlement {
        Settlement::Lane {
            meter: Arc::clone(&self.meter.name),
            state,
            reason,
            at: Timestamp::now(),
        }
    }

    /// Whether a lane with nothing under way ends in `phase`.
    fn is_over(&self, phase: Phase) -> bool {
        let is_empty = self.waiting.is_empty() && self.is_exhausted;
        match phase {
            _ if self.is_removed => true,
            Phase::Run => false,
            Phase::Finish => is_empty,
            Phase::Hurry => {
                let is_held = self.trouble.is_some() || self.is_stopped();
                is_empty || is_held || self.again_at().is_some()
            }
            Phase::Halt | Phase::Abandon => true,
        }
    }
}

/// Waits for a phase after `phase`.
async fn next_phase(changes: &mut watch::Receiver<Phase>, phase: Phase) {
    if changes.wait_for(|now| *now > phase).await.is_err() {
        // The agent outlives its lanes; without it there is nothing more to come.
        std::future::pending::<()>().await;
    }
}
