//! What an event of the right shape is refused for all the same: its age, the digits of its
//! numbers, characters that the other side cannot keep.
//!
//! All of it is pure: the instant that ages are measured at is an argument. Numbers are judged by
//! their digits as they stand in the text; none is ever converted.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dead_letter::Reason;
use crate::meter::{Digits, Guards};
use crate::time_format::EventTime;
use crate::units::Period;

/// The times that events may have, seen from one instant.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    guards: Guards,
    now: Timestamp,
    oldest: Option<EventTime>,
    newest: Option<EventTime>,
}

impl Window {
    /// What `guards` leave open at `now`.
    pub fn new(guards: Guards, now: Timestamp) -> Self {
        let millis = |period: Duration| i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        let now_millis = now.as_millis();
        let oldest = guards.event_age_max.map(|max| now_millis.saturating_sub(millis(max)));
        let newest = guards.event_ahead_max.map(|max| now_millis.saturating_add(millis(max)));
        Self {
            guards,
            now,
            oldest: oldest.map(EventTime::from_millis),
            newest: newest.map(EventTime::from_millis),
        }
    }

    /// Why an event of `time` is refused, if it is.
    pub fn judge(&self, time: EventTime) -> Option<Reason> {
        if self.oldest.is_some_and(|oldest| time < oldest) {
            Some(Reason::TooOld)
        } else if self.newest.is_some_and(|newest| time > newest) {
            Some(Reason::TooNew)
        } else {
            None
        }
    }

    /// `reason` in words.
    pub fn describe(&self, reason: Reason) -> String {
        let (max, words) = if reason == Reason::TooOld {
            (self.guards.event_age_max, "more than event_age_max before")
        } else {
            (self.guards.event_ahead_max, "more than event_ahead_max after")
        };
        let max = Period::new(max.unwrap_or_default());
        format!("the time is {words} {}; the limit is {max}", self.now)
    }
}

/// Whether `number`, a number in JSON, has at most so many digits on both sides of its decimal
/// point once its exponent is applied. Zeros at the ends do not count: `1.50e3` is 1500.
pub fn has_digits_within(number: &[u8], digits: Digits) -> bool {
    let number = number.strip_prefix(b"-").unwrap_or(number);
    let (mantissa, exponent) = split_at_byte(number, |byte| matches!(byte, b'e' | b'E'));
    let (integer, fraction) = split_at_byte(mantissa, |byte| byte == b'.');
    // Places are counted from the first digit of the mantissa; all digits before `point` are
    // before the decimal point.
    let places = || integer.iter().chain(fraction);
    let Some(first) = places().position(|digit| *digit != b'0') else { return true };
    let zeros = places().rev().take_while(|digit| **digit == b'0').count();
    let end = integer.len() + fraction.len() - zeros;
    // A line is far shorter than an i64 can count, and the exponent is bounded below.
    let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 4);
    let point = signed(integer.len()) + bounded_exponent(exponent);
    point - signed(first) <= i64::from(digits.integer_max)
        && signed(end) - point <= i64::from(digits.fraction_max)
}

/// Both sides of the first byte that `is_border` accepts, without it.
fn split_at_byte(bytes: &[u8], is_border: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| is_border(*byte)) {
        Some(at) => {
            let (before, behind) = bytes.split_at(at);
            (before, behind.get(1..).unwrap_or_default())
        }
        None => (bytes, &[]),
    }
}

/// The exponent, or one of its sign that is further out than any line is long.
fn bounded_exponent(text: &[u8]) -> i64 {
    const BOUND: i64 = 1 << 60;
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    let value = digits.iter().fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit.wrapping_sub(b'0'))).min(BOUND)
    });
    if negative { -value } else { value }
}

