//! Times and dates as the meter APIs read them.

use std::fmt;

use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::clock::Timestamp;

/// An instant that prints as `2026-11-21T06:14:11+0000`: `YYYY-MM-DDTHH:MM:SS±HHMM` in UTC, without
/// the fraction of its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiTime(pub Timestamp);

impl fmt::Display for ApiTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.as_millis().div_euclid(1000)) {
            Ok(instant) => write!(out, "{}", instant.strftime("%Y-%m-%dT%H:%M:%S+0000")),
            // Beyond the year 9999: no Mediation has that, and a request must not fail here.
            Err(_) => out.write_str("9999-12-31T23:59:59+0000"),
        }
    }
}

impl Serialize for ApiTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A day that is written as `2026-11-21`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiDate(pub Date);

impl Serialize for ApiDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_have_the_documented_form() {
        let check = |millis, expected: &str| {
            assert_eq!(ApiTime(Timestamp::from_millis(millis)).to_string(), expected);
        };
        check(1_763_705_651_999, "2025-11-21T06:14:11+0000");
        check(0, "1970-01-01T00:00:00+0000");
        check(-1, "1969-12-31T23:59:59+0000");
    }

    proptest! {
        #[test]
        fn every_instant_has_24_characters(millis in -62_135_596_800_000_i64..) {
            prop_assert_eq!(ApiTime(Timestamp::from_millis(millis)).to_string().len(), 24);
        }
    }
}
