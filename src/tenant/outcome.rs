//! From an answer to what happens next: a pure function.
//!
//! Whatever the bytes of an answer are, the outcome never loses a batch: what is not known to be
//! delivered is sent again, now or after a person has looked.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::mediation::answer::Words;
use crate::mediation::error::DUPLICATE_EVENT;

/// Mediation's code for too many requests, whatever the status it comes with.
const RATE_LIMITED: &str = "70002005";

/// Codes of mistakes in events: cut the batch until the wrong ones are alone.
const WRONG_EVENTS: [&str; 3] = ["70000000", "70001200", "70001201"];

/// Codes of mistakes in the set-up of the tenant, the client or the meter.
const WRONG_SETUP: [&str; 7] =
    ["70002001", "70002002", "70002003", "70002004", "70002006", "70002103", "70002104"];

/// What Mediation answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// The `ratelimit-remaining` header.
    pub rate_limit_remaining: Option<String>,
    /// The `ratelimit-reset` header.
    pub rate_limit_reset: Option<String>,
    /// The `Date` header.
    pub date: Option<String>,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// When the server says that it answered, to the second.
    pub fn at(&self) -> Option<Timestamp> {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(self.date.as_ref()?);
        date.ok().map(|date| Timestamp::from_millis(date.as_millisecond()))
    }
}

/// What an answer means for a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Mediation has it.
    Delivered {
        /// Whether it says that it had it before.
        is_duplicate: bool,
    },
    /// The token was not accepted.
    Unauthorized(String),
    /// Not taken; it may be taken later.
    Retry {
        /// How long the server asked to wait, not capped.
        after: Option<Duration>,
        /// Why it was not taken.
        cause: Cause,
        /// What was answered, in words.
        reason: String,
    },
    /// Not taken, because of some of its events or of its size: smaller parts may be.
    Refused {
        /// Whether it is too large, not wrong.
        is_too_large: bool,
        /// What Mediation said.
        words: Words,
    },
    /// Perhaps taken: the answer could not be read.
    Unknown(String),
    /// Not taken, and a person has to look.
    Hold(String),
}

/// Why something was not taken that may be taken later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The far end or the way to it is ill.
    Ill,
    /// The whole tenant is over its rate.
    RateLimited,
    /// It was refused for a reason that is not known. When it goes on, a person has to look.
    Unexplained,
}

impl Outcome {
    /// Whether what was asked may be done all the same, by an answer of `status`, when there was one: who
    /// failed may have failed behind it, or was only a gateway. 425 and 503 say that nothing was done.
    pub fn may_be_done(&self, status: Option<u16>) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Retry { cause: Cause::Ill, .. } => {
                status.is_some_and(|status| !matches!(status, 425 | 503))
            }
            _ => false,
        }
    }

    /// In a word, for the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delivered { is_duplicate: false } => "delivered",
            Self::Delivered { is_duplicate: true } => "duplicate",
            Self::Unauthorized(_) => "unauthorized",
            Self::Retry { .. } => "not taken",
            Self::Refused { .. } => "refused",
            Self::Unknown(_) => "unknown",
            Self::Hold(_) => "held",
        }
    }

    /// What a repeat is for, as the metric says it; none when there is none.
    pub const fn repeat(&self) -> Option<&'static str> {
        match self {
            Self::Delivered { .. } | Self::Refused { .. } => None,
            Self::Retry { cause: Cause::Ill, .. } => Some("unavailable"),
            Self::Retry { cause: Cause::RateLimited, .. } => Some("rate_limited"),
            Self::Retry { cause: Cause::Unexplained, .. } => Some("unexplained"),
            Self::Unknown(_) => Some("unknown"),
            Self::Unauthorized(_) | Self::Hold(_) => Some("held"),
        }
    }
}

