//! Units of sizes and times, and the factor from one to another as an exact fraction.

use std::str::FromStr;

/// The most digits of a factor on both sides of its decimal point together.
const FACTOR_DIGITS_MAX: usize = 18;

/// A factor that is exact: one whole number over another, without common divisors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    numerator: u128,
    denominator: u128,
}

/// How a number of the record becomes one of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// What it is multiplied by.
    pub factor: Factor,
    /// To how many digits behind the decimal point it is rounded, halves away from zero; none: a
    /// number that does not come out exactly is refused.
    pub decimals: Option<u32>,
}

/// What a number is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// Always the same.
    Fixed(Ratio),
    /// What the unit behind the number says: it becomes a number of this unit.
    Written(Unit, Ratio),
}

/// A unit of sizes or times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// As it is written.
    pub name: &'static str,
    kind: Kind,
    /// How many of the smallest unit of its kind it is.
    size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Size,
    Time,
}

/// Every unit. The smallest ones are the byte and the nanosecond.
pub const UNITS: [Unit; 18] = [
    Unit::size("B", 1),
    Unit::size("kB", 1000),
    Unit::size("MB", 1_000_000),
    Unit::size("GB", 1_000_000_000),
    Unit::size("TB", 1_000_000_000_000),
    Unit::size("PB", 1_000_000_000_000_000),
    Unit::size("KiB", 1 << 10),
    Unit::size("MiB", 1 << 20),
    Unit::size("GiB", 1 << 30),
    Unit::size("TiB", 1 << 40),
    Unit::size("PiB", 1 << 50),
    Unit::time("ns", 1),
    Unit::time("us", 1000),
    Unit::time("ms", 1_000_000),
    Unit::time("s", 1_000_000_000),
    Unit::time("min", 60_000_000_000),
    Unit::time("h", 3_600_000_000_000),
    Unit::time("d", 86_400_000_000_000),
];

impl Unit {
    const fn size(name: &'static str, size: u64) -> Self {
        Self { name, kind: Kind::Size, size }
    }

    const fn time(name: &'static str, size: u64) -> Self {
        Self { name, kind: Kind::Time, size }
    }

    /// The unit of this name.
    pub fn named(name: &str) -> Option<Self> {
        // The two ways to write the micro sign.
        let name = if matches!(name, "µs" | "μs") { "us" } else { name };
        UNITS.into_iter().find(|unit| unit.name == name)
    }

    /// How many of `other` it is; none: one is a size and the other a time.
    pub fn in_terms_of(self, other: Self) -> Option<Ratio> {
        (self.kind == other.kind).then(|| Ratio::new(self.size.into(), other.size.into()))
    }
}

impl Ratio {
    /// One.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// `numerator` over `denominator`, which is not 0.
    fn new(numerator: u128, denominator: u128) -> Self {
        let divisor = greatest_common_divisor(numerator, denominator).max(1);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    /// Above the line of the fraction.
    pub const fn numerator(self) -> u128 {
        self.numerator
    }

    /// Below it; never 0.
    pub const fn denominator(self) -> u128 {
        self.denominator
    }

    /// Both, one after the other. A factor has some 60 bits, so two of them fit.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let (a, b) = (
            Self::new(self.numerator, other.denominator),
            Self::new(other.numerator, self.denominator),
        );
        Self {
            numerator: a.numerator.saturating_mul(b.numerator),
            denominator: a.denominator.saturating_mul(b.denominator),
        }
    }
}

/// The text is no factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a decimal number above 0 of at most {FACTOR_DIGITS_MAX} digits, in quotes")]
pub struct NoFactor;

impl FromStr for Ratio {
    type Err = NoFactor;

    fn from_str(text: &str) -> Result<Self, NoFactor> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole)
            || !is_digits(fraction)
            || whole.len() + fraction.len() > FACTOR_DIGITS_MAX
        {
            return Err(NoFactor);
        }
        let digits = whole.bytes().chain(fraction.bytes());
        let numerator = digits.fold(0_u128, |number, digit| number * 10 + u128::from(digit - b'0'));
        if numerator == 0 {
            return Err(NoFactor);
        }
        let denominator = fraction.bytes().fold(1_u128, |power, _| power * 10);
        Ok(Self::new(numerator, denominator))
    }
}

/// The largest number that divides both.
pub fn greatest_common_divisor(left: u128, right: u128) -> u128 {
    let (mut left, mut right) = (left, right);
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_exact_fractions() {
        for (text, expected) in [
            ("1", Ok((1, 1))),
            ("0.001", Ok((1, 1000))),
            ("2.50", Ok((5, 2))),
            ("1000000", Ok((1_000_000, 1))),
            ("0", Err(NoFactor)),
            ("0.0", Err(NoFactor)),
            ("-1", Err(NoFactor)),
            ("1e3", Err(NoFactor)),
            (".5", Err(NoFactor)),
            ("5.", Err(NoFactor)),
            ("", Err(NoFactor)),
            ("1234567890123456789", Err(NoFactor)),
        ] {
            let found = text.parse::<Ratio>().map(|it| (it.numerator(), it.denominator()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn units_of_a_kind_are_told_in_each_other() {
        let ratio = |from, to| Unit::named(from)?.in_terms_of(Unit::named(to)?);
        assert_eq!(ratio("GiB", "B"), Some(Ratio::new(1 << 30, 1)));
        assert_eq!(ratio("B", "GB"), Some(Ratio::new(1, 1_000_000_000)));
        assert_eq!(ratio("min", "h"), Some(Ratio::new(1, 60)));
        assert_eq!(ratio("µs", "ns"), Some(Ratio::new(1000, 1)));
        assert_eq!(ratio("s", "B"), None);
        assert_eq!(Unit::named("KB"), None);
    }

    #[test]
    fn two_factors_are_one() {
        let third = Ratio::new(1, 3);
        assert_eq!(third.times(Ratio::new(3, 2)), Ratio::new(1, 2));
        assert_eq!(third.times(Ratio::ONE), third);
    }
}
