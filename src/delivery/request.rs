//! One try to deliver one batch, and what of it is put on record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Phase;
use super::refusal;
use crate::clock::Timestamp;
use crate::dead_letter::Reason;
use crate::mediation::answer::Words;
use crate::meter::Meter;
use crate::schema::edition::Hash;
use crate::settlement::{BatchHead, Posting, Settlement};
use crate::tenant::auth::Token;
use crate::tenant::budget::Load;
use crate::tenant::gate::Gate;
use crate::tenant::outcome::{Cause, Outcome, of_answer};
use crate::tenant::transport::Failure;
use crate::tenant::{Tenant, Way};

/// A batch on its way.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// What is known about it.
    pub head: BatchHead,
    /// The frozen body.
    pub body: Bytes,
    /// How often it was refused in this run without a known reason.
    pub unexplained: u32,
    /// The edition of the meter's schema that its events fit.
    pub fits: Option<Hash>,
}

/// What became of a try.
#[derive(Debug)]
pub struct Done {
    /// The batch; none when it was delivered and its receipt is committed.
    pub parcel: Option<Parcel>,
    /// Events of the batch.
    pub events: u32,
    /// What the try came to; none when the stop, or a wait that the server asked for, came before
    /// the request left.
    pub outcome: Option<Outcome>,
}

impl Done {
    /// A try after which the batch is as it was.
    fn with(parcel: Parcel, outcome: Option<Outcome>) -> Self {
        Self { events: parcel.head.events, parcel: Some(parcel), outcome }
    }
}

/// What became of an exchange.
struct Tried {
    outcome: Outcome,
    /// The status of the answer, when there was one.
    status: Option<u16>,
}

/// Everything that a request needs. All but the gate is shared by the lanes.
#[derive(Debug, Clone)]
pub struct Sender {
    /// How the tenant is reached, and what may go out.
    pub tenant: Tenant,
    /// Closed for as long as the server asked this lane to wait.
    pub gate: Arc<Gate>,
    /// To the committer.
    pub postings: crossbeam_channel::Sender<Posting>,
    /// How far the end has come.
    pub phase: watch::Receiver<Phase>,
    /// The longest wait that the server may ask for.
    pub retry_after_max: Duration,
}

impl Sender {
    /// Sends `parcel` once; returns when what was learned is committed.
    pub async fn deliver(mut self, meter: Arc<Meter>, mut parcel: Parcel) -> Done {
        let Some(Tried { outcome, status }) = self.try_once(&meter, &parcel).await else {
            return Done::with(parcel, None);
        };
        let batch = parcel.head.id;
        if let Outcome::Delivered { is_duplicate } = outcome {
            let receipt = Settlement::Delivered {
                batch,
                meter: Arc::clone(&meter.name),
                attempts: parcel.head.attempts + 1,
                status: status.unwrap_or_default(),
                is_duplicate,
                at: Timestamp::now(),
            };
            // The batch is not looked at again before its receipt is there.
            self.post(receipt).await;
            let track_id = &parcel.head.track_id;
            tracing::debug!(track_id, meter = &*meter.name, "the receipt of a batch is stored");
            meter.counters.events_delivered.add(u64::from(parcel.head.events));
            meter.learned_limit.raise(meter.limits.payload_bytes_max);
            return Done { parcel: None, events: parcel.head.events, outcome: Some(outcome) };
        }
        if let Outcome::Refused { is_too_large, words } = outcome {
            return self.replace(meter, parcel, is_too_large, words).await;
        }
        if let Outcome::Retry { after: Some(after), cause, .. } = outcome {
            self.record_wait(&meter, after, cause == Cause::RateLimited).await;
        }
        if let Outcome::Retry { cause: Cause::Unexplained, .. } = outcome {
            parcel.unexplained += 1;
        }
        let outcome_unknown = outcome.may_be_done(status);
        if outcome_unknown {
            meter.counters.unknown_outcomes.add(1);
            parcel.head.outcome_unknown_attempts += 1;
        }
        if outcome_unknown || status.is_some() {
            parcel.head.attempts += 1;
            // On record before the batch can be sent again: a crash must not forget it.
            self.post(Settlement::Attempted { batch, outcome_unknown }).await;
            let BatchHead { track_id, attempts, .. } = &parcel.head;
            let meter = &*meter.name;
            tracing::debug!(track_id, meter, attempts, outcome_unknown, "an attempt is on record");
        }
        Done::with(parcel, Some(outcome))
    }

