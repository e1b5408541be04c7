//! Exact arithmetic on decimal numbers as they are written. No number is ever a binary float: what
//! does not come out exactly is refused, unless rounding was asked for.

use std::fmt::Write;

use crate::mapping::unit::{Conversion, Factor, Ratio, Unit, greatest_common_divisor};

/// Digits behind the decimal point that a result may need, and zeros that an exponent may stand for.
const PLACES_MAX: u32 = 38;

/// Why a number cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The text is no number.
    NoNumber,
    /// The text has no unit, or one of another kind.
    NoUnit,
    /// More digits than are counted with.
    TooLong,
    /// The result has no end, and nothing says how to round it.
    Endless,
}

impl Fault {
    /// What is wrong, in words.
    pub const fn what(self) -> &'static str {
        match self {
            Self::NoNumber => "a number was expected",
            Self::NoUnit => "a number with a unit of the right kind behind it was expected",
            Self::TooLong => "the number has more digits than can be converted exactly",
            Self::Endless => "the converted number has no end; `decimals` says where to round",
        }
    }
}

/// Whether `text` is a number as JSON writes them.
pub fn is_number(text: &str) -> bool {
    parts(text).is_some()
}

/// Whether two texts are the same number, however it is written. False where there are more digits
/// than are counted with.
#[cfg(feature = "vrl")]
pub fn is_same(left: &str, right: &str) -> bool {
    let plain = |text| {
        let Parts { is_negative, digits, mut exponent } = parts(text)?;
        let mut digits = digits?;
        while digits != 0 && digits % 10 == 0 {
            (digits, exponent) = (digits / 10, exponent.saturating_add(1));
        }
        // Zero has no sign and no size.
        Some(if digits == 0 { (false, 0, 0) } else { (is_negative, digits, exponent) })
    };
    plain(left).is_some_and(|left| plain(right) == Some(left))
}

/// Appends `text`, a decimal number, multiplied and rounded as `conversion` says.
pub fn convert(text: &str, conversion: &Conversion, out: &mut String) -> Result<(), Fault> {
    let (number, ratio) = match conversion.factor {
        Factor::Fixed(ratio) => (text, ratio),
        Factor::Written(unit, ratio) => {
            let (number, written) = split_unit(text).ok_or(Fault::NoUnit)?;
            let of_unit = written.in_terms_of(unit).ok_or(Fault::NoUnit)?;
            (number, of_unit.times(ratio))
        }
    };
    let Parts { is_negative, digits, exponent } = parts(number).ok_or(Fault::NoNumber)?;
    let digits = digits.ok_or(Fault::TooLong)?;
    let (whole, fraction, places) = scale(digits, exponent, ratio, conversion.decimals)?;
    if is_negative && (whole, fraction) != (0, 0) {
        out.push('-');
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "{whole}");
    if fraction != 0 {
        let _ = write!(out, ".{fraction:0places$}");
        out.truncate(out.trim_end_matches('0').len());
    }
    Ok(())
}

