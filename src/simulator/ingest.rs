//! The ingestion endpoint: checks in the order in which a gateway makes them, then the body,
//! then the books, and what faults make of the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::answer::{self, Severed};
use super::faults::Kind;
use super::inflate::Inflater;
use super::ledger::Mark;
use super::limits::Admission;
use super::worker::Refused;
use super::{Shared, lock};
use crate::clock::Timestamp;

/// Chosen by the client to find a request again, and echoed.
pub(super) const TRACK_ID: HeaderName = HeaderName::from_static("zuora-track-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Bytes of a body that is too large which are still taken, and thrown away: a client that is
/// answered and cut off while it sends does not see the answer.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the headers say about the body.
struct Envelope {
    track_id: Option<String>,
    is_gzip: bool,
}

/// `POST` of an event or an array of events.
pub(super) async fn ingest(
    State(shared): State<Arc<Shared>>,
    Path(meter): Path<String>,
    request: Request,
) -> Response {
    let in_flight = shared.ledger.arrive();
    let track_id = request.headers().get(TRACK_ID).cloned();
    let mut response = gate(&shared, meter, request).await;
    if let Some(track_id) = track_id {
        response.headers_mut().insert(TRACK_ID, track_id);
    }
    let is_severed = response.extensions().get::<Severed>().is_some();
    in_flight.finish((!is_severed).then(|| response.status().as_u16()));
    response
}

/// Who may call at all.
async fn gate(shared: &Arc<Shared>, meter: String, request: Request) -> Response {
    let now = Instant::now();
    if !is_authorized(shared, request.headers(), now) {
        // Every body is taken, even for nothing: who is cut off while sending sees no answer.
        let _ = take(request.into_body(), 0).await;
        return answer::on_request(StatusCode::UNAUTHORIZED, None);
    }
    let admission = lock(&shared.window).admit(now);
    let response = if admission.is_admitted {
        answer(shared, meter, request).await.unwrap_or_else(|refused| refusal(&refused))
    } else {
        let _ = take(request.into_body(), 0).await;
        let response = answer::on_request(StatusCode::TOO_MANY_REQUESTS, None);
        answer::retry_after(response, reset_seconds(admission))
    };
    with_limits(shared, admission, response)
}

/// Adds what is left of the rate.
pub(super) fn with_limits(
    shared: &Shared,
    admission: Admission,
    mut response: Response,
) -> Response {
    let calls_max = shared.settings.limits.calls_per_minute;
    let limit = HeaderValue::try_from(format!("{calls_max}, {calls_max};w=60"));
    let headers = response.headers_mut();
    headers.extend(limit.ok().map(|limit| (RATE_LIMIT, limit)));
    headers.insert(RATE_REMAINING, HeaderValue::from(admission.remaining));
    headers.insert(RATE_RESET, HeaderValue::from(reset_seconds(admission)));
    response
}

pub(super) fn is_authorized(shared: &Shared, headers: &HeaderMap, now: Instant) -> bool {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    shared.settings.credentials.is_none()
        || authorization.is_some_and(|value| lock(&shared.tokens).is_good(value, now))
}

/// The answer to a request that is not accepted.
fn refusal(refused: &Refused) -> Response {
    match refused {
        Refused::TooLarge => answer::on_request(StatusCode::PAYLOAD_TOO_LARGE, None),
        Refused::Failed => answer::on_request(StatusCode::INTERNAL_SERVER_ERROR, None),
        Refused::Data { code, message } => answer::refusal(StatusCode::BAD_REQUEST, code, message),
    }
}

/// Rounded up: a client that waits so long is admitted.
pub(super) fn reset_seconds(admission: Admission) -> u64 {
    admission.reset.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// The answer to a call that is admitted.
async fn answer(
    shared: &Arc<Shared>,
    meter: String,
    request: Request,
) -> Result<Response, Refused> {
    let drawn = lock(&shared.plan).draw(&meter);
    for name in &drawn.names {
        shared.ledger.play(name);
    }
    if drawn.kind == Some(Kind::ResetBefore) {
        return Ok(answer::severed());
    }
    let (parts, body) = request.into_parts();
    let envelope = read_headers(&parts.headers);
    // Before compression, with room for what gzip adds to bytes that do not shrink.
    let payload_bytes_max = shared.settings.limits.payload_bytes_max;
    let wire = take(body, payload_bytes_max + payload_bytes_max / 1000 + 1024).await?;
    let envelope = envelope?;
    if !drawn.latency.is_zero() {
        tokio::time::sleep(drawn.latency).await;
    }
    let accepts = match &drawn.kind {
        Some(Kind::Status { status, .. }) => *status < 300,
        Some(Kind::Unauthorized | Kind::NoSuccess { .. }) => false,
        _ => true,
    };
    let (books, wire_bytes) = (Arc::clone(shared), wire.len());
    let job = move || read(&books, &meter, &wire, envelope, accepts);
    let mark = shared.workers.run(wire_bytes, job).await.ok_or(Refused::Failed)??;
    Ok(conclude(shared, drawn.kind, mark).await)
}

/// What the client hears once the books are written.
async fn conclude(shared: &Arc<Shared>, kind: Option<Kind>, mark: Mark) -> Response {
    let ledger = &shared.ledger;
    match kind {
        Some(Kind::Status { status, retry_after, code }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let response = if status.is_success() {
                answer::success(status, ledger, mark)
            } else {
                answer::on_request(status, code.as_deref())
            };
            match retry_after {
                Some(seconds) => answer::retry_after(response, seconds),
                None => response,
            }
        }
        Some(Kind::Unauthorized) => answer::on_request(StatusCode::UNAUTHORIZED, None),
        Some(Kind::NoSuccess { code }) => answer::no_success(code.as_deref()),
        Some(Kind::ResetBefore | Kind::ResetAfter) => answer::severed(),
        Some(Kind::HalfAnswer) => answer::half(),
        Some(Kind::Gateway(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
            answer::on_request(status, None)
        }
        Some(Kind::Rubbish) => answer::rubbish(),
        Some(Kind::Hang(time)) => {
            tokio::time::sleep(time).await;
            answer::success(StatusCode::OK, ledger, mark)
        }
        // The latency is over, and the token endpoint has its own faults.
        Some(Kind::Slow(_) | Kind::TokenStatus { .. }) | None => {
            answer::success(StatusCode::OK, ledger, mark)
        }
    }
}

/// Reads the body and, unless a fault refuses it, writes the books: as one step that no client
/// can interrupt by going away.
fn read(
    shared: &Shared,
    meter: &str,
    wire: &[u8],
    envelope: Envelope,
    accepts: bool,
) -> Result<Mark, Refused> {
    let mark = Mark::new(envelope.track_id, wire);
    shared.ledger.see_body(&mark);
    if accepts {
        let delivery = shared.workers.read(&shared.settings, wire, envelope.is_gzip)?;
        if lock(&shared.meters).refuses(meter) {
            let message = "The meter version is not running.".to_owned();
            return Err(Refused::Data { code: "70002122", message });
        }
        shared.ledger.accept(meter, &mark, delivery);
        process(shared, meter, wire, envelope.is_gzip);
    }
    Ok(mark)
}

/// What happens after the 200, for meters that exist.
fn process(shared: &Shared, meter: &str, wire: &[u8], is_gzip: bool) {
    if !lock(&shared.meters).knows(meter) {
        return;
    }
    let mut payload = Vec::new();
    let sink = |block: &[u8]| {
        payload.extend_from_slice(block);
        Ok::<(), ()>(())
    };
    let bytes_max = shared.settings.limits.payload_bytes_max;
    if is_gzip && Inflater::new().inflate(wire, bytes_max, sink).is_err() {
        // The body was read before: it is good.
        return;
    }
    let payload = if is_gzip { payload.as_slice() } else { wire };
    lock(&shared.meters).ingest(meter, payload, Timestamp::now());
}

/// Checks the headers.
fn read_headers(headers: &HeaderMap) -> Result<Envelope, Refused> {
    let text = |name| headers.get(name).map_or(Some(""), |value| value.to_str().ok());
    let media_type = text(&CONTENT_TYPE).and_then(|value| value.split(';').next());
    if !media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refused::data("Content-Type should be application/json"));
    }
    let is_gzip = match text(&CONTENT_ENCODING) {
        Some("" | "identity") => false,
        Some(coding) if coding.eq_ignore_ascii_case("gzip") => true,
        _ => return Err(Refused::data("Content-Encoding should be gzip, or left out")),
    };
    let track_id = match headers.get(TRACK_ID).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(id)) if is_track_id(id) => Some(id.to_owned()),
        Some(_) => {
            let message =
                "Zuora-Track-Id should be at most 64 US-ASCII characters, none of : ; \" '";
            return Err(Refused::data(message));
        }
    };
    Ok(Envelope { track_id, is_gzip })
}

