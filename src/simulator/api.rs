//! The meter APIs: everything below `/meters` but ingestion.
//!
//! A request is looked at in the order in which a gateway does: token, rate, headers, faults, and
//! then its operation. Faults name an operation as `@api/run`, `@api/status` and so on. Requests
//! and answers are kept, so that what was said can be looked at: `GET /simulator/exchanges`.
//!
//! What the references leave open is decided so: `Content-Type` is asked for with GET as well; of
//! entity ids one may be named; files are read as JSON, JSON lines or CSV with a header, and each
//! upload is a new file; of entries that are no errors the first 100 of a session are kept.

pub(super) mod audit;
pub(super) mod exchange;
pub(super) mod form;
pub(super) mod meter;
pub(super) mod reply;
pub(super) mod route;
pub(super) mod run;
pub(super) mod summary;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::answer::{self, Severed};
use super::faults::Kind;
use super::inflate::Inflater;
use super::ingest::{self, TRACK_ID};
use super::{Shared, lock};
use crate::clock::Timestamp;
use reply::{Refused, Reply};
use route::{Operation, Route};

const ENTITY_IDS: HeaderName = HeaderName::from_static("zuora-entity-ids");

/// The largest body that is taken, before and after decompression.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Answers with more bytes are compressed for clients that can read it.
const GZIP_BYTES_MIN: usize = 1000;

/// A call of one operation.
struct Call {
    route: Route,
    headers: HeaderMap,
    query: String,
    body: Vec<u8>,
    now: Timestamp,
}

/// Serves one call.
pub(super) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Every body is taken, even for nothing: who is cut off while sending sees no answer.
    let wire = ingest::take(body, BODY_BYTES_MAX).await;
    let route = Route::of(&parts.method, parts.uri.path());
    let Some(route) = route else {
        return answer::refusal(StatusCode::NOT_FOUND, "", "Not found.");
    };
    let operation = route.operation;
    let mut seen = exchange::Seen::begin(&shared.exchanges, operation, &parts);
    let wire = wire.unwrap_or_default();
    let mut response = gate(&shared, route, &parts, wire, &mut seen).await;
    let headers = response.headers_mut();
    headers.extend(date(shared.settings.clock_ahead_seconds).map(|date| (DATE, date)));
    headers.extend(parts.headers.get(TRACK_ID).map(|id| (TRACK_ID, id.clone())));
    let is_severed = response.extensions().get::<Severed>().is_some();
    seen.end((!is_severed).then(|| response.status().as_u16()));
    response
}

/// The time as answers tell it, on a clock that is so far ahead.
fn date(ahead_seconds: i64) -> Option<HeaderValue> {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead_seconds);
    HeaderValue::from_str(&at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// Who may call at all.
async fn gate(
    shared: &Arc<Shared>,
    route: Route,
    parts: &Parts,
    wire: Vec<u8>,
    seen: &mut exchange::Seen<'_>,
) -> Response {
    let now = Instant::now();
    let operation = route.operation;
    let refuse = |refused: &Refused| refused.reply(operation).response();
    if !ingest::is_authorized(shared, &parts.headers, now) {
        let refused = Refused::new(StatusCode::UNAUTHORIZED, "70002006", "Unauthorized.");
        return refuse(&refused);
    }
    let admission = lock(&shared.window).admit(now);
    let response = if admission.is_admitted {
        match open(shared, route, parts, wire) {
            Ok(call) => {
                seen.body(&call.body);
                answer_call(shared, call, seen).await
            }
            Err(refused) => refuse(&refused),
        }
    } else {
        let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "70002005", "Too many requests.");
        answer::retry_after(refuse(&refused), ingest::reset_seconds(admission))
    };
    ingest::with_limits(shared, admission, response)
}

/// Checks the headers and unpacks the body.
fn open(shared: &Shared, route: Route, parts: &Parts, wire: Vec<u8>) -> Result<Call, Refused> {
    let bad = |message: &str| Refused::bad("70000000", message);
    let text = |name: HeaderName| text(&parts.headers, &name);
    let media_type = text(CONTENT_TYPE).and_then(|value| value.split(';').next());
    let expected =
        if route.operation.is_form() { "multipart/form-data" } else { "application/json" };
    if !media_type.is_some_and(|found| found.trim().eq_ignore_ascii_case(expected)) {
        return Err(bad(&format!("Content-Type should be {expected}")));
    }
    if !text(TRACK_ID).is_some_and(ingest::is_track_id) {
        return Err(bad("Zuora-Track-Id should be at most 64 US-ASCII characters"));
    }
    check_entity(shared, text(ENTITY_IDS))?;
    let body = match text(CONTENT_ENCODING) {
        Some("" | "identity") => wire,
        Some("gzip") => {
            let mut body = Vec::new();
            let sink = |block: &[u8]| {
                body.extend_from_slice(block);
                Ok::<(), ()>(())
            };
            let unpacked = Inflater::new().inflate(&wire, BODY_BYTES_MAX, sink);
            unpacked.map_err(|_| bad("The body is no gzip, or too large"))?;
            body
        }
        _ => return Err(bad("Content-Encoding should be gzip, or left out")),
    };
    let query = parts.uri.query().unwrap_or_default().to_owned();
    Ok(Call { route, headers: parts.headers.clone(), query, body, now: Timestamp::now() })
}

