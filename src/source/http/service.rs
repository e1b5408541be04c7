//! From a request to its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::answer::{self, Answer, Refusal};
use super::body::{Bodies, Error, Events, Form, Limits};
use super::repeats::{Repeats, Seen, Standing};
use super::tokens::Tokens;
use super::{HEAD_BYTES_MAX, Settings};
use crate::chunk::{Buffer, Chunk, Content, SourceTag, Stream};
use crate::clock::Timestamp;
use crate::meter::Meter;
use crate::notice::{self, Notice, RequestKey, Verdict};
use crate::position::{Numbering, Origin};
use crate::routing::Destination;
use crate::source::{Context, right_sized};
use crate::stop::Stop;
use crate::telemetry::{Counter, Reminder};

/// Given by the client to find its call again, and echoed.
const TRACK_ID: HeaderName = HeaderName::from_static("zuora-track-id");

/// Given by the client to make a repeat known as one.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long a request waits for room before it is told to come again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client is left waiting for a commit: less than the 120 s after which Mediation
/// itself gives up, so that whoever is prepared for that is prepared for this.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(110);

/// What the answer to a good request says.
const RECEIVED: &str = "Events were received.";

/// Answers all requests of a source.
pub(super) struct Service {
    settings: Settings,
    context: Context,
    tokens: Option<Arc<Tokens>>,
    bodies: Bodies,
    repeats: Repeats,
    streams: Vec<MeterStream>,
    /// Requests that were stored already.
    repeated: Counter,
    repeating: Reminder,
    /// The store cannot be read.
    unreadable: Reminder,
}

/// The events of one meter: all its requests are one stream of numbered lines.
pub(super) struct MeterStream {
    meter: Arc<Meter>,
    stream: Arc<Stream>,
    /// The number of the next line.
    next: AtomicU64,
}

/// A stream for each of `meters`.
pub(super) fn streams(
    meters: &[Arc<Meter>],
    context: &Context,
    origin: Origin,
    label: &str,
) -> Vec<MeterStream> {
    let stream = |meter: &Arc<Meter>| {
        let destination = Destination::Meter(Arc::clone(meter));
        let source = if destination.is_same(&context.tag.destination) {
            Arc::clone(&context.tag)
        } else {
            Arc::new(SourceTag::for_meter(&context.tag, Arc::clone(meter)))
        };
        let (label, numbering) = (label.to_owned(), Numbering::LineNumber);
        let header = OnceLock::new();
        let stream = Arc::new(Stream { source, origin, label, numbering, header });
        MeterStream { meter: Arc::clone(meter), stream, next: AtomicU64::new(0) }
    };
    meters.iter().map(stream).collect()
}

impl Service {
    pub(super) fn new(
        settings: Settings,
        context: Context,
        tokens: Option<Arc<Tokens>>,
        repeats: Repeats,
        streams: Vec<MeterStream>,
    ) -> Self {
        let limits = Limits {
            body_bytes_max: settings.body_bytes_max,
            line_bytes_max: settings.line_bytes_max,
            timeout: settings.body_timeout,
        };
        let bodies = Bodies::new(limits, Arc::clone(&context.pulse));
        let (repeated, repeating) = (Counter::default(), Reminder::default());
        let unreadable = Reminder::default();
        Self {
            settings,
            context,
            tokens,
            bodies,
            repeats,
            streams,
            repeated,
            repeating,
            unreadable,
        }
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.context.stop
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.settings.idle_timeout
    }

