//! Sums of quantities, exact: no number is ever a binary float.
//!
//! A quantity counts units of 10^-18 in 128 bits: sums below 10^20 with 18 digits behind the decimal
//! point. What does not fit is no quantity, and who sums says so instead of rounding.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Digits behind the decimal point that are kept.
const PLACES: u32 = 18;

/// Digits that are read without a look at overflow.
const SHORT_DIGITS_MAX: usize = 18;

/// Ten to the power of the index.
const POWERS: [i128; PLACES as usize + 1] = {
    let mut powers = [1; PLACES as usize + 1];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// An exact decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity(i128);

/// The text is no number, or one that cannot be summed exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no number that can be summed exactly")]
pub struct NotExact;

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a number as JSON writes it. None: it is no number, or has more digits than are kept.
    #[inline]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (is_negative, digits) = match text.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, text),
        };
        if digits.len() > SHORT_DIGITS_MAX {
            return Self::read_long(is_negative, digits);
        }
        let (mut mantissa, mut point) = (0_i64, None);
        for (index, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => mantissa = mantissa * 10 + i64::from(byte - b'0'),
                b'.' if point.is_none() => point = Some(index + 1),
                _ => return Self::read_long(is_negative, digits),
            }
        }
        let places = point.map_or(0, |point| digits.len() - point);
        let scaled = i128::from(mantissa) * POWERS.get(PLACES as usize - places)?;
        (digits.len() > usize::from(point.is_some())).then_some(Self(if is_negative {
            -scaled
        } else {
            scaled
        }))
    }

    /// The same for numbers with many digits or an exponent.
    #[cold]
    fn read_long(is_negative: bool, text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::from(whole);
        digits.push_str(fraction);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let trimmed = digits.trim_end_matches('0');
        let zeros = i64::try_from(digits.len() - trimmed.len()).ok()?;
        let mantissa: i128 = if trimmed.is_empty() { 0 } else { trimmed.parse().ok()? };
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        let places = i64::try_from(fraction.len()).ok()?;
        let exponent: i64 = exponent.parse().ok()?;
        let power = exponent.checked_sub(places)?.checked_add(zeros)?;
        let power = u32::try_from(power.checked_add(i64::from(PLACES))?).ok()?;
        let scaled = mantissa.checked_mul(10_i128.checked_pow(power)?)?;
        Some(Self(if is_negative { -scaled } else { scaled }))
    }

    /// The sum; none: it is too large.
    #[inline]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; none: it is too large.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// A sum of what is known, beside a count of what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// The sum of everything that has a quantity.
    pub sum: Quantity,
    /// How many had none, or did not fit.
    pub unknown: u64,
}

impl Total {
    /// Adds a quantity, or one more that is not known.
    pub fn add(&mut self, quantity: Option<Quantity>) {
        match quantity.and_then(|quantity| self.sum.plus(quantity)) {
            Some(sum) => self.sum = sum,
            None => self.unknown += 1,
        }
    }
}

impl fmt::Display for Quantity {
    /// As JSON writes a number: all digits, no exponent.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = POWERS.last().copied().unwrap_or(1).unsigned_abs();
        let (whole, fraction) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(out, "{sign}{whole}");
        }
        let digits = format!("{fraction:018}");
        write!(out, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Quantity {
    type Err = NotExact;

    fn from_str(text: &str) -> Result<Self, NotExact> {
        Self::read(text.as_bytes()).ok_or(NotExact)
    }
}

impl Serialize for Quantity {
    /// As a text: most readers of JSON make a binary float of a number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_json_writes_them() {
        let check = |text: &str, expected: Option<&str>| {
            let read = Quantity::read(text.as_bytes()).map(|read| read.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        };
        check("0", Some("0"));
        check("-0", Some("0"));
        check("12", Some("12"));
        check("12.50", Some("12.5"));
        check("-0.25", Some("-0.25"));
        check("1.5e3", Some("1500"));
        check("15E-1", Some("1.5"));
        check("1000000000000000000000e-18", Some("1000"));
        check("0.000000000000000001", Some("0.000000000000000001"));
        check("1.10000000000000000000", Some("1.1"));
        check("99999999999999999999", Some("99999999999999999999"));
        check("0e999999999", Some("0"));
        check("1e21", None);
        check("1e-19", None);
        check("1e99999999999999999999", None);
        check("", None);
        check(".", None);
        check("-", None);
        check("1.2.3", None);
        check("\"1\"", None);
        check("true", None);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_not_rounded() {
        let mut total = Total::default();
        for text in ["99999999999999999999", "1.5", "99999999999999999999", "x"] {
            total.add(Quantity::read(text.as_bytes()));
        }
        assert_eq!((total.sum.to_string().as_str(), total.unknown), ("100000000000000000000.5", 2));
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_digits(
            numbers in prop::collection::vec((any::<i32>(), 0_u32..1_000_000_000), 0..20),
        ) {
            let mut total = Total::default();
            let mut nanos = 0_i128;
            for (whole, fraction) in numbers {
                total.add(Quantity::read(format!("{whole}.{fraction:09}").as_bytes()));
                let sign = if whole < 0 { -1 } else { 1 };
                nanos += i128::from(whole) * 1_000_000_000 + sign * i128::from(fraction);
            }
            let expected = Quantity(nanos * 1_000_000_000);
            prop_assert_eq!((total.sum, total.unknown), (expected, 0));
            prop_assert_eq!(total.sum.to_string().parse(), Ok(expected));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(text: Vec<u8>) {
            let _ = Quantity::read(&text);
        }
    }
}
