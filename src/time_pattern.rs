//! Reads times as applications write them: a compiled pattern, and the instants that it finds.
//!
//! The letters are those of [`crate::time_format`] and a few more. A text that is not exactly as
//! the pattern says, or not on the calendar, is no time; nothing is completed or guessed.

use std::str::FromStr;

use crate::time_format::{Date, EventTime};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How times are written in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePattern {
    form: Form,
    /// Seconds east of Greenwich of times that do not say their zone.
    offset_seconds: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// A number of units since 1970, of which so many digits are below the second.
    Epoch(u32),
    Pattern(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Year,
    Month,
    MonthName,
    Day,
    /// One or two digits, or a blank and one.
    ShortDay,
    Hour,
    Minute,
    Second,
    /// So many digits of a fraction; none: one to nine.
    Fraction(Option<usize>),
    Zone,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A letter outside quotes that is not supported, or not so many times.
    #[error(
        "epoch_s, epoch_ms, epoch_us, epoch_ns, or a pattern of yyyy, MM, MMM, d, dd, HH, mm, ss, \
         S to SSSSSSSSS, Z, X, XX, XXX and text in single quotes, where {0:?} is none of them"
    )]
    Letters(String),
    /// Something is not said, or said twice.
    #[error("a pattern with yyyy, MM or MMM, and d or dd, each once")]
    NoDay,
    /// A quote without its other one.
    #[error("a pattern whose quotes are closed; '' is a quote itself")]
    OpenQuote,
}

impl FromStr for TimePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = match text {
            "epoch_s" => Form::Epoch(0),
            "epoch_ms" => Form::Epoch(3),
            "epoch_us" => Form::Epoch(6),
            "epoch_ns" => Form::Epoch(9),
            _ => Form::Pattern(parts(text)?),
        };
        Ok(Self { form, offset_seconds: 0 })
    }
}

fn parts(pattern: &str) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let run = match first {
            '\'' => {
                let (text, length) = quoted(rest).ok_or(Error::OpenQuote)?;
                parts.push(Part::Literal(text));
                length
            }
            'A'..='Z' | 'a'..='z' => {
                let run = rest.find(|c| c != first).unwrap_or(rest.len());
                parts.push(letters(rest.get(..run).unwrap_or(rest))?);
                run
            }
            _ => {
                parts.push(Part::Literal(first.to_string()));
                first.len_utf8()
            }
        };
        rest = rest.get(run..).unwrap_or_default();
    }
    let count = |wanted: &[Part]| parts.iter().filter(|part| wanted.contains(part)).count();
    let is_once = count(&[Part::Year]) == 1
        && count(&[Part::Month, Part::MonthName]) == 1
        && count(&[Part::Day, Part::ShortDay]) == 1
        && [Part::Hour, Part::Minute, Part::Second, Part::Zone]
            .iter()
            .all(|part| count(std::slice::from_ref(part)) <= 1)
        && parts.iter().filter(|part| matches!(part, Part::Fraction(_))).count() <= 1;
    if is_once { Ok(parts) } else { Err(Error::NoDay) }
}

fn letters(run: &str) -> Result<Part, Error> {
    Ok(match run {
        "yyyy" => Part::Year,
        "MM" => Part::Month,
        "MMM" => Part::MonthName,
        "dd" => Part::Day,
        "d" => Part::ShortDay,
        "HH" => Part::Hour,
        "mm" => Part::Minute,
        "ss" => Part::Second,
        "S" => Part::Fraction(None),
        "Z" | "X" | "XX" | "XXX" => Part::Zone,
        _ if run.len() <= 9 && run.starts_with('S') => Part::Fraction(Some(run.len())),
        _ => return Err(Error::Letters(run.to_owned())),
    })
}