    /// Puts on record that the server wants no request before `after` is over: a restart must not
    /// make it forgotten.
    async fn record_wait(&mut self, meter: &Meter, after: Duration, is_tenants: bool) {
        // The clock is read in whole milliseconds, cut off: never earlier by the rest of one.
        let until = Timestamp::now().after(after + Duration::from_millis(1));
        self.post(Settlement::Wait { meter: Arc::clone(&meter.name), is_tenants, until }).await;
    }

    /// Puts what is left to try in the place of a batch that was refused.
    async fn replace(
        &mut self,
        meter: Arc<Meter>,
        parcel: Parcel,
        is_too_large: bool,
        words: Words,
    ) -> Done {
        if is_too_large {
            meter.learned_limit.lower(parcel.head.payload_bytes / 2);
        }
        let spoken = words.clone();
        let (of_meter, of_parcel) = (Arc::clone(&meter), parcel.clone());
        // Decompressing and compressing are not for the runtime's threads.
        let cut = tokio::task::spawn_blocking(move || {
            refusal::settlement(&of_meter, &of_parcel, is_too_large, &spoken)
        });
        match cut.await {
            Ok(Ok(settlement)) => {
                let dead = match &settlement {
                    Settlement::Refused { letter, .. } => Some(letter.reason),
                    _ => None,
                };
                self.post(settlement).await;
                let (track_id, reason) = (&parcel.head.track_id, dead.map(Reason::name));
                tracing::debug!(track_id, meter = &*meter.name, reason, "a refused batch has gone");
                if let Some(reason) = dead {
                    meter.counters.dead_letters.add(reason, 1);
                }
                let outcome = Some(Outcome::Refused { is_too_large, words });
                Done { parcel: None, events: parcel.head.events, outcome }
            }
            Ok(Err(error)) => {
                let reason = format!("{words}; and the batch cannot be cut: {error}");
                Done::with(parcel, Some(Outcome::Hold(reason)))
            }
            // The cutting thread was cancelled: the runtime ends.
            Err(_) => Done::with(parcel, None),
        }
    }

    /// Exchanges, a second time with a new token when the first is refused.
    async fn try_once(&mut self, meter: &Meter, parcel: &Parcel) -> Option<Tried> {
        let way = self.tenant.way();
        let mut refused = None;
        loop {
            let token = tokio::select! {
                token = way.auth.token(refused.as_ref()) => token,
                () = reached(&mut self.phase, Phase::Halt) => return None,
            };
            let token = match token {
                Ok(token) => token,
                Err(mut outcome) => {
                    self.obey(&mut outcome);
                    return Some(Tried { outcome, status: None });
                }
            };
            let tried = self.exchange(&way, meter, parcel, &token).await?;
            match tried.outcome {
                Outcome::Unauthorized(_) if refused.is_none() && way.auth.renews() => {
                    refused = Some(token);
                }
                Outcome::Unauthorized(reason) => {
                    let outcome = Outcome::Hold(format!("{reason}; the token is not accepted"));
                    return Some(Tried { outcome, ..tried });
                }
                _ => return Some(tried),
            }
        }
    }

