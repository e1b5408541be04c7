//! Calls with patience: what a call came to after as many tries as it takes.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use url::form_urlencoded;

use super::Error;
use crate::clock::Timestamp;
use crate::mediation::{error, multipart, percent};
use crate::tenant::exchange::NoAnswer;
use crate::tenant::gate::Gate;
use crate::tenant::outcome::{Answer, Cause, Outcome, of_answer};
use crate::tenant::transport::{Content, Method, Request};
use crate::tenant::{self, Connection, Tenant, backoff};

/// Bodies with more bytes are compressed.
const GZIP_BYTES_MIN: usize = 1000;

/// A client of one tenant.
#[derive(Debug)]
pub struct Client {
    tenant: Tenant,
    /// Closed where the server asked for a wait that is longer than the patience.
    gate: Gate,
    base_url: String,
    /// How long a call is tried.
    patience: Duration,
    backoff_base: Duration,
    backoff_max: Duration,
    retry_after_max: Duration,
    /// Begins every track id.
    session: String,
    calls: AtomicU32,
    /// The clock of the server minus ours in milliseconds, at the last answer that told the time.
    clock_ahead_millis: Mutex<Option<i64>>,
    /// The owner of the token, where nobody else has it; it ends with the client.
    _tasks: JoinSet<()>,
}

/// What may be done when nobody knows whether a call was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The same call again: done twice is done once.
    Always,
    /// Nothing: it would be done twice.
    UnlessDone,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    /// The path with its query, every part of it encoded.
    path: String,
    body: Option<(Content, Bytes)>,
    repeat: Repeat,
}

impl Call {
    /// A call at these segments of a path.
    pub(super) fn new(method: Method, segments: &[&dyn Display], repeat: Repeat) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            path.push_str(&percent::encoded(&segment.to_string()));
        }
        Self { method, path, body: None, repeat }
    }

    /// The same with a query.
    pub(super) fn query(mut self, pairs: &[(&str, String)]) -> Self {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.path = format!("{}?{query}", self.path);
        self
    }

    /// The same with a JSON document.
    pub(super) fn json(mut self, document: &impl Serialize) -> Result<Self, Error> {
        let unsaid = |error: &dyn Display| Error::Unreadable(error.to_string());
        let body = serde_json::to_vec(document).map_err(|error| unsaid(&error))?;
        self.body = Some(if body.len() > GZIP_BYTES_MIN {
            let packed = tenant::gzip::packed(&body).map_err(|error| unsaid(&error))?;
            (Content::GzippedJson, packed.into())
        } else {
            (Content::Json, body.into())
        });
        Ok(self)
    }

    /// The same with a form.
    pub(super) fn form(mut self, form: multipart::Encoded) -> Self {
        self.body = Some((Content::Form(form.content_type), form.body.into()));
        self
    }
}

/// What a try came to, when it was not the last one.
struct Again {
    after: Option<Duration>,
    may_be_done: bool,
    reason: String,
}

impl Client {
    /// A client after `settings`, within a runtime. A call is tried for as long as `patience`.
    pub fn connect(
        settings: &tenant::Settings,
        patience: Duration,
    ) -> Result<Self, tenant::transport::Error> {
        let base_url = settings.base_url.as_deref().unwrap_or_default();
        let mut tasks = JoinSet::new();
        let tenant = Connection::new(settings, [base_url])?.start(settings, &mut tasks);
        Ok(Self { _tasks: tasks, ..Self::of(tenant, settings, patience) })
    }

    /// A client that shares token and budget with all others of `tenant`.
    pub fn of(tenant: Tenant, settings: &tenant::Settings, patience: Duration) -> Self {
        Self {
            tenant,
            gate: Gate::default(),
            base_url: settings.base_url.clone().unwrap_or_default(),
            patience,
            backoff_base: settings.backoff_base,
            backoff_max: settings.backoff_max,
            retry_after_max: settings.retry_after_max,
            session: format!("meterd-api-{:016x}", fastrand::u64(..)),
            calls: AtomicU32::new(0),
            clock_ahead_millis: Mutex::default(),
            _tasks: JoinSet::new(),
        }
    }

    /// Whether there is a token.
    pub async fn token(&self) -> Result<(), Error> {
        self.tenant.token().await.map_err(|no_answer| match no_answer {
            NoAnswer::NotSent(reason) => Error::Unreachable(reason),
            NoAnswer::Unanswered(reason) => Error::Unknown(reason),
            NoAnswer::NoToken(reason) => Error::NoToken(reason),
        })
    }

