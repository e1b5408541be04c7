//! From a request to its answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::watch;

use super::View;
use super::access::{Refusal, is_allowed};
use super::health::{Facts, Health, readiness};
use super::metrics::{Format, Scrape};
use crate::clock::Timestamp;
use crate::store;
use crate::store::reader::Reader;
use crate::store::tallies::Status;
use crate::telemetry::STUCK;

type Answer = Response<Full<Bytes>>;

/// Answers requests.
#[derive(Debug)]
pub(super) struct Service {
    view: watch::Receiver<View>,
}

impl Service {
    pub(super) fn new(view: watch::Receiver<View>) -> Self {
        Self { view }
    }

    /// Answers `request`; its body is not looked at.
    pub(super) async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let allowed = is_allowed(request.headers(), self.view.borrow().token.as_ref());
        if let Err(refusal) = allowed {
            return refused(refusal);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/healthz" => self.health(),
            "/readyz" => self.with_status(|view, status| ready(view, &status)).await,
            "/status" => self.with_status(|_, status| json(StatusCode::OK, &status)).await,
            "/metrics" => {
                let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                let format = Format::of(accepted);
                self.with_status(move |view, status| metrics(view, status, format)).await
            }
            _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /status\n"),
        }
    }

    fn health(&self) -> Answer {
        let stuck = self.view.borrow().vitals.stuck_for(STUCK);
        let failing = stuck.iter().map(|stage| format!("stage {stage} makes no progress"));
        of_health(&Health::of(failing.collect()))
    }

    /// Reads the status, away from the runtime's threads, and answers with it.
    async fn with_status(
        &self,
        answer: impl FnOnce(&View, Status) -> Answer + Send + 'static,
    ) -> Answer {
        let view = self.view.borrow().clone();
        let answered = tokio::task::spawn_blocking(move || match status(&view) {
            Ok(status) => answer(&view, status),
            Err(error) => {
                tracing::debug!(%error, "failed to read the status for the admin address");
                let health = Health::of(vec![format!("the store cannot be read: {error}")]);
                of_health(&health)
            }
        });
        // Cancelled: the runtime ends.
        answered.await.unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "ending\n"))
    }
}

fn status(view: &View) -> Result<Status, store::Error> {
    let mut reader = Reader::open(&view.directory)?;
    reader.status_with_lag(Timestamp::now(), Some(view.bytes_max), view.lag_bytes)
}

fn ready(view: &View, status: &Status) -> Answer {
    let vitals = &view.vitals;
    let facts = Facts {
        commits_fail: vitals.commits_fail.is_set(),
        is_full: vitals.is_full.is_set(),
        lag_max: view.lag_max,
    };
    of_health(&readiness(status, facts))
}

fn metrics(view: &View, status: Status, format: Format) -> Answer {
    match Scrape::new(view.clone(), status).text(format) {
        Ok(metrics) => answer(StatusCode::OK, format.content_type(), metrics.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn of_health(health: &Health) -> Answer {
    let status = if health.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, health)
}

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Token => {
            let mut answer = text(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
        Refusal::Host => text(StatusCode::MISDIRECTED_REQUEST, "ask by address, or as localhost\n"),
    }
}

fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    match serde_json::to_vec_pretty(document) {
        Ok(mut document) => {
            document.push(b'\n');
            answer(status, "application/json", document.into())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn text(status: StatusCode, text: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::<Bytes>::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    answer
}