/// A header; empty when it is not there, none when it is no text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map_or(Some(""), |value| value.to_str().ok())
}

/// A tenant with several entities wants one of them named.
fn check_entity(shared: &Shared, named: Option<&str>) -> Result<(), Refused> {
    let named = named.unwrap_or_default();
    match shared.settings.entity_id.as_deref() {
        _ if named.contains(',') => {
            Err(Refused::bad("70002003", "Multiple entity ids were found."))
        }
        Some(wanted) if named.is_empty() => {
            Err(Refused::bad("70002001", format!("Zuora-Entity-Ids is missing: {wanted}.")))
        }
        Some(wanted) if wanted != named => {
            Err(Refused::new(StatusCode::UNAUTHORIZED, "70002006", "Not your entity."))
        }
        _ => Ok(()),
    }
}

/// The answer to a call that is admitted, and what faults make of it.
async fn answer_call(shared: &Arc<Shared>, call: Call, seen: &mut exchange::Seen<'_>) -> Response {
    let operation = call.route.operation;
    let target = format!("api/{}", operation.name());
    let drawn = lock(&shared.plan).draw(&target);
    for name in &drawn.names {
        shared.ledger.play(name);
    }
    if !drawn.latency.is_zero() {
        tokio::time::sleep(drawn.latency).await;
    }
    let refuse = |status: u16, code: Option<&str>, retry_after: Option<u64>| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let words = status.canonical_reason().unwrap_or("Unknown");
        let response =
            Refused::new(status, code.unwrap_or("500"), words).reply(operation).response();
        match retry_after {
            Some(seconds) => answer::retry_after(response, seconds),
            None => response,
        }
    };
    match drawn.kind {
        Some(Kind::ResetBefore) => return answer::severed(),
        Some(Kind::Unauthorized) => return refuse(401, Some("70002006"), None),
        Some(Kind::NoSuccess { code }) => return answer::no_success(code.as_deref()),
        Some(Kind::Status { status, retry_after, ref code }) if status >= 300 => {
            return refuse(status, code.as_deref(), retry_after);
        }
        _ => {}
    }
    let takes_gzip = call.headers.get(ACCEPT_ENCODING).is_some_and(|value| {
        value.to_str().is_ok_and(|codings| codings.split(',').any(|it| it.trim() == "gzip"))
    });
    let reply = perform(shared, &call).unwrap_or_else(|refused| refused.reply(operation));
    seen.answer(&reply.body);
    match drawn.kind {
        Some(Kind::ResetAfter) => answer::severed(),
        Some(Kind::HalfAnswer) => answer::half(),
        Some(Kind::Gateway(status)) => refuse(status, None, None),
        Some(Kind::Rubbish) => answer::rubbish(),
        Some(Kind::Hang(time)) => {
            tokio::time::sleep(time).await;
            packed(reply, takes_gzip)
        }
        _ => packed(reply, takes_gzip),
    }
}

/// Does what is asked for: as one step that no client can interrupt by going away.
fn perform(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let mut meters = lock(&shared.meters);
    let Route { operation, ref id, ref version } = call.route;
    match operation {
        Operation::Run => run::run(&mut meters, (id, version), call),
        Operation::Stop => run::stop(&mut meters, (id, version), call),
        Operation::Debug => run::debug(&mut meters, (id, version), call),
        Operation::Status => run::status(&mut meters, (id, version)),
        Operation::Summary => summary::summary(&mut meters, id, call),
        Operation::Audit => audit::entries(&mut meters, id, call),
        Operation::Export => meter::export(&mut meters, id),
        Operation::Import => {
            let host = call.headers.get(HOST).and_then(|host| host.to_str().ok());
            meter::import(&mut meters, call, host.unwrap_or("127.0.0.1"))
        }
        Operation::Files => meter::upload(&mut meters, call),
    }
}

/// The answer, compressed where it is worth it.
fn packed(mut reply: Reply, takes_gzip: bool) -> Response {
    let is_large = reply.body.len() > GZIP_BYTES_MIN;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    if is_large
        && takes_gzip
        && encoder.write_all(&reply.body).is_ok()
        && let Ok(body) = encoder.finish()
    {
        reply.body = Bytes::from(body);
        let mut response = reply.response();
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return response;
    }
    reply.response()
}