    /// The clock of the server minus ours in milliseconds; none: no answer has told the time.
    pub fn clock_ahead_millis(&self) -> Option<i64> {
        *self.clock_ahead_millis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what time the server has, by the answer to a request that began at `began`.
    fn timed(&self, answer: Answer, began: Timestamp) -> Answer {
        if let Some(at) = answer.at() {
            let ahead = ahead_millis(at, began, Timestamp::now());
            let mut noted = self.clock_ahead_millis.lock().unwrap_or_else(PoisonError::into_inner);
            *noted = Some(ahead);
        }
        answer
    }

    /// Calls until there is an answer of success, a JSON document, or no patience left.
    pub(super) async fn call(&self, call: Call) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + self.patience;
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let Call { method, path, body, repeat } = call;
        let request = Request {
            method,
            url: format!("{}{path}", self.base_url.trim_end_matches('/')),
            body,
            // Of one call all tries have the same.
            track_id: format!("{}-{number}", self.session),
        };
        let (mut failures, mut in_doubt) = (0, false);
        loop {
            let began = Timestamp::now();
            let Again { after, may_be_done, reason } =
                match self.tenant.exchange(&request, &self.gate).await {
                    Ok(answer) => match judge(self.timed(answer, began)) {
                        Judged::Good(body) => return Ok(body),
                        Judged::Refused(status, errors) => {
                            return Err(Error::Refused { status, errors, may_be_done: in_doubt });
                        }
                        Judged::Again(again) => again,
                    },
                    Err(NoAnswer::NoToken(reason)) => return Err(Error::NoToken(reason)),
                    Err(NoAnswer::NotSent(reason)) => {
                        Again { after: None, may_be_done: false, reason }
                    }
                    Err(NoAnswer::Unanswered(reason)) => {
                        Again { after: None, may_be_done: true, reason }
                    }
                };
            if may_be_done && repeat == Repeat::UnlessDone {
                return Err(Error::Unknown(reason));
            }
            in_doubt |= may_be_done;
            failures += 1;
            let after = after.map(|after| after.min(self.retry_after_max));
            let (base, max) = (self.backoff_base, self.backoff_max);
            let wait = backoff::wait(base, max, failures, after, fastrand::f64());
            if Instant::now() + wait > deadline {
                self.gate.close_for(after.unwrap_or_default());
                return Err(if in_doubt {
                    Error::Unknown(reason)
                } else {
                    Error::Unreachable(reason)
                });
            }
            tracing::debug!(request = path, reason, "trying again");
            sleep(wait).await;
        }
    }
}

/// By how much a clock is ahead at least that said `at`, cut off to the second, between `began` and
/// `ended` of ours: what the way took is not held against it.
fn ahead_millis(at: Timestamp, began: Timestamp, ended: Timestamp) -> i64 {
    let earliest = at.as_millis() - ended.as_millis();
    let latest = at.as_millis() + 1000 - began.as_millis();
    earliest.max(0) + latest.min(0)
}

/// What an answer is to a call.
enum Judged {
    Good(Vec<u8>),
    Refused(u16, Vec<error::Error>),
    Again(Again),
}

/// By the same table as delivery, but that nothing is cut or held here: who asked hears of it.
fn judge(answer: Answer) -> Judged {
    let status = answer.status;
    let outcome = of_answer(&answer, Timestamp::now());
    let may_be_done = outcome.may_be_done(Some(status));
    match outcome {
        Outcome::Delivered { .. } if (200..300).contains(&status) => {
            match serde_json::from_slice::<IgnoredAny>(&answer.body) {
                Ok(_) => Judged::Good(answer.body),
                // It may well have been done.
                Err(error) => Judged::Again(Again {
                    after: None,
                    may_be_done: true,
                    reason: format!("{status} and an answer that is no JSON: {error}"),
                }),
            }
        }
        Outcome::Retry { after, cause, reason } if cause != Cause::Unexplained => {
            Judged::Again(Again { after, may_be_done, reason })
        }
        _ => {
            let document: Map<String, Value> =
                serde_json::from_slice(&answer.body).unwrap_or_default();
            Judged::Refused(status, error::errors(&document))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        let call = Call::new(Method::Get, &[&"meters", &"a/b c", &97], Repeat::Always);
        let call = call.query(&[("from", "2026-11-21T06:14:11+0000".to_owned())]);
        assert_eq!(call.path, "/meters/a%2Fb%20c/97?from=2026-11-21T06%3A14%3A11%2B0000");
    }

    #[test]
    fn what_the_way_took_is_no_difference_of_clocks() {
        let check = |at: i64, began: i64, ended: i64, expected: i64| {
            let [at, began, ended] = [at, began, ended].map(Timestamp::from_millis);
            assert_eq!(ahead_millis(at, began, ended), expected, "{at} {began} {ended}");
        };
        check(10_000, 10_100, 10_900, 0);
        check(10_000, 5_000, 25_000, 0);
        check(10_000, 10_999, 11_500, 0);
        check(10_000, 12_000, 12_500, -1000);
        check(10_000, 7_000, 8_000, 2000);
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let judged = |status, body: &str| {
            let answer = Answer { status, body: body.into(), ..Answer::default() };
            match judge(answer) {
                Judged::Good(_) => "good".to_owned(),
                Judged::Refused(status, errors) => {
                    Error::Refused { status, errors, may_be_done: false }.to_string()
                }
                Judged::Again(Again { may_be_done: true, .. }) => "again, may be done".to_owned(),
                Judged::Again(_) => "again".to_owned(),
            }
        };
        let rows = [
            (200, r#"{"success":true}"#),
            (200, "<html>"),
            (200, ""),
            (200, r#"{"success":false,"message":"no"}"#),
            (400, r#"{"errors":[{"code":"1","message":"a"},{"code":"2","message":"b"}]}"#),
            (400, ""),
            (401, r#"{"success":false,"error":{"code":"70002006","message":"who?"}}"#),
            (404, r#"{"success":false,"error":{"code":"70002103","message":"no meter"}}"#),
            (429, ""),
            (500, r#"{"reasons":[{"code":"x","message":"ill"}]}"#),
            (503, ""),
            (504, ""),
        ];
        let shown = rows.map(|(status, body)| format!("{status}: {}", judged(status, body)));
        insta::assert_snapshot!(shown.join("\n"), @r"
        200: good
        200: again, may be done
        200: again, may be done
        200: Mediation refuses: 200 no
        400: Mediation refuses: 400 a (code 1); b (code 2)
        400: Mediation refuses: 400 no explanation
        401: Mediation refuses: 401 who? (code 70002006)
        404: Mediation refuses: 404 no meter (code 70002103)
        429: again
        500: again, may be done
        503: again
        504: again, may be done
        ");
    }
}
