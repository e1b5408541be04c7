//! From a request to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::View;
use super::access::{Refusal, is_allowed};
use super::board::{Board, Events};
use super::health::{Health, readiness};
use super::ledger::{self, Wanted};
use super::metrics::{Format, Scrape};
use super::page;
use crate::clock::Timestamp;
use crate::store;
use crate::store::reader::Reader;
use crate::store::tallies::Status;

type Answer = Response<Either<Full<Bytes>, Events>>;

/// What people ask by hand may read the store so often at one time; more wait.
const READS_MAX: usize = 2;

/// Bytes of the body of a request, and how long it may take to come.
const BODY_BYTES_MAX: usize = 32 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers requests.
#[derive(Debug)]
pub(super) struct Service {
    view: watch::Receiver<View>,
    board: Arc<Board>,
    reads: Semaphore,
}

impl Service {
    pub(super) fn new(view: watch::Receiver<View>, board: Arc<Board>) -> Self {
        Self { view, board, reads: Semaphore::new(READS_MAX) }
    }

    /// Answers `request`.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let file = page::file(path);
        // A browser has no token to send before there is a page to type it into, and the page
        // itself tells nothing.
        let token = self.view.borrow().token.clone();
        let is_open = file.is_some() && token.is_some();
        let allowed = is_allowed(request.headers(), token.as_ref());
        if let Err(refusal) = allowed
            && !is_open
        {
            return refused(refusal);
        }
        if *request.method() == Method::POST && path == "/dead-letters/replay" {
            return self.replay(request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match (file, path) {
            (Some(file), _) => answer(StatusCode::OK, file.content_type, file.body),
            (_, "/healthz") => self.health(),
            (_, "/readyz") => self.with_status(|view, status| ready(view, &status)).await,
            (_, "/status") => self.with_status(|_, status| json(StatusCode::OK, &status)).await,
            (_, "/metrics") => {
                let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                let format = Format::of(accepted);
                self.with_status(move |view, status| metrics(view, status, format)).await
            }
            (_, "/events") => self.events(),
            (_, "/dead-letters") => {
                let wanted = Wanted::of_query(request.uri().query().unwrap_or_default());
                self.read(|view| Ok(json(StatusCode::OK, &ledger::letters(view, wanted)?))).await
            }
            (_, path) => match path.strip_prefix("/receipts/") {
                Some(name) => self.receipt(name.to_owned()).await,
                None => text(StatusCode::NOT_FOUND, PATHS),
            },
        }
    }

    fn health(&self) -> Answer {
        let stuck = self.view.borrow().stuck();
        of_health(&Health::of(stuck.into_iter().map(|stuck| stuck.what).collect()))
    }

    /// Reads the status, away from the runtime's threads, and answers with it.
    async fn with_status(
        &self,
        answer: impl FnOnce(&View, Status) -> Answer + Send + 'static,
    ) -> Answer {
        self.block(|view| Ok(answer(view, status(view)?))).await
    }

    /// Answers with what the store holds, a few requests at one time.
    async fn read(
        &self,
        read: impl FnOnce(&View) -> Result<Answer, store::Error> + Send + 'static,
    ) -> Answer {
        // It is never closed.
        let _turn = self.reads.acquire().await.ok();
        self.block(read).await
    }

    async fn block(
        &self,
        work: impl FnOnce(&View) -> Result<Answer, store::Error> + Send + 'static,
    ) -> Answer {
        let view = self.view.borrow().clone();
        let answered = tokio::task::spawn_blocking(move || match work(&view) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "failed to read the store for the admin address");
                let health = Health::of(vec![format!("the store cannot be read: {error}")]);
                of_health(&health)
            }
        });
        // Cancelled: the runtime ends.
        answered.await.unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "ending\n"))
    }

    fn events(&self) -> Answer {
        let Some(events) = self.board.watch() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "enough people watch\n");
        };
        let mut answer = Response::new(Either::Right(events));
        protect(&mut answer, "text/event-stream");
        answer
    }

    async fn receipt(&self, name: String) -> Answer {
        self.read(move |view| {
            Ok(match ledger::batch(view, &name)? {
                Some(found) => json(StatusCode::OK, &found),
                None => text(StatusCode::NOT_FOUND, "there is no such batch\n"),
            })
        })
        .await
    }

    /// Puts dead letters back, for who has shown the token.
    async fn replay(&self, request: Request<Incoming>) -> Answer {
        if self.view.borrow().token.is_none() {
            return text(
                StatusCode::FORBIDDEN,
                "admin.token_file is not set: nothing is replayed\n",
            );
        }
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body did not come\n"),
        };
        let ids = match ledger::asked(&body) {
            Ok(ids) => ids,
            Err(expected) => return text(StatusCode::BAD_REQUEST, &format!("{expected}\n")),
        };
        tracing::info!(letters = ids.len(), "dead letters are replayed from the page");
        self.read(move |view| {
            Ok(match (view.replay.0)(ids) {
                Ok(report) => json(StatusCode::OK, &report),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            })
        })
        .await
    }
}

const PATHS: &str = "there are /, /healthz, /readyz, /metrics and /status\n";

fn status(view: &View) -> Result<Status, store::Error> {
    let mut reader = Reader::open(&view.directory)?;
    reader.status_with_lag(Timestamp::now(), Some(view.bytes_max), view.lag_bytes)
}

fn ready(view: &View, status: &Status) -> Answer {
    of_health(&readiness(status, view.facts()))
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
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    protect(&mut answer, content_type);
    answer
}

fn protect(answer: &mut Answer, content_type: &'static str) {
    page::protect(answer.headers_mut());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
}
