//! The token of the tenant: one, cached, renewed early, asked for once at a time.
//!
//! A task of its own owns it, so that a hundred requests that need a token cause one call. The
//! token endpoint admits few calls an address, and a fleet restarts at one time.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::budget::Budget;
use super::gate::Gate;
use super::outcome::{Answer, Cause, Outcome, of_answer};
use super::transport::{Failure, Transport};
use super::{Credentials, Settings};
use crate::clock::Timestamp;
use crate::mediation::percent;

/// A token is renewed so long before its end.
const EARLY: Duration = Duration::from_secs(300);

/// The lifetime of a token whose answer does not say.
const LIFETIME: Duration = Duration::from_secs(3599);

/// The longest lifetime that is believed.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Requests for a token that wait; more make their senders wait.
const WAITING_MAX: usize = 16;

/// A token, and which one: it can be named without being shown.
#[derive(Debug, Clone)]
pub struct Token {
    /// The secret; none when requests carry no token.
    pub secret: Option<SecretString>,
    number: u64,
}

struct Ask {
    /// The token that was refused, when one was.
    refused: Option<u64>,
    reply: oneshot::Sender<Result<Token, Outcome>>,
}

/// Gives tokens.
#[derive(Debug, Clone)]
pub struct Auth {
    fixed: Option<Token>,
    asks: mpsc::Sender<Ask>,
}

impl Auth {
    /// Starts the owner of the token among `tasks`; it ends with the last clone of what is returned.
    pub fn start(
        settings: &Settings,
        transport: Arc<Transport>,
        budget: Arc<Budget>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (asks, waiting) = mpsc::channel(WAITING_MAX);
        let fixed = match &settings.credentials {
            Credentials::None => Some(Token { secret: None, number: 0 }),
            Credentials::Bearer(secret) => Some(Token { secret: Some(secret.clone()), number: 0 }),
            Credentials::Client { token_url, id, secret } => {
                let keeper = Keeper {
                    url: token_url.clone(),
                    id: id.clone(),
                    secret: secret.clone(),
                    transport,
                    budget,
                    gate: Gate::default(),
                    cached: None,
                    number: 0,
                };
                tasks.spawn(keeper.run(waiting));
                None
            }
        };
        Self { fixed, asks }
    }

    /// The present token, a new one when `refused` is the present one.
    pub async fn token(&self, refused: Option<&Token>) -> Result<Token, Outcome> {
        if let Some(fixed) = &self.fixed {
            return Ok(fixed.clone());
        }
        let (reply, token) = oneshot::channel();
        let ask = Ask { refused: refused.map(|token| token.number), reply };
        let ended = || Outcome::Retry {
            after: None,
            cause: Cause::Ill,
            reason: "the owner of the token has ended".into(),
        };
        self.asks.send(ask).await.map_err(|_| ended())?;
        token.await.map_err(|_| ended())?
    }

    /// Whether a token that was refused can be renewed.
    pub fn renews(&self) -> bool {
        self.fixed.is_none()
    }
}

struct Keeper {
    url: String,
    id: String,
    secret: SecretString,
    transport: Arc<Transport>,
    budget: Arc<Budget>,
    /// Nobody closes it: the budget's own closes for a token as well.
    gate: Gate,
    cached: Option<(Token, Instant)>,
    number: u64,
}

impl Keeper {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            let cached = self.cached.as_ref().filter(|(token, renew_at)| {
                ask.refused != Some(token.number) && Instant::now() < *renew_at
            });
            let token = match cached {
                Some((token, _)) => Ok(token.clone()),
                None => self.renew().await,
            };
            // Who asked may have been abandoned meanwhile.
            let _ = ask.reply.send(token);
        }
    }

    async fn renew(&mut self) -> Result<Token, Outcome> {
        let form = format!(
            "client_id={}&client_secret={}&grant_type=client_credentials",
            percent::encoded(&self.id),
            percent::encoded(self.secret.expose_secret())
        );
        let admission = self.budget.admit(&self.gate).await;
        let answer = self.transport.post_form(&self.url, form).await;
        drop(admission);
        let answer = answer.map_err(|failure| match failure {
            // No event was in it, so nothing about it can be unknown.
            Failure::NotSent(reason) | Failure::Unanswered(reason) => Outcome::Retry {
                after: None,
                cause: Cause::Ill,
                reason: format!("token: {reason}"),
            },
        })?;
        let (secret, lifetime) = read_token(&answer).ok_or_else(|| no_token(&answer))?;
        self.number += 1;
        let token = Token { secret: Some(secret), number: self.number };
        // Of a short life, most is used.
        let renew_at = Instant::now() + lifetime.saturating_sub(EARLY).max(lifetime.mul_f64(0.8));
        self.cached = Some((token.clone(), renew_at));
        tracing::info!(lifetime_seconds = lifetime.as_secs(), "token renewed");
        Ok(token)
    }
}

/// `access_token` and `expires_in`, which comes as a number or as text.
fn read_token(answer: &Answer) -> Option<(SecretString, Duration)> {
    if !(200..300).contains(&answer.status) {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let token = body.get("access_token")?.as_str()?;
    let seconds = match body.get("expires_in") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let lifetime = seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or(LIFETIME, |lifetime| lifetime.min(LIFETIME_MAX));
    Some((SecretString::from(token), lifetime))
}

/// Why an answer holds no token. Wrong credentials need a person; all else may pass.
fn no_token(answer: &Answer) -> Outcome {
    match of_answer(answer, Timestamp::now()) {
        Outcome::Delivered { .. } => {
            Outcome::Hold("token: the answer holds no access_token".into())
        }
        Outcome::Unauthorized(reason) | Outcome::Hold(reason) => {
            Outcome::Hold(format!("token: {reason}; are client_id and client_secret right?"))
        }
        Outcome::Retry { after, cause, reason } => {
            Outcome::Retry { after, cause, reason: format!("token: {reason}") }
        }
        Outcome::Refused { words, .. } => {
            Outcome::Hold(format!("token: {words}; are client_id and client_secret right?"))
        }
        Outcome::Unknown(reason) => Outcome::Unknown(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }

    #[test]
    fn lifetimes_are_read_as_numbers_and_as_text() {
        let lifetime = |body: &str| read_token(&answer(200, body)).map(|(_, life)| life.as_secs());
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":3599}"#), Some(3599));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":"60.5"}"#), Some(60));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":-1}"#), Some(3599));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":1e300}"#), Some(3599));
        assert_eq!(lifetime(r#"{"access_token":"t"}"#), Some(3599));
        assert_eq!(lifetime("{}"), None);
    }

    #[test]
    fn wrong_credentials_need_a_person_and_an_ill_server_does_not() {
        assert!(matches!(no_token(&answer(401, "")), Outcome::Hold(_)));
        assert!(matches!(no_token(&answer(200, "<html>")), Outcome::Hold(_)));
        assert!(matches!(no_token(&answer(503, "")), Outcome::Retry { .. }));
    }
}
