//! What the simulator does wrong on request, and how that is written.
//!
//! ```text
//! KIND[=VALUE][,retry-after=SECONDS][,code=CODE][:PROBABILITY][xCOUNT][@METER]
//! ```
//!
//! | kind | the simulator |
//! |---|---|
//! | `status=503` | answers so, in the documented form of that status; accepts the events only with 2xx |
//! | `unauthorized` | answers 401, nothing is accepted |
//! | `no-success` | answers 200 with `success: false`, nothing is accepted; code 70002005 unless given |
//! | `reset-before` | closes the connection before the body is taken, nothing is accepted |
//! | `reset-after` | accepts the events, then closes the connection without an answer |
//! | `half-answer` | accepts the events, then closes the connection in the middle of the answer |
//! | `hang=30s` | accepts the events, then waits so long before it answers |
//! | `gateway=504` | accepts the events, and something between answers so |
//! | `rubbish` | accepts the events, answers 200 with bytes that mean nothing |
//! | `slow=200ms` | takes so long before it accepts anything; goes together with other faults |
//! | `token-status=500` | answers so at the token endpoint |
//!
//! `retry-after` goes with the two kinds of status, `code` with `status` and `no-success`. The
//! probability is between 0 and 1, 1 unless given; a fault without a count never ends; a fault
//! without a meter strikes all of them, and all operations of the meter APIs; one of those is named
//! `@api/run`, `@api/stop`, `debug`, `status`, `summary`, `export`, `import`, `files` or `audit`. The first fault that strikes is the one that is played.
//! Faults strike requests that are authorised and within the rate limit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The names of all kinds.
pub const NAMES: [&str; 11] = [
    "status",
    "unauthorized",
    "no-success",
    "reset-before",
    "reset-after",
    "half-answer",
    "gateway",
    "hang",
    "rubbish",
    "slow",
    "token-status",
];

/// The kinds as they are written.
const KINDS: &str = "status=STATUS, unauthorized, no-success, reset-before, reset-after, \
     half-answer, gateway=STATUS, hang=DURATION, rubbish, slow=DURATION, token-status=STATUS";

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// How often it strikes a request that it could strike: 0 to 1.
    pub probability: f64,
    /// How many times it strikes; none: for ever.
    pub count: Option<u64>,
    /// The only meter that it strikes; none: all.
    pub meter: Option<String>,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Answers with a status of 200 to 599; only 2xx accepts the events.
    Status {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// The code in the body, where its form has one.
        code: Option<String>,
    },
    /// Answers 401.
    Unauthorized,
    /// Answers 200 with `success: false`.
    NoSuccess {
        /// The code in the body; 70002005 unless given.
        code: Option<String>,
    },
    /// Closes the connection before the body is taken.
    ResetBefore,
    /// Accepts, then closes the connection without an answer.
    ResetAfter,
    /// Accepts, then closes the connection in the middle of the answer.
    HalfAnswer,
    /// Accepts, then answers with a status of 500 to 599 that does not say so.
    Gateway(u16),
    /// Accepts, then waits before the answer.
    Hang(Duration),
    /// Accepts, then answers with bytes that mean nothing.
    Rubbish,
    /// Waits before anything is accepted.
    Slow(Duration),
    /// Answers with a status of 300 to 599 at the token endpoint.
    TokenStatus {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No kind has this name.
    #[error("fault {fault:?}: unknown kind {kind:?}; there are {KINDS}")]
    UnknownKind {
        /// The whole text.
        fault: String,
        /// What stands in the place of the kind.
        kind: String,
    },
    /// A value or an option that is missing, of a wrong form, or out of place.
    #[error("fault {fault:?}: {part} {found:?} should be {expected}")]
    Wrong {
        /// The whole text.
        fault: String,
        /// Which part of it.
        part: &'static str,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Kind {
    /// The name under which it is counted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Unauthorized => "unauthorized",
            Self::NoSuccess { .. } => "no-success",
            Self::ResetBefore => "reset-before",
            Self::ResetAfter => "reset-after",
            Self::HalfAnswer => "half-answer",
            Self::Gateway(_) => "gateway",
            Self::Hang(_) => "hang",
            Self::Rubbish => "rubbish",
            Self::Slow(_) => "slow",
            Self::TokenStatus { .. } => "token-status",
        }
    }
}

