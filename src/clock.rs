//! Wall-clock instants as the store and the documents hold them.
//!
//! Pure code never reads the clock: it takes a [`Timestamp`] as an argument. Durations and
//! deadlines use [`std::time::Instant`], which no operator can set back.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A wall-clock instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Reads the system clock.
    pub fn now() -> Self {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Self(millis)
    }

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The instant `time` later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The instant `time` earlier.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time from `self` to `later`, zero when `later` is not later.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// Whole hours since the epoch: the key of a tally.
    pub const fn hour(self) -> i64 {
        self.0.div_euclid(3_600_000)
    }

    /// Seconds from `self` to `later`, zero when `later` is not later.
    #[expect(clippy::cast_precision_loss, reason = "an age of 2^53 ms is not reached")]
    pub fn seconds_until(self, later: Self) -> f64 {
        (later.0.saturating_sub(self.0)).max(0) as f64 / 1000.0
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-11-21T06:14:11.123Z`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(out, "{instant:.3}"),
            Err(_) => write!(out, "{} ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        let at = Timestamp::from_millis(1_763_705_651_123);
        assert_eq!(at.to_string(), "2025-11-21T06:14:11.123Z");
    }

    #[test]
    fn hours_before_the_epoch_round_down() {
        assert_eq!(Timestamp::from_millis(-1).hour(), -1);
        assert_eq!(Timestamp::from_millis(3_600_000).hour(), 1);
    }

    #[test]
    fn an_age_is_never_negative() {
        let (earlier, later) = (Timestamp::from_millis(1000), Timestamp::from_millis(3500));
        assert!((earlier.seconds_until(later) - 2.5).abs() < f64::EPSILON);
        assert!(later.seconds_until(earlier).abs() < f64::EPSILON);
    }
}
