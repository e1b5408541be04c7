//! Whatever is answered has a meaning, and none of them loses a batch. The first two bytes are the
//! status, the first line the headers between `|`, the rest is the body.

use meterd::clock::Timestamp;
use meterd::mediation::answer::Words;
use meterd::mediation::error::DUPLICATE_EVENT;
use meterd::mediation::{audit, debug, files, form::Envelope, import, run, status, summary};
use meterd::schema::export;
use meterd::tenant::outcome::{Answer, Cause, Outcome, of_answer};
use serde_json::value::RawValue;

const NOW: Timestamp = Timestamp::from_millis(1_795_241_651_000);

/// The longest text that is kept of an answer, with what meterd says beside it.
const REASON_CHARS_MAX: usize = 1000;

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Some((status, rest)) = input.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status) % 700;
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let (headers, body) = rest.split_at(end);
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let headers = String::from_utf8_lossy(headers);
    let mut headers = headers.split('|').map(str::to_owned);
    let answer = Answer {
        status,
        retry_after: headers.next(),
        rate_limit_remaining: headers.next(),
        rate_limit_reset: headers.next(),
        date: headers.next(),
        body: body.to_vec(),
    };
    let _ = answer.at();
    judge(&answer, &of_answer(&answer, NOW));
    read_all(body);
}

/// What an outcome may follow from.
fn judge(answer: &Answer, outcome: &Outcome) {
    let words = Words::read(&answer.body);
    let is_repeat = words.code.as_deref() == Some(DUPLICATE_EVENT);
    match outcome {
        Outcome::Delivered { is_duplicate } => {
            assert!(matches!(answer.status, 200..=299 | 400 | 409), "{}", answer.status);
            assert!(answer.status < 300 || is_repeat, "a refusal counts as delivered");
            assert!(words.success != Some(false) || is_repeat, "a refusal counts as delivered");
            assert_eq!(*is_duplicate, is_repeat);
        }
        Outcome::Refused { is_too_large, words } => {
            assert!(matches!(answer.status, 200..=299 | 400 | 413), "{}", answer.status);
            assert_eq!(*is_too_large, answer.status == 413);
            is_bounded(&words.to_string());
        }
        Outcome::Unauthorized(reason) => {
            assert_eq!(answer.status, 401);
            is_bounded(reason);
        }
        Outcome::Retry { cause, reason, .. } => {
            assert!(*cause != Cause::Ill || matches!(answer.status, 408 | 425 | 500..=599));
            is_bounded(reason);
        }
        Outcome::Hold(reason) => is_bounded(reason),
        Outcome::Unknown(_) => unreachable!("an answer that was read is not unknown"),
    }
}

/// As it may stand in a log line.
fn is_bounded(reason: &str) {
    assert!(reason.chars().count() <= REASON_CHARS_MAX, "an answer makes a long reason");
    assert!(!reason.chars().any(char::is_control), "an answer writes to the log: {reason:?}");
}

/// Every other answer of Mediation is read by somebody.
fn read_all(body: &[u8]) {
    fn answer<T: serde::de::DeserializeOwned + std::fmt::Debug>(body: &[u8]) {
        if let Ok(answer) = serde_json::from_slice::<Envelope<T>>(body) {
            let _ = answer.known();
        }
    }
    answer::<run::Run>(body);
    answer::<import::Imported>(body);
    answer::<summary::Summary>(body);
    answer::<serde_json::Value>(body);
    let _ = serde_json::from_slice::<status::Answer>(body);
    let _ = serde_json::from_slice::<files::Answer>(body);
    let _ = serde_json::from_slice::<debug::Answer>(body);
    if let Ok(page) = audit::Page::read(body) {
        for entry in page.data.unwrap_or_default() {
            let _ = audit::Entry::read(entry);
            let line = audit::one_line(entry.get());
            assert!(!line.contains('\n'), "an entry has more than one line");
            let same = serde_json::from_str::<&RawValue>(&line).map(|_| ());
            assert!(same.is_ok(), "an entry is no JSON any more");
        }
    }
    if let Ok(exported) = export::read(body, |_| {}) {
        let again = export::read(exported.document.as_bytes(), |_| {});
        assert_eq!(again.ok().map(|again| again.schema), Some(exported.schema));
    }
}