/// A fault's text while it is taken apart: every complaint names the whole of it.
struct Parser<'a> {
    fault: &'a str,
}

/// What follows the kind behind commas.
#[derive(Default)]
struct Options {
    retry_after: Option<u64>,
    code: Option<String>,
}

impl Parser<'_> {
    fn wrong(&self, part: &'static str, found: &str, expected: &'static str) -> Error {
        Error::Wrong { fault: self.fault.to_owned(), part, found: found.to_owned(), expected }
    }

    fn parse(&self) -> Result<Fault, Error> {
        let (rest, meter) = match self.fault.split_once('@') {
            Some((_, "")) => return Err(self.wrong("meter", "", "a meter's global id")),
            Some((rest, meter)) => (rest, Some(meter.to_owned())),
            None => (self.fault, None),
        };
        let (rest, count) = match rest.rsplit_once('x') {
            Some((before, digits)) if is_digits(digits) => (before, Some(self.count(digits)?)),
            _ => (rest, None),
        };
        let (rest, probability) = match rest.split_once(':') {
            Some((before, text)) => (before, self.probability(text)?),
            None => (rest, 1.0),
        };
        let mut parts = rest.split(',');
        let kind = parts.next().unwrap_or_default();
        let options = self.options(parts)?;
        Ok(Fault { kind: self.kind(kind, options)?, probability, count, meter })
    }

    fn count(&self, digits: &str) -> Result<u64, Error> {
        digits.parse().map_err(|_| self.wrong("count", digits, "a smaller number"))
    }

    fn probability(&self, text: &str) -> Result<f64, Error> {
        let wrong = || self.wrong("probability", text, "a number from 0 to 1");
        let value: f64 = text.parse().map_err(|_| wrong())?;
        if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(wrong()) }
    }

    fn options<'a>(&self, parts: impl Iterator<Item = &'a str>) -> Result<Options, Error> {
        let mut options = Options::default();
        for part in parts {
            match part.split_once('=') {
                Some(("retry-after", seconds)) if is_digits(seconds) => {
                    let wrong = |_| self.wrong("retry-after", seconds, "a smaller number");
                    options.retry_after = Some(seconds.parse().map_err(wrong)?);
                }
                Some(("code", code)) if is_digits(code) => options.code = Some(code.to_owned()),
                _ => {
                    let expected = "retry-after=SECONDS or code=DIGITS";
                    return Err(self.wrong("option", part, expected));
                }
            }
        }
        Ok(options)
    }

    fn kind(&self, text: &str, options: Options) -> Result<Kind, Error> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Options { retry_after, code } = options;
        let takes_value = matches!(name, "status" | "token-status" | "gateway" | "hang" | "slow");
        if let (false, Some(value)) = (takes_value, value) {
            return Err(self.wrong("value", value, "left out for this kind"));
        }
        if retry_after.is_some() && !matches!(name, "status" | "token-status") {
            return Err(self.wrong("kind", name, "status or token-status to take retry-after"));
        }
        if code.is_some() && !matches!(name, "status" | "no-success") {
            return Err(self.wrong("kind", name, "status or no-success to take code"));
        }
        let value = value.unwrap_or_default();
        Ok(match name {
            "status" => Kind::Status { status: self.status(value, 200)?, retry_after, code },
            "token-status" => Kind::TokenStatus { status: self.status(value, 300)?, retry_after },
            "gateway" => Kind::Gateway(self.status(value, 500)?),
            "hang" => Kind::Hang(self.duration(value)?),
            "slow" => Kind::Slow(self.duration(value)?),
            "unauthorized" => Kind::Unauthorized,
            "no-success" => Kind::NoSuccess { code },
            "reset-before" => Kind::ResetBefore,
            "reset-after" => Kind::ResetAfter,
            "half-answer" => Kind::HalfAnswer,
            "rubbish" => Kind::Rubbish,
            _ => {
                let (fault, kind) = (self.fault.to_owned(), name.to_owned());
                return Err(Error::UnknownKind { fault, kind });
            }
        })
    }

    fn status(&self, text: &str, least: u16) -> Result<u16, Error> {
        let expected = match least {
            200 => "from 200 to 599",
            300 => "from 300 to 599",
            _ => "from 500 to 599",
        };
        match text.parse() {
            Ok(status) if (least..=599).contains(&status) => Ok(status),
            _ => Err(self.wrong("status", text, expected)),
        }
    }

    fn duration(&self, text: &str) -> Result<Duration, Error> {
        let wrong = || self.wrong("duration", text, "like 200ms, 5s, 2m or 1h");
        let digits = text.find(|at: char| !at.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        Ok(Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Parser { fault: text }.parse()
    }
}

impl fmt::Display for Fault {
    /// As [`FromStr`] reads it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.kind.name())?;
        match &self.kind {
            Kind::Status { status, .. } | Kind::TokenStatus { status, .. } => {
                write!(out, "={status}")?;
            }
            Kind::Gateway(status) => write!(out, "={status}")?,
            Kind::Hang(time) | Kind::Slow(time) => write!(out, "={}ms", time.as_millis())?,
            _ => {}
        }
        if let Kind::Status { retry_after: Some(seconds), .. }
        | Kind::TokenStatus { retry_after: Some(seconds), .. } = &self.kind
        {
            write!(out, ",retry-after={seconds}")?;
        }
        if let Kind::Status { code: Some(code), .. } | Kind::NoSuccess { code: Some(code) } =
            &self.kind
        {
            write!(out, ",code={code}")?;
        }
        if self.probability < 1.0 {
            write!(out, ":{}", self.probability)?;
        }
        if let Some(count) = self.count {
            write!(out, "x{count}")?;
        }
        if let Some(meter) = &self.meter {
            write!(out, "@{meter}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: Kind, rest: (f64, Option<u64>, Option<&str>)) {
        let (probability, count, meter) = rest;
        let expected = Fault { kind, probability, count, meter: meter.map(str::to_owned) };
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }

    #[test]
    fn every_kind_is_read() {
        let status = |status, retry_after, code: Option<&str>| Kind::Status {
            status,
            retry_after,
            code: code.map(str::to_owned),
        };
        let always = (1.0, None, None);
        check("status=503", status(503, None, None), always);
        check("status=429,retry-after=2", status(429, Some(2), None), always);
        check("status=400,code=70002001", status(400, None, Some("70002001")), always);
        check("unauthorized", Kind::Unauthorized, always);
        check("no-success", Kind::NoSuccess { code: None }, always);
        check("reset-beforex3", Kind::ResetBefore, (1.0, Some(3), None));
        check("reset-after:0.25", Kind::ResetAfter, (0.25, None, None));
        check("half-answer:0.5x2@xx9", Kind::HalfAnswer, (0.5, Some(2), Some("xx9")));
        check("hang=2m", Kind::Hang(Duration::from_secs(120)), always);
        check("gateway=504x2", Kind::Gateway(504), (1.0, Some(2), None));
        check("rubbish@m:1", Kind::Rubbish, (1.0, None, Some("m:1")));
        check("slow=20msx1", Kind::Slow(Duration::from_millis(20)), (1.0, Some(1), None));
        let token = Kind::TokenStatus { status: 500, retry_after: None };
        check("token-status=500x1", token, (1.0, Some(1), None));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in [
            "status=429,retry-after=2:0.5x7@m",
            "status=400,code=70002001",
            "no-success,code=17",
            "hang=1500ms:0.001",
            "reset-afterx3",
        ] {
            assert_eq!(text.parse::<Fault>().map(|fault| fault.to_string()), Ok(text.to_owned()));
        }
    }

    fn refused(text: &str) -> String {
        text.parse::<Fault>().map_or_else(|error| error.to_string(), |fault| fault.to_string())
    }

    #[test]
    fn a_complaint_says_what_would_be_right() {
        assert_eq!(
            refused("status=999"),
            r#"fault "status=999": status "999" should be from 200 to 599"#
        );
        assert_eq!(
            refused("hang=5"),
            r#"fault "hang=5": duration "5" should be like 200ms, 5s, 2m or 1h"#
        );
        assert!(refused("explode").contains(r#"unknown kind "explode"; there are status="#));
    }

    #[test]
    fn parts_out_of_place_are_refused() {
        for text in [
            "",
            "status",
            "status=abc",
            "token-status=200",
            "rubbish=1",
            "rubbish:2",
            "rubbish:-0.1",
            "rubbish:NaN",
            "rubbish@",
            "rubbish,code=1",
            "reset-after,retry-after=1",
            "status=429,wait=2",
            "status=429,retry-after=",
            "rubbishx99999999999999999999999",
            "slow=99999999999999999999h",
        ] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
