//! How the times of a field go out: a compiled pattern, and the instants that it writes.
//!
//! Patterns are the subset of Java's `SimpleDateFormat` whose texts are read back as the same
//! instant in every locale. What is written is in UTC. A format never changes an instant: one that
//! it cannot say to the last digit is refused with a [`Misfit`].

use std::io::Write;
use std::str::FromStr;

use crate::clock::Timestamp;

/// The longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 100;

const SECONDS_PER_DAY: i64 = 86_400;

/// An instant as an event says it: to the nanosecond, where a [`Timestamp`] has milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventTime {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub seconds: i64,
    /// What is beyond them, below 1,000,000,000.
    pub nanos: u32,
}

impl EventTime {
    /// The instant `millis` milliseconds after the epoch.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 1000")]
    pub fn from_millis(millis: i64) -> Self {
        let nanos = millis.rem_euclid(1000) as u32 * 1_000_000;
        Self { seconds: millis.div_euclid(1000), nanos }
    }
}

impl From<Timestamp> for EventTime {
    fn from(at: Timestamp) -> Self {
        Self::from_millis(at.as_millis())
    }
}

/// A day of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// The year; 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Date {
    /// Days since 1970-01-01. Years are counted from March, so that a leap day is the last.
    pub fn days_since_epoch(self) -> i64 {
        let Self { month, day, .. } = self;
        let year = if month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day `days` days after 1970-01-01.
    pub fn from_days(days: i64) -> Self {
        let days = days + 719_468;
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + days.div_euclid(146_097) * 400 + i64::from(month <= 2);
        Self { year, month, day: day_of_year - (153 * march_month + 2) / 5 + 1 }
    }
}

/// Why a format cannot say an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// A year that readers of the pattern take for another.
    Year,
    /// The time of day has hours.
    Hours,
    /// The time of day has minutes.
    Minutes,
    /// The time of day has seconds.
    Seconds,
    /// A part of a second.
    Fraction,
    /// A part of a millisecond.
    BelowMillis,
}

impl Misfit {
    /// What is wrong, in words.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Year => "the field's format can only say the years 1583 to 9999 in UTC",
            Self::Hours => "the time has hours in UTC, the field's format has no HH",
            Self::Minutes => "the time has minutes, the field's format has no mm",
            Self::Seconds => "the time has seconds, the field's format has no ss",
            Self::Fraction => "the time has a part of a second, the field's format has none",
            Self::BelowMillis => "the time is finer than milliseconds, the field's format is not",
        }
    }
}

/// Why a text is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A letter outside quotes that is not supported, or not so many times.
    #[error(
        "epoch_ms, epoch_s, or a pattern of yyyy, MM, dd, HH, mm, ss, SSS, Z, X, XX, XXX and text \
         in single quotes, where {0:?} is none of them"
    )]
    Letters(String),
    /// The pattern names no day.
    #[error("epoch_ms, epoch_s, or a pattern with yyyy, MM and dd")]
    NoDay,
    /// A quote without its other one.
    #[error("a pattern whose quotes are closed; '' is a quote itself")]
    OpenQuote,
    /// Longer than anybody needs, or with control characters.
    #[error("a pattern of at most {PATTERN_BYTES_MAX} bytes without control characters")]
    Unreasonable,
}

/// How the times of a field go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat {
    form: Form,
    /// As it was written.
    text: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    EpochMillis,
    EpochSeconds,
    Pattern(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// As it stands in a JSON string.
    Literal(Vec<u8>),
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Millis,
    /// `Z`: an offset of RFC 822. In UTC that is `+0000`.
    Offset,
    /// `X`, `XX`, `XXX`: an offset of ISO 8601. In UTC each of them is `Z`.
    Zulu,
}

impl FromStr for TimeFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let compiled = |form| Self { form, text: text.into() };
        match text {
            "epoch_ms" => return Ok(compiled(Form::EpochMillis)),
            "epoch_s" => return Ok(compiled(Form::EpochSeconds)),
            _ => {}
        }
        if text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Error::Unreasonable);
        }
        let parts = parts(text)?;
        if [Part::Year, Part::Month, Part::Day].iter().all(|part| parts.contains(part)) {
            Ok(compiled(Form::Pattern(parts)))
        } else {
            Err(Error::NoDay)
        }
    }
}