/// Decides what `answer`, read at `now`, means.
pub fn of_answer(answer: &Answer, now: Timestamp) -> Outcome {
    let words = Words::read(&answer.body);
    let reason = format!("{} {words}", answer.status);
    let is_rate_limited = answer.status == 429 || words.code.as_deref() == Some(RATE_LIMITED);
    let retry = |cause, reason| Outcome::Retry { after: asked(answer, now), cause, reason };
    if is_rate_limited {
        return retry(Cause::RateLimited, reason);
    }
    let is_duplicate = words.code.as_deref() == Some(DUPLICATE_EVENT);
    match answer.status {
        200..=299 if words.success != Some(false) || is_duplicate => {
            Outcome::Delivered { is_duplicate }
        }
        400 | 409 if is_duplicate => Outcome::Delivered { is_duplicate },
        200..=299 | 400 if is_about_events(answer.status, &words) => {
            Outcome::Refused { is_too_large: false, words }
        }
        200..=299 if !is_about_setup(&words) => retry(Cause::Unexplained, reason),
        413 => Outcome::Refused { is_too_large: true, words },
        401 => Outcome::Unauthorized(reason),
        404 => Outcome::Hold(format!(
            "{reason}; is the meter's global id right, and the path one of \
             /meters/streaming/ingestion/{{meter}} and /usage/bulk/{{meter}}?"
        )),
        300..=399 => Outcome::Hold(format!("{reason}; redirects are not followed")),
        408 | 425 | 500..=599 => retry(Cause::Ill, reason),
        _ => Outcome::Hold(reason),
    }
}

/// Whether a refusal is about the events and not about the set-up. A 400 without a code is.
fn is_about_events(status: u16, words: &Words) -> bool {
    match &words.code {
        Some(code) => WRONG_EVENTS.contains(&code.as_str()),
        None => status == 400,
    }
}

/// Whether only a person can change what was answered.
fn is_about_setup(words: &Words) -> bool {
    words.code.as_deref().is_some_and(|code| WRONG_SETUP.contains(&code))
}

/// How long the server asks to wait.
pub(super) fn asked(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let retry_after = answer.retry_after.as_deref().and_then(|value| retry_after(value, now));
    // While something remains, the reset only says when more is admitted.
    let remaining = answer.rate_limit_remaining.as_deref().and_then(|value| numbers(value).min());
    let reset = answer.rate_limit_reset.as_deref().and_then(|value| numbers(value).max());
    let reset = reset.filter(|_| remaining.unwrap_or(0) == 0).map(Duration::from_secs);
    retry_after.max(reset)
}

/// `Retry-After`: seconds, or a date of HTTP.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = date.as_millisecond().saturating_sub(now.as_millis());
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
}