/// `digits` times ten to the `exponent` times `ratio`: the whole, the fraction, and how many digits
/// the fraction stands for.
fn scale(
    digits: u128,
    exponent: i64,
    ratio: Ratio,
    decimals: Option<u32>,
) -> Result<(u128, u128, usize), Fault> {
    if digits == 0 {
        return Ok((0, 0, 0));
    }
    let power = u32::try_from(exponent.unsigned_abs()).ok().filter(|it| *it <= PLACES_MAX);
    let power = 10_u128.pow(power.ok_or(Fault::TooLong)?);
    let (above, below) = if exponent < 0 { (1, power) } else { (power, 1) };
    // Cut crosswise before multiplying, so that what fits in the end fits on the way.
    let (digits, below) = cut(digits, below);
    let (digits, denominator) = cut(digits, ratio.denominator());
    let (numerator, below) = cut(ratio.numerator(), below);
    let (above, denominator) = cut(above, denominator);
    let product = |factors: [u128; 3]| {
        factors.into_iter().try_fold(1_u128, u128::checked_mul).ok_or(Fault::TooLong)
    };
    let (numerator, denominator) =
        (product([digits, above, numerator])?, product([below, denominator, 1])?);
    let (mut whole, rest) = (numerator / denominator, numerator % denominator);
    let places = match decimals {
        Some(decimals) => decimals,
        None => places_of(denominator).ok_or(Fault::Endless)?,
    };
    let unit = 10_u128.checked_pow(places).ok_or(Fault::TooLong)?;
    let mut fraction = 0;
    let mut left = rest;
    for _ in 0..places {
        left = left.checked_mul(10).ok_or(Fault::TooLong)?;
        fraction = fraction * 10 + left / denominator;
        left %= denominator;
    }
    if left >= denominator - left {
        fraction += 1;
    }
    if fraction == unit {
        (whole, fraction) = (whole + 1, 0);
    }
    Ok((whole, fraction, places as usize))
}

fn cut(left: u128, right: u128) -> (u128, u128) {
    let divisor = greatest_common_divisor(left, right).max(1);
    (left / divisor, right / divisor)
}

/// How many decimal digits a fraction over `denominator` has, if it has an end.
fn places_of(denominator: u128) -> Option<u32> {
    let mut rest = denominator;
    let mut count = |divisor: u128| {
        let mut times = 0;
        while rest.is_multiple_of(divisor) {
            rest /= divisor;
            times += 1;
        }
        times
    };
    let places: u32 = count(2).max(count(5));
    (rest == 1 && places <= PLACES_MAX).then_some(places)
}

/// A number with its unit behind it, with or without a blank between.
fn split_unit(text: &str) -> Option<(&str, Unit)> {
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number, Unit::named(unit.trim_ascii_start())?))
}

struct Parts {
    is_negative: bool,
    /// All digits of the mantissa as one number; none: there are too many.
    digits: Option<u128>,
    /// What they are multiplied by, as a power of ten.
    exponent: i64,
}

