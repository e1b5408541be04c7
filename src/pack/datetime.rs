//! Whether a string is a time that Mediation can read.
//!
//! Accepted: `2026-11-21`, and the same followed by `T`, `t` or a blank and `06:14:11`, with up
//! to nine digits of a fraction, with `Z`, `z`, `+01:00`, `+0100` or nothing behind it. These are
//! RFC 3339, ISO 8601 with basic offsets, and the local forms that Mediation's usage records
//! are documented to try. Times go out as they came.

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

    proptest! {
        #[test]
        fn every_instant_that_jiff_prints_is_a_time(millis in 0_i64..4_102_444_800_000) {
            let instant = jiff::Timestamp::from_millisecond(millis).map(|at| at.to_string());
            prop_assert!(instant.is_ok_and(|text| is_datetime(text.as_bytes())));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = is_datetime(&bytes);
        }
    }
}