/// Where the first character beyond U+FFFF stands in `line`, which is UTF-8.
pub fn four_byte_character(line: &[u8]) -> Option<usize> {
    // Only the first byte of such a character is so high.
    line.iter().position(|byte| *byte >= 0xf0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: Digits = Digits { integer_max: 13, fraction_max: 9 };

    #[test]
    fn digits_are_counted_by_the_value_of_a_number() {
        for good in [
            "0",
            "-0",
            "0.0000000000000000",
            "0e99999999999999999999",
            "9999999999999",
            "-9999999999999.999999999",
            "1.0000000000000",
            "1.5e3",
            "1e12",
            "0.00001e17",
            "1e-9",
            "100000000000000000000e-10",
            "12345678901234567890e-9",
            "0.000000001",
        ] {
            assert!(has_digits_within(good.as_bytes(), DEFAULT), "{good}");
        }
        for bad in [
            "10000000000000",
            "-12345678901234",
            "1e13",
            "1e400",
            "1E+400",
            "1e99999999999999999999999999",
            "1e-99999999999999999999999999",
            "1e-10",
            "0.0000000001",
            "1.0000000001",
            "0.1e-9",
            "0.00001e18",
        ] {
            assert!(!has_digits_within(bad.as_bytes(), DEFAULT), "{bad}");
        }
    }

    #[test]
    fn digits_can_be_forbidden() {
        let whole = Digits { integer_max: 40, fraction_max: 0 };
        assert!(has_digits_within(b"-15e1", whole) && has_digits_within(b"1.0", whole));
        assert!(!has_digits_within(b"1.5", whole) && !has_digits_within(b"15e-1", whole));
        let fraction = Digits { integer_max: 0, fraction_max: 1 };
        assert!(has_digits_within(b"0.5", fraction) && !has_digits_within(b"1.5", fraction));
    }

    #[test]
    fn a_window_has_its_ends_in_it() {
        let guards = Guards {
            event_age_max: Some(Duration::from_secs(10)),
            event_ahead_max: Some(Duration::from_secs(5)),
            ..Guards::default()
        };
        let window = Window::new(guards, Timestamp::from_millis(1_000_500));
        let judge = |seconds, nanos| window.judge(EventTime { seconds, nanos });
        assert_eq!(judge(990, 500_000_000), None);
        assert_eq!(judge(990, 499_999_999), Some(Reason::TooOld));
        assert_eq!(judge(1005, 500_000_000), None);
        assert_eq!(judge(1005, 500_000_001), Some(Reason::TooNew));
        let open = Window::new(Guards::default(), Timestamp::from_millis(0));
        assert_eq!(open.judge(EventTime { seconds: i64::MIN, nanos: 0 }), None);
        insta::assert_snapshot!(
            window.describe(Reason::TooOld),
            @"the time is more than event_age_max before 1970-01-01T00:16:40.500Z; the limit is 10s"
        );
    }

    proptest! {
        /// The oracle writes the number out with its exponent applied, and counts.
        #[test]
        fn an_exponent_counts_like_the_number_written_out(
            integer in "0|[1-9][0-9]{0,15}", fraction in "[0-9]{0,15}", exponent in -20_i32..20,
        ) {
            let point = if fraction.is_empty() { "" } else { "." };
            let number = format!("{integer}{point}{fraction}e{exponent}");
            let padded = format!("{}{integer}{fraction}{}", "0".repeat(20), "0".repeat(20));
            let at = usize::try_from(20 + i32::try_from(integer.len()).unwrap_or(0) + exponent);
            let (before, behind) = padded.split_at(at.unwrap_or(0));
            let expected = before.trim_start_matches('0').len() <= 13
                && behind.trim_end_matches('0').len() <= 9;
            prop_assert_eq!(has_digits_within(number.as_bytes(), DEFAULT), expected, "{}", number);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = has_digits_within(&bytes, DEFAULT);
        }

        #[test]
        fn a_character_beyond_the_basic_plane_is_found(text: String) {
            let expected = text.char_indices().find(|(_, c)| *c > '\u{ffff}').map(|(at, _)| at);
            prop_assert_eq!(four_byte_character(text.as_bytes()), expected);
        }
    }
}
