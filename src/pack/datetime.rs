//! Whether a string is a time that Mediation can read.
//!
//! Accepted: `2026-11-21`, and the same followed by `T`, `t` or a blank and `06:14:11`, with up
//! to nine digits of a fraction, with `Z`, `z`, `+01:00`, `+0100` or nothing behind it. These are
//! RFC 3339, ISO 8601 with basic offsets, and the local forms that Mediation's usage records
//! are documented to try. A time without a zone is in UTC, a date alone is its midnight. A number
//! is an epoch in seconds or, from 100,000,000,000 on, in milliseconds.

use crate::time_format::{Date, EventTime};

/// Epoch numbers of this size and more are milliseconds: as seconds they would be beyond the year
/// 5000, as milliseconds the smaller ones are in the spring of 1973 or before.
const EPOCH_MILLIS_MIN: u64 = 100_000_000_000;

/// Whether `text` is a date or a time of day on a date.
pub fn is_datetime(text: &[u8]) -> bool {
    let Some((date, rest)) = text.split_first_chunk::<10>() else { return false };
    if !is_date(date) {
        return false;
    }
    let Some((separator, rest)) = rest.split_first() else { return true };
    let Some((time, rest)) = rest.split_first_chunk::<8>() else { return false };
    matches!(separator, b'T' | b't' | b' ') && is_time_of_day(*time) && is_fraction_and_zone(rest)
}

/// The instant that a value in JSON says: a string that [is a time](is_datetime), or an integer.
pub fn instant(value: &[u8]) -> Option<EventTime> {
    let Some(text) = value.strip_prefix(b"\"") else { return epoch(value) };
    let text = text.strip_suffix(b"\"")?;
    if !is_datetime(text) {
        return None;
    }
    let (date, rest) = text.split_first_chunk::<10>()?;
    let &[y1, y2, y3, y4, _, m1, m2, _, d1, d2] = date;
    let pair = |tens, ones| two_digits(tens, ones).map(i64::from);
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let date = Date { year, month: pair(m1, m2)?, day: pair(d1, d2)? };
    let midnight = date.days_since_epoch() * 86_400;
    let Some((time, rest)) = rest.get(1..).and_then(<[u8]>::split_first_chunk::<8>) else {
        return Some(EventTime { seconds: midnight, nanos: 0 });
    };
    let &[h1, h2, _, m1, m2, _, s1, s2] = time;
    let of_day = pair(h1, h2)? * 3600 + pair(m1, m2)? * 60 + pair(s1, s2)?;
    let (nanos, zone) = fraction(rest);
    let offset = match *zone {
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => {
            let offset = pair(h1, h2)? * 3600 + pair(m1, m2)? * 60;
            if sign == b'-' { -offset } else { offset }
        }
        _ => 0,
    };
    Some(EventTime { seconds: midnight + of_day - offset, nanos })
}

fn epoch(value: &[u8]) -> Option<EventTime> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    if number.unsigned_abs() < EPOCH_MILLIS_MIN {
        Some(EventTime { seconds: number, nanos: 0 })
    } else {
        Some(EventTime::from_millis(number))
    }
}

/// The nanoseconds of a fraction that was found right, and what stands behind it.
fn fraction(rest: &[u8]) -> (u32, &[u8]) {
    let Some(mut rest) = rest.strip_prefix(b".") else { return (0, rest) };
    let (mut nanos, mut unit) = (0, 100_000_000);
    while let Some((digit, behind)) = rest.split_first()
        && digit.is_ascii_digit()
    {
        nanos += u32::from(digit - b'0') * unit;
        unit /= 10;
        rest = behind;
    }
    (nanos, rest)
}

/// `2026-11-21`, on the calendar.
fn is_date(date: &[u8; 10]) -> bool {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return false };
    let (Some(century), Some(year_of_century)) = (two_digits(y1, y2), two_digits(y3, y4)) else {
        return false;
    };
    let (Some(month), Some(day)) = (two_digits(m1, m2), two_digits(d1, d2)) else { return false };
    let year = u32::from(century) * 100 + u32::from(year_of_century);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// `06:14:11`; no leap second, which Java's calendars do not know.
fn is_time_of_day(time: [u8; 8]) -> bool {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = time else { return false };
    two_digits(h1, h2).is_some_and(|hour| hour < 24)
        && two_digits(m1, m2).is_some_and(|minute| minute < 60)
        && two_digits(s1, s2).is_some_and(|second| second < 60)
}