    /// The answer, with the track id that the request came with.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let track_id = parts.headers.get(TRACK_ID).filter(|id| is_track_id(id.as_bytes())).cloned();
        let answer = match self.admit(&parts) {
            Ok(Admitted::Events(stream, form)) => self.ingest(stream, form, &parts, body).await,
            Ok(Admitted::Token) => self.token(body).await,
            Err(refusal) => {
                self.bodies.discard(body).await;
                refusal.answer()
            }
        };
        let answer = if takes_gzip(&parts.headers) { answer::compressed(answer) } else { answer };
        answer::echo(answer, TRACK_ID, track_id)
    }

    /// Looks at everything but the body.
    fn admit(&self, parts: &Parts) -> Result<Admitted<'_>, Refusal> {
        let path = parts.uri.path();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let meter = match segments.as_slice() {
            ["oauth", "token"] if parts.method == Method::POST => return Ok(Admitted::Token),
            ["meters", "streaming", "ingestion", meter] | ["usage", "bulk", meter] => *meter,
            _ => return Err(Refusal::NotFound),
        };
        if let Some(tokens) = &self.tokens {
            let given = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
            if !tokens.admit(given) {
                return Err(Refusal::Unauthorized);
            }
        }
        let known = self.streams.iter().find(|known| is_called(&known.meter, meter));
        let stream = known.ok_or(Refusal::NotFound)?;
        if parts.method != Method::POST {
            return Err(Refusal::Method);
        }
        let form = form_of(&parts.headers).ok_or(Refusal::Unsupported)?;
        if self.context.stop.is_draining() {
            return Err(Refusal::Stopping);
        }
        if self.context.vitals.is_full.is_set() {
            return Err(Refusal::Full);
        }
        if stream.meter.schema.now().is_none() {
            return Err(Refusal::Unready);
        }
        Ok(Admitted::Events(stream, form))
    }

    /// A token for credentials, so that applications that ask for one first need no change: the
    /// secret is a token of the file.
    async fn token(&self, body: Incoming) -> Answer {
        let form = http_body_util::Limited::new(body, HEAD_BYTES_MAX).collect();
        let Ok(Ok(form)) = timeout(self.settings.body_timeout, form).await else {
            return Refusal::TooLarge.answer();
        };
        let form = form.to_bytes();
        let secret = url::form_urlencoded::parse(&form).find(|(name, _)| name == "client_secret");
        let secret = secret.map(|(_, secret)| secret.into_owned()).unwrap_or_default();
        match &self.tokens {
            None => answer::token("none"),
            Some(tokens) if tokens.holds(secret.as_bytes()) => answer::token(&secret),
            Some(_) => Refusal::Unauthorized.answer(),
        }
    }

    async fn ingest(
        &self,
        stream: &MeterStream,
        form: Form,
        parts: &Parts,
        body: Incoming,
    ) -> Answer {
        let mut hasher = Sha256::new();
        let key = self.key(&parts.headers);
        for part in [stream.meter.name.as_bytes(), key.unwrap_or_default()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let events = match self.bodies.take(body, form, hasher).await {
            Ok(events) if events.count == 0 => return answer::bad_body("there is no event in it"),
            Ok(events) => events,
            Err(Error::Refused(refusal)) => return refusal.answer(),
            Err(Error::Unreadable(what)) => return answer::bad_body(what),
            Err(Error::Malformed(malformed)) => {
                return answer::bad_events(&[malformed.into_bad_line()]);
            }
        };
        match self.store(stream, events, key.is_some()).await {
            Ok(Verdict::Committed) => answer::success(RECEIVED),
            Ok(Verdict::Refused(lines)) => answer::bad_events(&lines),
            Err(refusal) => refusal.answer(),
        }
    }

    /// Hands the events over and waits for their verdict.
    async fn store(
        &self,
        stream: &MeterStream,
        events: Events,
        has_key: bool,
    ) -> Result<Verdict, Refusal> {
        let Events { lines, count, hash, share } = events;
        let expires_at = Timestamp::now().after(self.settings.retry_window);
        let key = has_key.then_some(RequestKey { hash, expires_at });
        let (request, seen) = notice::Request::new(key, self.settings.linger_max);
        if has_key {
            match self.repeats.look(hash, seen.clone()).await {
                Ok(Standing::New) => {}
                Ok(Standing::UnderWay(other)) => {
                    drop((lines, share));
                    return verdict(other).await;
                }
                Ok(Standing::Committed) => {
                    // A third one may have come meanwhile and wait for this one's verdict.
                    Notice::Request(Arc::new(request)).committed();
                    self.tell_of_repeat();
                    return Ok(Verdict::Committed);
                }
                Err(error) => {
                    if self.unreadable.is_due(Instant::now()) {
                        tracing::error!(%error, "cannot look up a request in the store");
                    }
                    return Err(Refusal::Stopping);
                }
            }
        }
        let bytes = lines.len() as u64;
        self.hand_over(stream, lines, request, share).await?;
        let verdict = verdict(seen).await?;
        if verdict == Verdict::Committed {
            let counters = &self.context.tag.counters;
            counters.lines_read.add(count);
            counters.bytes_read.add(bytes);
        }
        Ok(verdict)
    }

    fn tell_of_repeat(&self) {
        self.repeated.add(1);
        if self.repeating.is_due(Instant::now()) {
            let (source, repeated) = (&*self.context.tag.name, self.repeated.value());
            tracing::info!(source, repeated, "requests are repeated, they are stored already");
        }
    }

    async fn hand_over(
        &self,
        stream: &MeterStream,
        lines: Vec<u8>,
        request: notice::Request,
        share: OwnedSemaphorePermit,
    ) -> Result<(), Refusal> {
        // Blank lines have numbers, too.
        let numbers = memchr::memchr_iter(b'\n', &lines).count() as u64;
        // Relaxed: only that each number is given once matters.
        let first = stream.next.fetch_add(numbers, Ordering::Relaxed);
        let chunk = Chunk {
            stream: Arc::clone(&stream.stream),
            first,
            end: first + numbers,
            lines: numbers,
            content: Content::Lines(right_sized(Buffer::from(lines))),
            file: None,
            permit: None,
            notice: Some(Notice::Request(Arc::new(request))),
        };
        let sent = self.context.intake.send(chunk, &self.context.stop.abandon);
        let sent = timeout(ROOM_TIMEOUT, sent).await;
        drop(share);
        sent.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Stopping)
    }

    /// By what a repeat of the request is known, when its client says that it would be one.
    fn key<'h>(&self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        if self.settings.retry_window.is_zero() {
            return None;
        }
        // Another meterd names one frozen body by a track id; whoever else may use one for many.
        let is_meterd =
            || header(headers, &USER_AGENT).is_some_and(|agent| agent.starts_with(b"meterd/"));
        header(headers, &IDEMPOTENCY_KEY).or_else(|| {
            let track_id = header(headers, &TRACK_ID)?;
            (self.settings.unique_track_ids || is_meterd()).then_some(track_id)
        })
    }
}

