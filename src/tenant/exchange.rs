//! One authorised request to the meter APIs: a token, room in the budget, an answer.

use tokio::time::Instant;

use super::budget::Load;
use super::gate::Gate;
use super::outcome::{Answer, Outcome, asked};
use super::transport::{Failure, Request};
use super::{Tenant, Way};
use crate::clock::Timestamp;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing was sent, and may be later.
    NotSent(String),
    /// The request, or some of it, left.
    Unanswered(String),
    /// Nothing was sent, because there is no token, and only a person can change that.
    NoToken(String),
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(reason) => Self::NotSent(reason),
            Failure::Unanswered(reason) => Self::Unanswered(reason),
        }
    }
}

impl Tenant {
    /// Whether there is a token.
    pub async fn token(&self) -> Result<(), NoAnswer> {
        self.way().auth.token(None).await.map(|_| ()).map_err(no_token)
    }

    /// Exchanges when `gate` and the budget admit it, a second time with a new token when the first is
    /// refused.
    pub async fn exchange(&self, request: &Request, gate: &Gate) -> Result<Answer, NoAnswer> {
        let Way { transport, auth } = self.way();
        let mut refused = None;
        loop {
            let token = auth.token(refused.as_ref()).await.map_err(no_token)?;
            let admission = self.budget.admit(gate).await;
            let answer = transport.exchange(request, token.secret.as_ref()).await;
            if let Some(load) = load(&answer) {
                self.budget.learn(load, Instant::now());
            }
            drop(admission);
            match &answer {
                Ok(Answer { status: 401, .. }) if refused.is_none() && auth.renews() => {
                    refused = Some(token);
                }
                _ => return Ok(answer?),
            }
        }
    }
}

/// Without a token nothing is sent.
fn no_token(outcome: Outcome) -> NoAnswer {
    match outcome {
        Outcome::Retry { reason, .. } | Outcome::Unknown(reason) => NoAnswer::NotSent(reason),
        Outcome::Hold(reason) | Outcome::Unauthorized(reason) => NoAnswer::NoToken(reason),
        Outcome::Refused { words, .. } => NoAnswer::NoToken(words.to_string()),
        Outcome::Delivered { .. } => NoAnswer::NoToken("token: none was given".to_owned()),
    }
}

/// What an exchange says about the load of the far end.
fn load(answer: &Result<Answer, Failure>) -> Option<Load> {
    match answer {
        Ok(answer @ Answer { status: 429, .. }) => {
            Some(Load::RateLimited { asked: asked(answer, Timestamp::now()) })
        }
        Ok(Answer { status: 503, .. }) | Err(Failure::Unanswered(_)) => Some(Load::Overload),
        Ok(_) => Some(Load::Fine),
        Err(_) => None,
    }
}
