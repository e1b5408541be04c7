//! Answers in the forms that Mediation documents, and those that no server should give.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::json;
use tokio::time::Sleep;

use super::ledger::{Ledger, Mark};

/// How long the first half of a half answer is given to leave before the connection ends.
const HALF_ANSWER_PAUSE: Duration = Duration::from_millis(20);

/// In the extensions of a response: it is not sent, the connection is closed instead.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is closed without an answer, as a fault asks")]
pub(super) struct Severed;

/// A JSON document.
pub(super) fn document(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    with_body(status, "application/json", Body::from(body))
}

fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Anything but success, in the form documented for its status; where a status is not
/// documented, in the form of its neighbours.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let value = match status.as_u16() {
        400 | 422 => json!({"errors": [{"code": code, "message": message}], "success": false}),
        403 | 409 => json!({"success": false, "error": {"code": code, "message": message}}),
        500..=599 => json!({"reasons": [{"code": code, "message": message}]}),
        _ => json!({"message": message}),
    };
    let mut response = document(status, &value);
    if status.is_redirection() {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
    }
    response
}

/// An answer of a status that a fault asks for, with the code and the words it would have.
pub(super) fn on_request(status: StatusCode, code: Option<&str>) -> Response {
    let (usual_code, message) = match status.as_u16() {
        400 => ("70000000", "Validation failed."),
        401 => ("", "Unauthorized."),
        403 => ("70002006", "Unauthorized: no permission."),
        404 => ("", "Meter not found."),
        409 => ("70001204", "Duplicate event."),
        413 => ("", "Payload too large."),
        429 => ("", "Too many requests."),
        502 => ("502", "Bad gateway."),
        503 => ("503", "Service unavailable."),
        504 => ("504", "Gateway timeout."),
        _ => ("500", status.canonical_reason().unwrap_or("Unknown.")),
    };
    refusal(status, code.unwrap_or(usual_code), message)
}

/// Status 200 and no success.
pub(super) fn no_success(code: Option<&str>) -> Response {
    let code = code.unwrap_or("70002005");
    let error = json!({"code": code, "message": "The request was not processed."});
    document(StatusCode::OK, &json!({"errors": [error], "success": false}))
}

/// Adds `Retry-After`.
pub(super) fn retry_after(mut response: Response, seconds: u64) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// No answer: the connection is closed.
pub(super) fn severed() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Severed);
    response
}

/// Success; the ledger hears when it is sent.
pub(super) fn success(status: StatusCode, ledger: &Arc<Ledger>, mark: Mark) -> Response {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        // Without a body there is nothing whose sending could be noticed.
        ledger.answer_sent(&mark);
        let mut response = Response::default();
        *response.status_mut() = status;
        return response;
    }
    let value = json!({"success": true, "message": "Events were received."});
    let bytes = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
    let body = Watched { bytes: Some(bytes), sent: Some((Arc::clone(ledger), mark)) };
    with_body(status, "application/json", Body::new(body))
}

/// Status 200 and 64 bytes that are neither JSON nor UTF-8.
pub(super) fn rubbish() -> Response {
    let bytes: Vec<u8> = (0..64_u8).map(|index| index.wrapping_mul(37) ^ 0xa5).collect();
    with_body(StatusCode::OK, "application/octet-stream", Body::from(bytes))
}

/// Status 200 and less of a body than its length says.
pub(super) fn half() -> Response {
    let part = Bytes::from_static(br#"{"success":tr"#);
    let length = HeaderValue::from(part.len() * 3);
    let pause = Box::pin(tokio::time::sleep(HALF_ANSWER_PAUSE));
    let body = Body::new(Half { part: Some(part), pause });
    let mut response = with_body(StatusCode::OK, "application/json", body);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// A body that tells the ledger when the connection has taken it.
struct Watched {
    bytes: Option<Bytes>,
    sent: Option<(Arc<Ledger>, Mark)>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some((ledger, mark)) = self.sent.take() {
            ledger.answer_sent(&mark);
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// A body that fails after its first part. The pause lets that part leave: hyper drops what it
/// has not yet written when a body fails.
struct Half {
    part: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(part) = self.part.take() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        self.pause.as_mut().poll(context).map(|()| Some(Err(io::Error::other(Severed))))
    }
}
