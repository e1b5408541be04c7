//! Sizes and periods as people write them: `4MB`, `256KiB`, `500ms`, `1h30m`.
//!
//! Reading is strict: a number without the unit that it needs, a fraction or a unit that could
//! mean two things is refused with what would be right. What [`ByteSize`] and [`Period`] display
//! reads back as the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is not a size or not a period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}")]
pub struct Error {
    /// The text.
    pub found: String,
    /// What would be right.
    pub expected: &'static str,
}

const SIZE: &str = "a size such as 4MB, 256KiB or 1000 (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)";
const SIZE_WHOLE: &str = "a whole number with a unit, such as 1500MB instead of 1.5GB";
const SIZE_RANGE: &str = "a size below 16 EiB";
const PERIOD: &str = "a duration such as 500ms, 2s, 15m, 1h30m or 90d (ms, s, m, h, d)";
const PERIOD_UNIT: &str = "a duration with its unit, such as 500ms, 2s or 15m";
const PERIOD_WHOLE: &str = "a whole number with a unit, such as 1500ms instead of 1.5s";
const PERIOD_ORDER: &str = "each unit once and the larger first, such as 1h30m";
const PERIOD_RANGE: &str = "a duration below 584 million years";

/// Units of sizes; the first of two that are equally short is displayed.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of periods in milliseconds, the largest first.
const PERIODS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A number of bytes. `kB` to `TB` are powers of 1000, `KiB` to `TiB` powers of 1024; case does
/// not matter, a space before the unit neither, and no unit means bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |expected| Error { found: text.to_owned(), expected };
        let (number, rest) = leading_number(text.trim());
        if number.is_empty() {
            return Err(refuse(SIZE));
        }
        if rest.starts_with(['.', ',']) {
            return Err(refuse(SIZE_WHOLE));
        }
        let unit = match rest.trim_start() {
            "" => 1,
            name => SIZES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, bytes)| *bytes)
                .ok_or_else(|| refuse(SIZE))?,
        };
        let number: u64 = number.parse().map_err(|_| refuse(SIZE_RANGE))?;
        number.checked_mul(unit).map(Self).ok_or_else(|| refuse(SIZE_RANGE))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shortest = self.0.to_string();
        if self.0 != 0 {
            for (name, bytes) in SIZES.iter().rev().skip(1) {
                let exact = self.0.is_multiple_of(*bytes);
                let candidate = format!("{}{name}", self.0 / bytes);
                if exact && candidate.len() <= shortest.len() {
                    shortest = candidate;
                }
            }
        }
        formatter.pad(&shortest)
    }
}

/// A period of time in whole milliseconds. Days have 24 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

impl Period {
    /// The whole milliseconds of `duration`.
    pub fn new(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |expected| Error { found: text.to_owned(), expected };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(refuse(PERIOD));
        }
        let mut total: u64 = 0;
        let mut smallest_yet = u64::MAX;
        while !rest.is_empty() {
            let (number, after) = leading_number(rest);
            if number.is_empty() {
                return Err(refuse(PERIOD));
            }
            if after.starts_with(['.', ',']) {
                return Err(refuse(PERIOD_WHOLE));
            }
            let after = after.trim_start();
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                return Err(refuse(PERIOD_UNIT));
            }
            let unit = PERIODS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit);
            let unit = unit.ok_or_else(|| refuse(PERIOD))?;
            if unit >= smallest_yet {
                return Err(refuse(PERIOD_ORDER));
            }
            smallest_yet = unit;
            let number: u64 = number.parse().map_err(|_| refuse(PERIOD_RANGE))?;
            total = number
                .checked_mul(unit)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| refuse(PERIOD_RANGE))?;
            rest = after.trim_start();
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.pad("0s");
        }
        // Both forms are exact: 90m is shorter than 1h30m.
        let whole = PERIODS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit));
        let whole =
            whole.map_or_else(String::new, |(name, unit)| format!("{}{name}", self.0 / unit));
        let mut parts = String::new();
        let mut rest = self.0;
        for (name, unit) in PERIODS {
            if rest >= unit {
                parts.push_str(&(rest / unit).to_string());
                parts.push_str(name);
                rest %= unit;
            }
        }
        formatter.pad(if whole.len() <= parts.len() { &whole } else { &parts })
    }
}

/// The decimal digits that `text` begins with, and what follows.
fn leading_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        for (text, bytes) in [
            ("4MB", 4_000_000),
            ("256KiB", 262_144),
            ("10GiB", 10 << 30),
            ("1000", 1000),
            ("2 MB", 2_000_000),
            (" 1tb ", 1_000_000_000_000),
            ("3kb", 3000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_not_one_says_what_would_be_right() {
        for (text, expected) in [
            ("", SIZE),
            ("MB", SIZE),
            ("-1MB", SIZE),
            ("4M", SIZE),
            ("4MBit", SIZE),
            ("1.5GB", SIZE_WHOLE),
            ("99999999999999999999", SIZE_RANGE),
            ("17000000TiB", SIZE_RANGE),
        ] {
            let refused = Err(Error { found: text.to_owned(), expected });
            assert_eq!(text.parse::<ByteSize>(), refused);
        }
    }

    #[test]
    fn sizes_are_displayed_in_the_shortest_exact_form() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1000, "1kB"),
            (1024, "1KiB"),
            (4_000_000, "4MB"),
            (16 << 20, "16MiB"),
            (1_000_001, "1000001"),
            (10 << 30, "10GiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn periods_are_read_with_one_or_more_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("90d", 7_776_000_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2 s", 2_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Period(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_period_that_is_not_one_says_what_would_be_right() {
        for (text, expected) in [
            ("", PERIOD),
            ("s", PERIOD),
            ("-1s", PERIOD),
            ("2 weeks", PERIOD),
            ("2", PERIOD_UNIT),
            ("1h30", PERIOD_UNIT),
            ("1.5s", PERIOD_WHOLE),
            ("30m1h", PERIOD_ORDER),
            ("1s1s", PERIOD_ORDER),
            ("99999999999999999d", PERIOD_RANGE),
        ] {
            let refused = Err(Error { found: text.to_owned(), expected });
            assert_eq!(text.parse::<Period>(), refused);
        }
    }

    #[test]
    fn periods_are_displayed_in_the_shorter_of_one_unit_and_several() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1500, "1500ms"),
            (5_400_000, "90m"),
            (7_776_000_000, "90d"),
            (120, "120ms"),
        ] {
            assert_eq!(Period(milliseconds).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn every_size_reads_back(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn round_sizes_read_back(number in 0_u64..100_000, unit in 0_usize..9) {
            let bytes = number * SIZES[unit].1;
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn every_period_reads_back(milliseconds: u64) {
            prop_assert_eq!(Period(milliseconds).to_string().parse(), Ok(Period(milliseconds)));
        }

        #[test]
        fn no_text_is_a_crash(text in ".*") {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<Period>();
        }
    }
}
