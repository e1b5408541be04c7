//! What was asked and answered lately: for people who want to see it, and for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::Value;

use super::super::lock;
use super::route::Operation;

/// So many exchanges are kept.
const EXCHANGES_MAX: usize = 200;

/// Longer bodies are kept as their length only.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The headers that are shown; never one with a secret.
const HEADERS: [&str; 6] = [
    "accept-encoding",
    "content-encoding",
    "content-type",
    "zuora-entity-ids",
    "zuora-org-ids",
    "zuora-track-id",
];

/// One request to the meter APIs with its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// The operation, such as `run`.
    pub operation: &'static str,
    /// `POST /meters/run/97/0.0.1`, with its query.
    pub request: String,
    /// The headers that concern the API.
    pub headers: BTreeMap<&'static str, String>,
    /// The body without its compression: JSON, else a text.
    pub body: Value,
    /// The status of the answer; none: there was none, because a fault closed the connection or the
    /// client did not wait.
    pub status: Option<u16>,
    /// The answer that was made, before a fault spoiled it.
    pub answer: Value,
}

/// The latest exchanges, oldest first.
#[derive(Debug, Default)]
pub(in super::super) struct Exchanges(VecDeque<Exchange>);

impl Exchanges {
    fn keep(&mut self, exchange: Exchange) {
        if self.0.len() == EXCHANGES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(exchange);
    }

    pub(in super::super) fn list(&self) -> Vec<Exchange> {
        self.0.iter().cloned().collect()
    }
}

/// An exchange under way; kept when it is dropped, answered or not.
pub(super) struct Seen<'a> {
    exchanges: &'a Mutex<Exchanges>,
    exchange: Exchange,
}

impl<'a> Seen<'a> {
    pub(super) fn begin(
        exchanges: &'a Mutex<Exchanges>,
        operation: Operation,
        parts: &Parts,
    ) -> Self {
        let exchange = Exchange {
            operation: operation.name(),
            request: format!("{} {}", parts.method, parts.uri),
            headers: shown(&parts.headers),
            body: Value::Null,
            status: None,
            answer: Value::Null,
        };
        Self { exchanges, exchange }
    }

    pub(super) fn body(&mut self, body: &[u8]) {
        self.exchange.body = document(body);
    }

    pub(super) fn answer(&mut self, body: &[u8]) {
        self.exchange.answer = document(body);
    }

    pub(super) fn end(&mut self, status: Option<u16>) {
        self.exchange.status = status;
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        lock(self.exchanges).keep(self.exchange.clone());
    }
}

fn shown(headers: &HeaderMap) -> BTreeMap<&'static str, String> {
    let value = |name: &'static str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name, value.to_owned()))
    };
    HEADERS.into_iter().filter_map(value).collect()
}

fn document(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    if body.len() > BODY_BYTES_MAX {
        return Value::from(format!("{} bytes", body.len()));
    }
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}