    async fn exchange(
        &mut self,
        way: &Way,
        meter: &Meter,
        parcel: &Parcel,
        token: &Token,
    ) -> Option<Tried> {
        let admission = tokio::select! {
            admission = self.tenant.budget.admit(&self.gate) => admission?,
            () = reached(&mut self.phase, Phase::Halt) => return None,
        };
        let began = Instant::now();
        let BatchHead { track_id, attempts, .. } = &parcel.head;
        let meter_name = &*meter.name;
        tracing::debug!(track_id, meter = meter_name, attempts, "a batch is sent");
        meter.counters.payload_bytes.add(parcel.head.payload_bytes);
        meter.counters.wire_bytes.add(parcel.body.len() as u64);
        let exchange = way.transport.post_events(
            &meter.upload_url,
            parcel.body.clone(),
            track_id,
            token.secret.as_ref(),
        );
        let answer = tokio::select! {
            answer = exchange => answer,
            () = reached(&mut self.phase, Phase::Abandon) => {
                let reason = "the agent was stopped before the answer came";
                Err(Failure::Unanswered(reason.into()))
            }
        };
        let mut tried = match answer {
            Ok(answer) => {
                Tried { outcome: of_answer(&answer, Timestamp::now()), status: Some(answer.status) }
            }
            Err(Failure::NotSent(reason)) => Tried {
                outcome: Outcome::Retry { after: None, cause: Cause::Ill, reason },
                status: None,
            },
            Err(Failure::Unanswered(reason)) => {
                Tried { outcome: Outcome::Unknown(reason), status: None }
            }
        };
        let now = Instant::now();
        let (status, outcome) = (tried.status, tried.outcome.name());
        let took_ms = u64::try_from((now - began).as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            track_id,
            meter = meter_name,
            status,
            outcome,
            took_ms,
            "a request came to its end"
        );
        meter.counters.requests.add(tried.status, 1);
        meter.counters.request_durations.add(now - began);
        if let Some(load) = load(&tried, parcel.body.len(), now - began) {
            self.tenant.budget.learn(load, now);
        }
        // Before the place is given back: who takes it must not go out too early.
        self.obey(&mut tried.outcome);
        drop(admission);
        Some(tried)
    }

    /// Lets nothing go out for as long as the server asked, capped. The lane hears of it later,
    /// after the commit, and by then other requests would have left.
    fn obey(&self, outcome: &mut Outcome) {
        let Outcome::Retry { after: Some(after), cause, .. } = outcome else { return };
        *after = self.retry_after_max.min(*after);
        self.gate.close_for(*after);
        if *cause == Cause::RateLimited {
            self.tenant.budget.pause(*after);
        }
    }

    /// Hands `settlement` to the committer and waits for its commit.
    async fn post(&mut self, settlement: Settlement) {
        let (committed, wait) = oneshot::channel();
        let is_sent = self.postings.send(Posting { settlement, committed }).is_ok();
        if !is_sent || wait.await.is_err() {
            // The committer has died. Nothing may be sent any more that could not be recorded.
            reached(&mut self.phase, Phase::Abandon).await;
        }
    }

    /// Hands `settlement` to the committer; nothing depends on when it is committed.
    pub fn note(&self, settlement: Settlement) {
        let (committed, _) = oneshot::channel();
        let _ = self.postings.send(Posting { settlement, committed });
    }
}

/// What a try of so many bytes that took so long says about the load of the far end. A request
/// that could not be sent says nothing of it, and how long a refusal takes does not matter.
fn load(tried: &Tried, bytes: usize, took: Duration) -> Option<Load> {
    match (&tried.outcome, tried.status) {
        (Outcome::Retry { cause: Cause::RateLimited, after, .. }, _) => {
            Some(Load::RateLimited { asked: *after })
        }
        (Outcome::Unknown(_), _) | (_, Some(503)) => Some(Load::Overload),
        (Outcome::Delivered { .. }, _) => Some(Load::Served { bytes, took }),
        (_, Some(_)) => Some(Load::Fine),
        (_, None) => None,
    }
}

/// Waits until the end has come as far as `phase`.
pub async fn reached(phase: &mut watch::Receiver<Phase>, at_least: Phase) {
    // An error: the agent is gone, and that is as far as it can come.
    let _ = phase.wait_for(|phase| *phase >= at_least).await;
}