/// The text in the quotes at the beginning of `rest`, and how long it is there.
fn quoted(rest: &str) -> Option<(String, usize)> {
    if rest.starts_with("''") {
        return Some(("'".to_owned(), 2));
    }
    let mut text = String::new();
    let mut at = 1;
    loop {
        let ahead = rest.get(at..)?;
        let end = ahead.find('\'')?;
        text.push_str(ahead.get(..end)?);
        at += end + 1;
        if !rest.get(at..)?.starts_with('\'') {
            return Some((text, at));
        }
        text.push('\'');
        at += 1;
    }
}

impl TimePattern {
    /// The same for times that are so many seconds east of Greenwich when they say no zone.
    #[must_use]
    pub fn with_offset(self, offset_seconds: i64) -> Self {
        Self { offset_seconds, ..self }
    }

    /// Whether its times say their zone, or need none.
    pub fn says_zone(&self) -> bool {
        match &self.form {
            Form::Epoch(_) => true,
            Form::Pattern(parts) => parts.contains(&Part::Zone),
        }
    }

    /// The instant that `text` says, if it is written like this.
    pub fn read(&self, text: &str) -> Option<EventTime> {
        let parts = match &self.form {
            Form::Epoch(digits) => return epoch(text, *digits),
            Form::Pattern(parts) => parts,
        };
        let mut rest = text;
        let mut date = Date { year: 0, month: 0, day: 0 };
        let (mut of_day, mut nanos, mut offset) = (0, 0, self.offset_seconds);
        for part in parts {
            match part {
                Part::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Year => date.year = digits(&mut rest, 4)?,
                Part::Month => date.month = digits(&mut rest, 2)?,
                Part::MonthName => date.month = month(&mut rest)?,
                Part::Day => date.day = digits(&mut rest, 2)?,
                Part::ShortDay => date.day = short_day(&mut rest)?,
                Part::Hour => of_day += below(digits(&mut rest, 2)?, 24)? * 3600,
                Part::Minute => of_day += below(digits(&mut rest, 2)?, 60)? * 60,
                Part::Second => of_day += below(digits(&mut rest, 2)?, 60)?,
                Part::Fraction(width) => nanos = fraction(&mut rest, *width)?,
                Part::Zone => offset = zone(&mut rest)?,
            }
        }
        let days = date.days_since_epoch();
        // A day that is not on the calendar is counted on into another.
        let is_there = (1..=12).contains(&date.month) && Date::from_days(days) == date;
        let seconds = days * 86_400 + of_day - offset;
        (rest.is_empty() && is_there).then_some(EventTime { seconds, nanos })
    }
}

/// Seconds east of Greenwich, from `Z`, `+01`, `+0100` or `+01:00`.
pub fn offset_seconds(text: &str) -> Option<i64> {
    let mut rest = text;
    zone(&mut rest).filter(|_| rest.is_empty())
}

fn below(number: i64, limit: i64) -> Option<i64> {
    (number < limit).then_some(number)
}

/// A number of exactly `width` digits.
fn digits(rest: &mut &str, width: usize) -> Option<i64> {
    let (number, behind) = rest.split_at_checked(width)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *rest = behind;
    number.parse().ok()
}

fn short_day(rest: &mut &str) -> Option<i64> {
    if let Some(behind) = rest.strip_prefix(' ') {
        *rest = behind;
        return digits(rest, 1);
    }
    digits(rest, 2).or_else(|| digits(rest, 1))
}

fn month(rest: &mut &str) -> Option<i64> {
    let index = MONTHS.iter().position(|name| rest.starts_with(name))?;
    *rest = rest.get(3..)?;
    i64::try_from(index + 1).ok()
}

/// The nanoseconds that one to nine digits behind a decimal point say.
fn fraction(rest: &mut &str, width: Option<usize>) -> Option<u32> {
    let found = rest.bytes().take_while(u8::is_ascii_digit).count();
    let width = width.unwrap_or(found);
    if !(1..=9).contains(&width) || width > found {
        return None;
    }
    let number = digits(rest, width)?;
    let unit = 10_i64.pow(9 - u32::try_from(width).ok()?);
    u32::try_from(number * unit).ok()
}