pub(super) fn is_track_id(id: &str) -> bool {
    id.len() <= 64 && id.is_ascii() && !id.contains([':', ';', '"', '\''])
}

/// Takes the whole body, of which at most `wire_bytes_max` are kept.
pub(super) async fn take(mut body: Body, wire_bytes_max: usize) -> Result<Vec<u8>, Refused> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut wire = Vec::with_capacity(announced.min(wire_bytes_max));
    let mut taken = 0_usize;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let cut_off = |_| Refused::data("the body broke off");
        let Ok(data) = frame.map_err(cut_off)?.into_data() else { continue };
        taken = taken.saturating_add(data.len());
        if taken <= wire_bytes_max {
            wire.extend_from_slice(&data);
        } else if taken > DISCARDED_BYTES_MAX {
            break;
        }
    }
    if taken > wire_bytes_max {
        return Err(Refused::TooLarge);
    }
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_id_is_short_plain_ascii() {
        assert!(is_track_id("meterd-edge-1-0000000000000017"));
        assert!(is_track_id(&"x".repeat(64)));
        assert!(!is_track_id(&"x".repeat(65)));
        for id in ["2026-11-21T06:14:11Z", "a;b", "a\"b", "a'b", "é"] {
            assert!(!is_track_id(id), "{id}");
        }
    }
}
