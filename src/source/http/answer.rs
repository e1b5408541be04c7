//! Answers in the forms of the endpoint that this one stands in for.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::notice::BadLine;

/// Mediation's code for events that are not as their schema says.
const VALIDATION_CODE: &str = "70000000";

/// Mediation compresses answers with more bytes than that, for clients that take gzip.
const GZIP_BYTES_MIN: usize = 1000;

/// What goes back.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why nothing of a request is stored, or why that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token, or another one.
    Unauthorized,
    /// No such path or meter.
    NotFound,
    /// Something else than POST.
    Method,
    /// The body did not come in time.
    TooSlow,
    /// More bytes than are taken, before or after decompression.
    TooLarge,
    /// A content type or encoding that is not known.
    Unsupported,
    /// As much as fits is under way.
    Busy,
    /// The store is full.
    Full,
    /// There is no schema yet by which events could be judged.
    Unready,
    /// The agent stops, or could not store it.
    Stopping,
    /// It takes longer than a client waits.
    Unknown,
}

impl Refusal {
    /// The answer that says so.
    pub(super) fn answer(self) -> Answer {
        let (status, message) = match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized."),
            Self::NotFound => (StatusCode::NOT_FOUND, "Meter not found."),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "Only POST is taken."),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The body did not come in time."),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Payload too large."),
            Self::Unsupported => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "JSON or newline-delimited JSON is taken, plain or gzip.",
            ),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "Too many requests."),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "The store is full."),
            Self::Unready => {
                (StatusCode::SERVICE_UNAVAILABLE, "The schema of the meter has not come yet.")
            }
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "The agent is stopping."),
            Self::Unknown => (StatusCode::GATEWAY_TIMEOUT, "Not known to be stored."),
        };
        let body = if status.is_server_error() {
            json!({"reasons": [{"code": status.as_str(), "message": message}]})
        } else {
            json!({"message": message})
        };
        let mut answer = document(status, &body);
        let wait_seconds = match self {
            Self::Busy => Some(1),
            Self::Full => Some(10),
            Self::Unready | Self::Stopping | Self::Unknown => Some(5),
            _ => None,
        };
        if let Some(seconds) = wait_seconds {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self == Self::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

/// Every event is stored.
pub(super) fn success(message: &str) -> Answer {
    document(StatusCode::OK, &json!({"success": true, "message": message}))
}

/// Nothing is stored, because of these events.
pub(super) fn bad_events(lines: &[BadLine]) -> Answer {
    let error = |line: &BadLine| {
        let BadLine { index, reason, field, detail } = line;
        let place = field.as_ref().map_or(String::new(), |field| format!("{field}: "));
        let message = format!("event {index}: {place}{detail}");
        let reason = reason.name();
        json!({
            "code": VALIDATION_CODE, "message": message,
            "index": index, "field": field, "reason": reason,
        })
    };
    errors(&lines.iter().map(error).collect())
}

/// Nothing is stored, because the body as a whole cannot be read.
pub(super) fn bad_body(message: &str) -> Answer {
    errors(&json!([{"code": VALIDATION_CODE, "message": message}]))
}

fn errors(errors: &Value) -> Answer {
    document(StatusCode::BAD_REQUEST, &json!({"errors": errors, "success": false}))
}

/// A token as the endpoint gives one.
pub(super) fn token(token: &str) -> Answer {
    let body = json!({
        "access_token": token, "token_type": "bearer", "expires_in": 3599, "scope": "", "jti": "",
    });
    document(StatusCode::OK, &body)
}

/// `answer` with the header that it came with.
pub(super) fn echo(mut answer: Answer, name: HeaderName, value: Option<HeaderValue>) -> Answer {
    answer.headers_mut().extend(value.map(|value| (name, value)));
    answer
}

/// `answer` for a client that takes gzip: compressed, if it is worth it.
pub(super) fn compressed(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    let mut bytes = body.into_inner().unwrap_or_default();
    if bytes.len() > GZIP_BYTES_MIN {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        if encoder.write_all(&bytes).is_ok()
            && let Ok(packed) = encoder.finish()
        {
            bytes = packed.into();
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    Response::from_parts(head, Full::new(bytes))
}

fn document(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