fn is_fraction_and_zone(rest: &[u8]) -> bool {
    let zone = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            fraction.get(digits..).unwrap_or_default()
        }
        _ => rest,
    };
    match *zone {
        [] | [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, m1, m2] | [b'+' | b'-', h1, h2, b':', m1, m2] => {
            two_digits(h1, h2).is_some_and(|hour| hour < 24)
                && two_digits(m1, m2).is_some_and(|minute| minute < 60)
        }
        _ => false,
    }
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| tens * 10 + ones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_forms_are_times() {
        for good in [
            "2026-11-21",
            "2026-11-21T06:14:11",
            "2026-11-21 06:14:11",
            "2026-11-21T06:14:11Z",
            "2026-11-21t06:14:11z",
            "2026-11-21T06:14:11.1Z",
            "2026-11-21T06:14:11.123456789+01:00",
            "2026-11-21T06:14:11+0000",
            "2026-11-21T06:14:11.123-0530",
            "2024-02-29T23:59:59Z",
            "2000-02-29",
        ] {
            assert!(is_datetime(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn what_is_not_on_calendar_or_clock_is_no_time() {
        for bad in [
            "",
            "2026",
            "2026-11-2",
            "2026-13-01",
            "2026-00-01",
            "2026-11-31",
            "2026-02-29",
            "1900-02-29",
            "2026-11-21T",
            "2026-11-21T24:00:00Z",
            "2026-11-21T06:60:11Z",
            "2026-11-21T06:14:60Z",
            "2026-11-21T06:14Z",
            "2026-11-21T06:14:11.Z",
            "2026-11-21T06:14:11.1234567890Z",
            "2026-11-21T06:14:11+1",
            "2026-11-21T06:14:11+24:00",
            "2026-11-21T06:14:11ZZ",
            "2026-11-21X06:14:11Z",
            "11/21/2026",
            "yesterday",
        ] {
            assert!(!is_datetime(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn every_form_is_read_as_its_instant() {
        let at = |seconds, nanos| Some(EventTime { seconds, nanos });
        for (value, expected) in [
            ("\"2026-11-21\"", at(1_795_219_200, 0)),
            ("\"2026-11-21T06:14:11\"", at(1_795_241_651, 0)),
            ("\"2026-11-21 06:14:11.5\"", at(1_795_241_651, 500_000_000)),
            ("\"2026-11-21t06:14:11.123456789z\"", at(1_795_241_651, 123_456_789)),
            ("\"2026-11-21T06:14:11+01:00\"", at(1_795_238_051, 0)),
            ("\"2026-11-21T06:14:11-0030\"", at(1_795_243_451, 0)),
            ("1795241651", at(1_795_241_651, 0)),
            ("1795241651123", at(1_795_241_651, 123_000_000)),
            ("99999999999", at(99_999_999_999, 0)),
            ("100000000000", at(100_000_000, 0)),
            ("-1", at(-1, 0)),
            ("-100000000001", at(-100_000_001, 999_000_000)),
            ("-0", at(0, 0)),
            ("9223372036854775808", None),
            ("\"2026-11-31\"", None),
            ("\"", None),
            ("", None),
        ] {
            assert_eq!(instant(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn an_instant_is_read_as_jiff_reads_it(
            seconds in -62_135_000_000_i64..253_400_000_000,
            nanos in 0_u32..1_000_000_000,
            digits in 0_usize..10,
            offset in -86_340_i32..86_340,
            basic: bool,
        ) {
            let offset = offset / 60 * 60;
            let unit = 10_u32.pow(9 - u32::try_from(digits).unwrap_or(0));
            let nanos = nanos / unit * unit;
            let zone = jiff::tz::Offset::from_seconds(offset).map(jiff::tz::Offset::to_time_zone);
            let parsed = jiff::Timestamp::new(seconds, nanos.cast_signed());
            if let (Ok(at), Ok(zone)) = (parsed, zone) {
                let civil = at.to_zoned(zone).datetime();
                let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
                let colon = if basic { "" } else { ":" };
                let fraction = format!(".{nanos:09}");
                let fraction = if digits == 0 { "" } else { &fraction[..=digits] };
                let text = format!(
                    "\"{}{fraction}{sign}{:02}{colon}{:02}\"",
                    civil.strftime("%Y-%m-%dT%H:%M:%S"), minutes / 60, minutes % 60
                );
                let expected = Some(EventTime { seconds, nanos });
                prop_assert_eq!(instant(text.as_bytes()), expected, "{}", text);
            }
        }

        #[test]
        fn what_a_format_writes_is_read_as_the_same_instant(
            millis in -12_212_553_600_000_i64..253_402_300_800_000, which in 0_usize..4,
        ) {
            let forms = [
                "yyyy-MM-dd'T'HH:mm:ss.SSSX", "yyyy-MM-dd HH:mm:ss.SSS",
                "yyyy-MM-dd'T'HH:mm:ss.SSSZ", "epoch_ms",
            ];
            let time = EventTime::from_millis(millis);
            let format = forms[which].parse::<crate::time_format::TimeFormat>();
            let mut out = Vec::new();
            prop_assert!(format.is_ok_and(|format| format.write(time, &mut out).is_ok()));
            // A small number of milliseconds is a number of seconds to whoever reads it.
            if which < 3 || millis.unsigned_abs() >= EPOCH_MILLIS_MIN {
                prop_assert_eq!(instant(&out), Some(time));
            }
        }

        #[test]
        fn every_instant_that_jiff_prints_is_a_time(millis in 0_i64..4_102_444_800_000) {
            let instant = jiff::Timestamp::from_millisecond(millis).map(|at| at.to_string());
            prop_assert!(instant.is_ok_and(|text| is_datetime(text.as_bytes())));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = (is_datetime(&bytes), instant(&bytes));
            let quoted = [b"\"", bytes.as_slice(), b"\""].concat();
            prop_assert_eq!(instant(&quoted).is_some(), is_datetime(&bytes));
        }
    }
}