/// The numbers of a `ratelimit-*` header: one, or a list of them with parameters.
fn numbers(value: &str) -> impl Iterator<Item = u64> {
    value.split(',').filter_map(|item| item.split(';').next()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_705_651_000);

    fn outcome(status: u16, body: &str) -> Outcome {
        of_answer(&Answer { status, body: body.into(), ..Answer::default() }, NOW)
    }

    fn name(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Delivered { is_duplicate: false } => "delivered",
            Outcome::Delivered { is_duplicate: true } => "duplicate",
            Outcome::Unauthorized(_) => "unauthorized",
            Outcome::Retry { cause: Cause::RateLimited, .. } => "rate limited",
            Outcome::Retry { cause: Cause::Unexplained, .. } => "unexplained",
            Outcome::Retry { .. } => "retry",
            Outcome::Unknown(_) => "unknown",
            Outcome::Hold(_) => "hold",
            Outcome::Refused { is_too_large: true, .. } => "too large",
            Outcome::Refused { .. } => "refused",
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        let rows = [
            (200, "", "delivered"),
            (200, "{\"success\":true,\"message\":\"ok\"}", "delivered"),
            (202, "<html>", "delivered"),
            (200, "\u{1}\u{2}", "delivered"),
            (200, "{\"success\":false,\"message\":\"no\"}", "unexplained"),
            (202, "{\"success\":false,\"error\":{\"code\":1}}", "unexplained"),
            (200, "{\"success\":false,\"error\":{\"code\":70002003}}", "hold"),
            (200, "{\"success\":false,\"error\":{\"code\":70002006}}", "hold"),
            (200, "{\"success\":false,\"error\":{\"code\":70002005}}", "rate limited"),
            (400, "{\"errors\":[{\"code\":\"70002005\",\"message\":\"\"}]}", "rate limited"),
            (400, "{\"errors\":[{\"code\":\"70001204\",\"message\":\"\"}]}", "duplicate"),
            (409, "{\"error\":{\"code\":70001204}}", "duplicate"),
            (200, "{\"success\":false,\"errors\":[{\"code\":70001204}]}", "duplicate"),
            (200, "{\"success\":true,\"reasons\":[{\"code\":\"70001204\"}]}", "duplicate"),
            (500, "{\"error\":{\"code\":70001204}}", "retry"),
            (200, "{\"success\":false,\"error\":{\"code\":70001201}}", "refused"),
            (400, "{\"errors\":[{\"code\":\"70000000\",\"message\":\"\"}]}", "refused"),
            (400, "{\"errors\":[{\"code\":\"70001200\",\"message\":\"\"}]}", "refused"),
            (400, "{\"error\":{\"code\":70001201}}", "refused"),
            (400, "", "refused"),
            (400, "<html>", "refused"),
            (400, "{\"errors\":[{\"code\":\"70002004\",\"message\":\"\"}]}", "hold"),
            (400, "{\"errors\":[{\"code\":\"1\",\"message\":\"\"}]}", "hold"),
            (401, "", "unauthorized"),
            (403, "", "hold"),
            (404, "", "hold"),
            (408, "", "retry"),
            (413, "", "too large"),
            (418, "", "hold"),
            (425, "", "retry"),
            (429, "", "rate limited"),
            (301, "", "hold"),
            (500, "{\"reasons\":[{\"code\":\"1\",\"message\":\"\"}]}", "retry"),
            (502, "", "retry"),
            (503, "", "retry"),
            (504, "", "retry"),
            (599, "", "retry"),
            (100, "", "hold"),
        ];
        for (status, body, expected) in rows {
            assert_eq!(name(&outcome(status, body)), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_hold_says_what_was_answered() {
        let body = r#"{"errors":[{"code":"70002103","message":"meter not existing"}]}"#;
        let reason = "400 meter not existing (code 70002103)".to_owned();
        assert_eq!(outcome(400, body), Outcome::Hold(reason));
    }

    #[test]
    fn the_longer_of_both_waits_is_obeyed() {
        let check = |retry_after: Option<&str>, reset: Option<&str>, expected: Option<u64>| {
            let answer = Answer {
                status: 429,
                retry_after: retry_after.map(Into::into),
                rate_limit_reset: reset.map(Into::into),
                ..Answer::default()
            };
            let after = match of_answer(&answer, NOW) {
                Outcome::Retry { after, .. } => after,
                _ => None,
            };
            assert_eq!(after, expected.map(Duration::from_secs), "{retry_after:?} {reset:?}");
        };
        check(None, None, None);
        check(Some("7"), None, Some(7));
        check(Some(" 7 "), Some("20"), Some(20));
        check(Some("30"), Some("20;w=60, 25;w=3600"), Some(30));
        check(Some("Fri, 21 Nov 2025 06:14:41 GMT"), None, Some(30));
        check(Some("Fri, 21 Nov 2025 06:00:00 GMT"), None, Some(0));
        check(Some("soon"), Some("x"), None);
    }

    #[test]
    fn a_reset_counts_only_when_nothing_remains() {
        let after = |remaining: &str| {
            let answer = Answer {
                status: 503,
                rate_limit_remaining: Some(remaining.into()),
                rate_limit_reset: Some("60".into()),
                ..Answer::default()
            };
            asked(&answer, NOW).map(|wait| wait.as_secs())
        };
        assert_eq!(
            (after("5"), after("0"), after("5, 0;w=60"), after("?")),
            (None, Some(60), Some(60), Some(60))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_answers_do_no_harm(
            status: u16, body: Vec<u8>, retry_after: Option<String>, limits: (Option<String>, Option<String>),
        ) {
            let (rate_limit_remaining, rate_limit_reset) = limits;
            let answer =
                Answer { status, retry_after, rate_limit_remaining, rate_limit_reset, body, date: None };
            let _ = of_answer(&answer, NOW);
        }
    }
}