fn parts(pattern: &str) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => {
                let (text, length) = quoted(rest)?;
                literal(&mut parts, &text);
                length
            }
            'A'..='Z' | 'a'..='z' => {
                let run = rest.find(|c| c != first).unwrap_or(rest.len());
                parts.push(letters(rest.get(..run).unwrap_or(rest))?);
                run
            }
            _ => {
                literal(&mut parts, first.encode_utf8(&mut [0; 4]));
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(parts)
}

fn letters(run: &str) -> Result<Part, Error> {
    Ok(match run {
        "yyyy" => Part::Year,
        "MM" => Part::Month,
        "dd" => Part::Day,
        "HH" => Part::Hour,
        "mm" => Part::Minute,
        "ss" => Part::Second,
        "SSS" => Part::Millis,
        "Z" => Part::Offset,
        "X" | "XX" | "XXX" => Part::Zulu,
        _ => return Err(Error::Letters(run.to_owned())),
    })
}

/// The text that begins with the quote at the beginning of `rest`, and how long it is there.
fn quoted(rest: &str) -> Result<(String, usize), Error> {
    if rest.starts_with("''") {
        return Ok(("'".to_owned(), 2));
    }
    let mut text = String::new();
    let mut quotes = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = quotes.next() {
        if character != '\'' {
            text.push(character);
        } else if quotes.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return Ok((text, at + 1));
        }
    }
    Err(Error::OpenQuote)
}

fn literal(parts: &mut Vec<Part>, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default().as_bytes();
    if let Some(Part::Literal(before)) = parts.last_mut() {
        before.extend_from_slice(inside);
    } else {
        parts.push(Part::Literal(inside.to_vec()));
    }
}

impl std::fmt::Display for TimeFormat {
    /// The pattern as it was written.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

impl TimeFormat {
    /// Appends `time` as a JSON value. After a misfit, nothing was appended.
    pub fn write(&self, time: EventTime, out: &mut Vec<u8>) -> Result<(), Misfit> {
        if !time.nanos.is_multiple_of(1_000_000) {
            return Err(Misfit::BelowMillis);
        }
        let millis = time.nanos / 1_000_000;
        match &self.form {
            Form::EpochMillis => {
                let total = i128::from(time.seconds) * 1000 + i128::from(millis);
                // Writing to memory cannot fail.
                let _ = write!(out, "{total}");
            }
            Form::EpochSeconds if millis != 0 => return Err(Misfit::Fraction),
            Form::EpochSeconds => {
                let _ = write!(out, "{}", time.seconds);
            }
            Form::Pattern(parts) => pattern(parts, time.seconds, millis, out)?,
        }
        Ok(())
    }
}

fn pattern(parts: &[Part], seconds: i64, millis: u32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let date = Date::from_days(seconds.div_euclid(SECONDS_PER_DAY));
    // Before 1583 Java's readers count in the Julian calendar, and they have no year 0.
    if !(1583..=9999).contains(&date.year) {
        return Err(Misfit::Year);
    }
    let millis = i64::from(millis);
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    for (value, part, misfit) in [
        (hour, Part::Hour, Misfit::Hours),
        (minute, Part::Minute, Misfit::Minutes),
        (second, Part::Second, Misfit::Seconds),
        (millis, Part::Millis, Misfit::Fraction),
    ] {
        if value != 0 && !parts.contains(&part) {
            return Err(misfit);
        }
    }
    out.push(b'"');
    for part in parts {
        match part {
            Part::Literal(text) => out.extend_from_slice(text),
            Part::Year => digits(date.year, 4, out),
            Part::Month => digits(date.month, 2, out),
            Part::Day => digits(date.day, 2, out),
            Part::Hour => digits(hour, 2, out),
            Part::Minute => digits(minute, 2, out),
            Part::Second => digits(second, 2, out),
            Part::Millis => digits(millis, 3, out),
            Part::Offset => out.extend_from_slice(b"+0000"),
            Part::Zulu => out.push(b'Z'),
        }
    }
    out.push(b'"');
    Ok(())
}

/// Appends `number`, which is not negative, in `width` digits; it has no more.
#[expect(clippy::cast_sign_loss, reason = "the number is not negative")]
fn digits(number: i64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10_i64.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
mod tests;
