//! One try to deliver one batch, and what of it is put on record.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::Phase;
use super::auth::{Auth, Token};
use super::budget::Budget;
use super::outcome::{Outcome, of_answer};
use super::transport::{Failure, Transport};
use crate::clock::Timestamp;
use crate::meter::Meter;
use crate::settlement::{BatchHead, Posting, Settlement};

/// A batch on its way.
#[derive(Debug)]
pub struct Parcel {
    /// What is known about it.
    pub head: BatchHead,
    /// The frozen body.
    pub body: Bytes,
}

/// What became of a try.
#[derive(Debug)]
pub struct Done {
    /// The batch; none when it was delivered and its receipt is committed.
    pub parcel: Option<Parcel>,
    /// What the try came to; none when the stop came before the request left.
    pub outcome: Option<Outcome>,
}

/// What became of an exchange.
struct Tried {
    outcome: Outcome,
    /// The status of the answer, when there was one.
    status: Option<u16>,
}

/// Everything that a request needs. Shared by the lanes.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The HTTP client.
    pub transport: Arc<Transport>,
    /// What may go out.
    pub budget: Arc<Budget>,
    /// The token.
    pub auth: Auth,
    /// To the committer.
    pub postings: crossbeam_channel::Sender<Posting>,
    /// How far the end has come.
    pub phase: watch::Receiver<Phase>,
}

impl Sender {
    /// Sends `parcel` once; returns when what was learned is committed.
    pub async fn deliver(mut self, meter: Arc<Meter>, mut parcel: Parcel) -> Done {
        let Some(Tried { outcome, status }) = self.try_once(&meter, &parcel).await else {
            return Done { parcel: Some(parcel), outcome: None };
        };
        let batch = parcel.head.id;
        if outcome == Outcome::Delivered {
            let receipt = Settlement::Delivered {
                batch,
                meter: Arc::clone(&meter.name),
                attempts: parcel.head.attempts + 1,
                status: status.unwrap_or_default(),
                at: Timestamp::now(),
            };
            // The batch is not looked at again before its receipt is there.
            self.post(receipt).await;
            meter.counters.events_delivered.add(u64::from(parcel.head.events));
            return Done { parcel: None, outcome: Some(outcome) };
        }
        let outcome_unknown = matches!(outcome, Outcome::Unknown(_));
        if outcome_unknown {
            meter.counters.unknown_outcomes.add(1);
            parcel.head.outcome_unknown_attempts += 1;
        }
        if outcome_unknown || status.is_some() {
            parcel.head.attempts += 1;
            // On record before the batch can be sent again: a crash must not forget it.
            self.post(Settlement::Attempted { batch, outcome_unknown }).await;
        }
        Done { parcel: Some(parcel), outcome: Some(outcome) }
    }

    /// Exchanges, a second time with a new token when the first is refused.
    async fn try_once(&mut self, meter: &Meter, parcel: &Parcel) -> Option<Tried> {
        let mut refused = None;
        loop {
            let token = tokio::select! {
                token = self.auth.token(refused.as_ref()) => token,
                () = reached(&mut self.phase, Phase::Halt) => return None,
            };
            let token = match token {
                Ok(token) => token,
                Err(outcome) => return Some(Tried { outcome, status: None }),
            };
            let tried = self.exchange(meter, parcel, &token).await?;
            match tried.outcome {
                Outcome::Unauthorized(_) if refused.is_none() && self.auth.renews() => {
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

    async fn exchange(&mut self, meter: &Meter, parcel: &Parcel, token: &Token) -> Option<Tried> {
        let admission = tokio::select! {
            admission = self.budget.admit() => admission,
            () = reached(&mut self.phase, Phase::Halt) => return None,
        };
        meter.counters.requests.add(1);
        meter.counters.wire_bytes.add(parcel.body.len() as u64);
        let exchange = self.transport.post_events(
            &meter.upload_url,
            parcel.body.clone(),
            &parcel.head.track_id,
            token.secret.as_ref(),
        );
        let answer = tokio::select! {
            answer = exchange => answer,
            () = reached(&mut self.phase, Phase::Abandon) => {
                let reason = "the agent was stopped before the answer came";
                Err(Failure::Unanswered(reason.into()))
            }
        };
        drop(admission);
        let (outcome, status) = match answer {
            Ok(answer) => (of_answer(&answer, Timestamp::now()), Some(answer.status)),
            Err(Failure::NotSent(reason)) => {
                (Outcome::Retry { after: None, is_rate_limited: false, reason }, None)
            }
            Err(Failure::Unanswered(reason)) => (Outcome::Unknown(reason), None),
        };
        Some(Tried { outcome, status })
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

/// Waits until the end has come as far as `phase`.
pub async fn reached(phase: &mut watch::Receiver<Phase>, at_least: Phase) {
    // An error: the agent is gone, and that is as far as it can come.
    let _ = phase.wait_for(|phase| *phase >= at_least).await;
}