/// Takes a number apart that is written as in JSON.
fn parts(text: &str) -> Option<Parts> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            is_digits(digits).then_some((mantissa, exponent))?
        }
        None => (rest, "0"),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => is_digits(fraction).then_some((whole, fraction))?,
        None => (mantissa, ""),
    };
    if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes()).try_fold(0_u128, |number, digit| {
        number.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
    });
    // An exponent that is no i64 is beyond every bound, in its direction.
    let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent = exponent.parse().unwrap_or(beyond);
    let places = i64::try_from(fraction.len()).ok()?;
    Some(Parts { is_negative, digits, exponent: exponent.saturating_sub(places) })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(text: &str, factor: &str, decimals: Option<u32>) -> Result<String, Fault> {
        let factor = Factor::Fixed(factor.parse().expect("a factor"));
        let mut out = String::new();
        convert(text, &Conversion { factor, decimals }, &mut out).map(|()| out)
    }

    fn unit(text: &str, to: &str, decimals: Option<u32>) -> Result<String, Fault> {
        let factor = Factor::Written(Unit::named(to).expect("a unit"), Ratio::ONE);
        let mut out = String::new();
        convert(text, &Conversion { factor, decimals }, &mut out).map(|()| out)
    }

    #[test]
    fn products_are_exact() {
        for (text, factor, expected) in [
            ("1234", "0.001", "1.234"),
            ("0.1", "0.2", "0.02"),
            ("-1.50", "2", "-3"),
            ("-0", "5", "0"),
            ("0.000", "5", "0"),
            ("1e3", "0.5", "500"),
            ("1.5E-3", "1000", "1.5"),
            ("9007199254740993", "0.001", "9007199254740.993"),
            (
                "100000000000000000000000000000000000000",
                "0.00000000000000001",
                "1000000000000000000000",
            ),
            ("3", "0.25", "0.75"),
            ("0e99999999999999999999", "2", "0"),
        ] {
            assert_eq!(times(text, factor, None).as_deref(), Ok(expected), "{text} x {factor}");
        }
    }

    #[test]
    fn rounding_is_half_away_from_zero_and_only_where_it_was_asked_for() {
        for (text, decimals, expected) in [
            ("0.125", 2, "0.13"),
            ("-0.125", 2, "-0.13"),
            ("0.124999", 2, "0.12"),
            ("0.5", 0, "1"),
            ("-0.4", 0, "0"),
            ("0.995", 2, "1"),
            ("99.999", 2, "100"),
            ("1.5", 9, "1.5"),
        ] {
            assert_eq!(times(text, "1", Some(decimals)).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(unit("100 s", "h", None), Err(Fault::Endless));
        assert_eq!(unit("100 s", "h", Some(4)).as_deref(), Ok("0.0278"));
    }

    #[test]
    fn a_unit_behind_the_number_is_read() {
        for (text, to, expected) in [
            ("12.5ms", "s", Ok("0.0125")),
            ("12.5 µs", "us", Ok("12.5")),
            ("3GiB", "B", Ok("3221225472")),
            ("1 B", "GiB", Ok("0.000000000931322574615478515625")),
            ("1.5e3 MB", "GB", Ok("1.5")),
            ("5", "s", Err(Fault::NoUnit)),
            ("5 B", "s", Err(Fault::NoUnit)),
            ("ms", "s", Err(Fault::NoUnit)),
            ("1m30s", "s", Err(Fault::NoNumber)),
        ] {
            assert_eq!(unit(text, to, None).as_deref(), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_long_is_refused() {
        for bad in
            ["", "-", "+1", "01", ".5", "5.", "1e", "1e+", "0x1", "1,5", " 1", "NaN", "1_0", "--1"]
        {
            assert_eq!(times(bad, "1", None), Err(Fault::NoNumber), "{bad}");
            assert!(!is_number(bad), "{bad}");
        }
        let long = "1".repeat(40);
        for bad in ["1e39", "1e-39", "1e99999999999999999999", "1e-99999999999999999999", &long] {
            assert_eq!(times(bad, "1", None), Err(Fault::TooLong), "{bad}");
            assert!(is_number(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_factor_of_ten_moves_the_point(number in 0_u64.., places in 0_u32..9) {
            let factor = format!("0.{:0width$}", 1, width = places.max(1) as usize);
            let factor = if places == 0 { "1".to_owned() } else { factor };
            let moved = times(&number.to_string(), &factor, None).expect("exact");
            let unit = 10_u64.pow(places);
            let (whole, fraction) = (number / unit, number % unit);
            let expected = format!("{whole}.{fraction:0width$}", width = places as usize);
            let expected = expected.trim_end_matches('0').trim_end_matches('.');
            let expected = if fraction == 0 { whole.to_string() } else { expected.to_owned() };
            prop_assert_eq!(moved, expected);
        }

        #[test]
        fn there_and_back_is_the_same(number in -1_000_000_000_000_i64..1_000_000_000_000) {
            let there = times(&number.to_string(), "0.00125", None).expect("exact");
            let back = times(&there, "800", None).expect("exact");
            prop_assert_eq!(back, number.to_string());
        }

        #[test]
        fn numbers_are_those_of_json(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?") {
            let strict = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // Exponents that overflow a float are numbers all the same.
            prop_assert!(is_number(&text) == strict || text.contains(['e', 'E']));
        }

        #[test]
        fn arbitrary_texts_do_no_harm(text in "\\PC*|[0-9eE.+-]{0,50}", decimals in 0_u32..12) {
            let _ = times(&text, "123456.789", None);
            let _ = times(&text, "0.00000000000000001", Some(decimals));
            let _ = unit(&text, "GiB", Some(decimals));
        }
    }
}