/// The value of a header that is there and not empty.
fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    headers.get(name).map(HeaderValue::as_bytes).filter(|value| !value.is_empty())
}

/// What a request wants that may be answered.
enum Admitted<'s> {
    Events(&'s MeterStream, Form),
    Token,
}

/// Waits for a verdict as long as a client can be expected to.
async fn verdict(mut seen: Seen) -> Result<Verdict, Refusal> {
    let verdict = async {
        match seen.wait_for(Option::is_some).await {
            Ok(verdict) => verdict.clone().ok_or(Refusal::Stopping),
            // Dropped without a word: it is not stored, or nobody knows.
            Err(_) => Err(Refusal::Stopping),
        }
    };
    timeout(VERDICT_TIMEOUT, verdict).await.unwrap_or(Err(Refusal::Unknown))
}

/// Whether `segment` of a path means `meter`: its name, or the end of its upload URL, which is its
/// global id.
fn is_called(meter: &Meter, segment: &str) -> bool {
    let id = meter.upload_url.rsplit('/').next().filter(|id| !id.is_empty());
    segment == &*meter.name || Some(segment) == id
}

/// Whether the client asks for gzip, and not only to say that it is unwanted.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    codings.unwrap_or_default().split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|weight| weight.strip_prefix("q=0").is_some_and(is_nought))
    })
}

/// Whether nothing but zeros follows the point of a weight.
fn is_nought(digits: &str) -> bool {
    digits.chars().all(|char| matches!(char, '.' | '0'))
}

/// How the body is written; none: in no way that is known.
fn form_of(headers: &HeaderMap) -> Option<Form> {
    let is_gzip = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None => false,
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => false,
        Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => true,
        Some(_) => return None,
    };
    let kind =
        headers.get(CONTENT_TYPE).map_or(Some("application/json"), |value| value.to_str().ok());
    let kind = kind?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let has_lines = match kind.as_str() {
        "application/json" => false,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => true,
        _ => return None,
    };
    Some(Form { is_gzip, has_lines })
}

/// What Zuora allows: at most 64 of US-ASCII, without some.
fn is_track_id(id: &[u8]) -> bool {
    id.len() <= 64 && id.is_ascii() && !id.iter().any(|byte| b":;\"'".contains(byte))
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn gzip_is_for_those_who_ask() {
        let check = |value: &'static str, expected: bool| {
            let headers =
                HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        };
        check("gzip", true);
        check("deflate, GZIP;q=0.5", true);
        check("deflate, br", false);
        check("gzip;q=0, identity", false);
        check("gzip; q=0.000", false);
        check("gzip;q=0.001", true);
        check("", false);
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_known_in_time_is_answered_so() {
        let (request, seen) = notice::Request::new(None, Duration::ZERO);
        let begin = tokio::time::Instant::now();
        let refusal = verdict(seen).await;
        assert_eq!(refusal, Err(Refusal::Unknown));
        assert_eq!(begin.elapsed(), VERDICT_TIMEOUT);
        assert_eq!(Refusal::Unknown.answer().status(), StatusCode::GATEWAY_TIMEOUT);
        drop(request);
    }
}