fn zone(rest: &mut &str) -> Option<i64> {
    if let Some(behind) = rest.strip_prefix(['Z', 'z']) {
        *rest = behind;
        return Some(0);
    }
    let is_west = rest.starts_with('-');
    *rest = rest.strip_prefix(['+', '-'])?;
    let hours = below(digits(rest, 2)?, 24)?;
    let with_colon = rest.strip_prefix(':');
    let mut behind = with_colon.unwrap_or(rest);
    let minutes = match digits(&mut behind, 2) {
        Some(minutes) => {
            *rest = behind;
            below(minutes, 60)?
        }
        None if with_colon.is_some() => return None,
        None => 0,
    };
    let offset = hours * 3600 + minutes * 60;
    Some(if is_west { -offset } else { offset })
}

/// A number of seconds, or of units with so many `digits` below it, with or without a fraction.
fn epoch(text: &str, digits_below: u32) -> Option<EventTime> {
    let (is_negative, number) = match text.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let kept = (9 - digits_below) as usize;
    let rounded = fraction.bytes().skip(kept).any(|digit| digit != b'0');
    if !is_number(whole) || !is_number(fraction) || rounded {
        return None;
    }
    let mut nanos = whole.parse::<i128>().ok()?;
    for place in 0..kept {
        let digit = fraction.as_bytes().get(place).map_or(0, |digit| digit - b'0');
        nanos = nanos.checked_mul(10)?.checked_add(digit.into())?;
    }
    let nanos = if is_negative { -nanos } else { nanos };
    Some(EventTime {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?,
        nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pattern: &str, text: &str) -> Option<(i64, u32)> {
        let pattern = pattern.parse::<TimePattern>().expect("a pattern");
        pattern.read(text).map(|time| (time.seconds, time.nanos))
    }

    #[test]
    fn times_of_well_known_logs_are_read() {
        const AT: i64 = 1_795_241_651;
        for (pattern, text, nanos) in [
            ("dd/MMM/yyyy:HH:mm:ss Z", "21/Nov/2026:06:14:11 +0000", 0),
            ("dd/MMM/yyyy:HH:mm:ss Z", "21/Nov/2026:07:14:11 +0100", 0),
            ("yyyy-MM-dd HH:mm:ss,SSS", "2026-11-21 06:14:11,123", 123_000_000),
            ("yyyy/MM/dd HH:mm:ss.S", "2026/11/21 06:14:11.123456", 123_456_000),
            ("d MMM yyyy HH:mm:ss XXX", "21 Nov 2026 00:44:11 -05:30", 0),
            ("yyyyMMdd'T'HHmmssSSSSSSSSSX", "20261121T061411000000001Z", 1),
            ("'it''s 'MM.dd.yyyy HH:mm:ss", "it's 11.21.2026 06:14:11", 0),
            ("epoch_s", "1795241651", 0),
            ("epoch_s", "1795241651.5", 500_000_000),
            ("epoch_ms", "1795241651123", 123_000_000),
            ("epoch_us", "1795241651000001", 1000),
            ("epoch_ns", "1795241651000000001", 1),
        ] {
            assert_eq!(read(pattern, text), Some((AT, nanos)), "{pattern}");
        }
        assert_eq!(read("MMM d yyyy", "Jan  2 1970"), Some((86_400, 0)));
        assert_eq!(read("epoch_s", "-0.5"), Some((-1, 500_000_000)));
    }

    #[test]
    fn what_is_not_written_so_is_no_time() {
        for (pattern, text) in [
            ("yyyy-MM-dd", "2026-02-29"),
            ("yyyy-MM-dd", "2026-13-01"),
            ("yyyy-MM-dd", "2026-00-01"),
            ("yyyy-MM-dd", "2026-11-00"),
            ("yyyy-MM-dd", "2026-11-21 "),
            ("yyyy-MM-dd", " 2026-11-21"),
            ("yyyy-MM-dd", "+026-11-21"),
            ("yyyy-MM-dd HH", "2026-11-21 24"),
            ("yyyy-MM-dd HH:mm", "2026-11-21 23:60"),
            ("yyyy-MM-dd S", "2026-11-21 1234567890"),
            ("yyyy-MM-dd SSS", "2026-11-21 12"),
            ("yyyy-MM-dd Z", "2026-11-21 +01:"),
            ("yyyy-MM-dd Z", "2026-11-21 UTC"),
            ("MMM dd yyyy", "nov 21 2026"),
            ("epoch_s", "1795241651.0000000001"),
            ("epoch_ns", "1.5"),
            ("epoch_s", "1e9"),
            ("epoch_s", ""),
            ("epoch_s", "99999999999999999999999999999999999999999"),
        ] {
            assert_eq!(read(pattern, text), None, "{pattern}: {text}");
        }
    }

    #[test]
    fn a_pattern_names_a_day_once_and_nothing_unknown() {
        for bad in ["", "HH:mm", "yyyy-MM", "yyyy-MM-dd dd", "yyyy-MM-MMM-dd", "yyyy-MM-dd X Z"] {
            assert_eq!(bad.parse::<TimePattern>(), Err(Error::NoDay), "{bad}");
        }
        for (bad, letters) in [("YYYY-MM-dd", "YYYY"), ("yyyy-MM-dd hh", "hh"), ("epoch", "e")] {
            let expected = Err(Error::Letters(letters.to_owned()));
            assert_eq!(bad.parse::<TimePattern>(), expected, "{bad}");
        }
        assert_eq!("yyyy-MM-dd'T".parse::<TimePattern>(), Err(Error::OpenQuote));
    }

    #[test]
    fn a_zone_that_is_not_said_is_utc_or_as_configured() {
        let pattern = "yyyy-MM-dd HH:mm".parse::<TimePattern>().expect("a pattern");
        assert!(!pattern.says_zone());
        let read = |pattern: &TimePattern| pattern.read("1970-01-01 01:00").map(|it| it.seconds);
        assert_eq!(read(&pattern), Some(3600));
        assert_eq!(offset_seconds("+01:00"), Some(3600));
        assert_eq!(offset_seconds("+01:00 "), None);
        assert_eq!(read(&pattern.with_offset(3600)), Some(0));
    }

    proptest! {
        #[test]
        fn what_a_format_writes_is_read_as_the_same_instant(
            millis in -12_212_553_600_000_i64..253_402_300_800_000, which in 0_usize..4,
        ) {
            let pattern = [
                "yyyy-MM-dd'T'HH:mm:ss.SSSX", "dd.MM.yyyy HH:mm:ss SSS", "epoch_ms",
                "yyyyMMddHHmmssSSSZ",
            ][which];
            let time = EventTime::from_millis(millis);
            let mut out = Vec::new();
            let format = pattern.parse::<crate::time_format::TimeFormat>();
            prop_assert!(format.is_ok_and(|format| format.write(time, &mut out).is_ok()));
            let text = String::from_utf8_lossy(&out);
            let pattern = pattern.parse::<TimePattern>().expect("a pattern");
            prop_assert_eq!(pattern.read(text.trim_matches('"')), Some(time));
        }

        #[test]
        fn arbitrary_texts_do_no_harm(pattern: String, text: String) {
            let _ = pattern.parse::<TimePattern>().map(|pattern| pattern.read(&text));
            for good in ["epoch_s", "d MMM yyyy HH:mm:ss.S Z"] {
                let _ = good.parse::<TimePattern>().map(|pattern| pattern.read(&text));
            }
            let _ = offset_seconds(&text);
        }
    }
}
