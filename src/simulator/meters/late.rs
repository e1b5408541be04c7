//! Late data: an operator that waits for events by their own time, and no longer than it says.

use std::time::Duration;

use jiff::fmt::strtime;
use serde_json::Value;

/// What an operator remembers of the times of events.
#[derive(Debug, Clone, Default)]
pub(super) struct Newest(Option<i64>);

impl Newest {
    /// Whether an event of this time, in milliseconds, comes more than `patience` behind the
    /// newest one. Ones without a time are never late.
    pub(super) fn is_late(&mut self, time: Option<i64>, patience: Duration) -> bool {
        let Some(time) = time else { return false };
        let newest = self.0.map_or(time, |newest| newest.max(time));
        self.0 = Some(newest);
        let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        newest.saturating_sub(time) > patience
    }
}

/// The time of an event in milliseconds: a number since 1970, or a text in the usual forms.
pub(super) fn time(value: Option<&Value>) -> Option<i64> {
    /// Smaller numbers are seconds: in milliseconds they would be in 1973 or before.
    const MILLIS_MIN: i64 = 100_000_000_000;
    match value? {
        Value::Number(number) => {
            let number = number.as_i64()?;
            Some(if number.abs() < MILLIS_MIN { number.checked_mul(1000)? } else { number })
        }
        Value::String(text) => {
            let instant = text.parse::<jiff::Timestamp>().or_else(|_| {
                strtime::parse("%Y-%m-%dT%H:%M:%S%z", text).and_then(|time| time.to_timestamp())
            });
            instant.ok().map(jiff::Timestamp::as_millisecond)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_late_when_it_comes_too_far_behind_the_newest() {
        let mut newest = Newest::default();
        let patience = Duration::from_millis(10);
        let rows = [(100, false), (90, false), (89, true), (120, false), (109, true), (110, false)];
        for (time, expected) in rows {
            assert_eq!(newest.is_late(Some(time), patience), expected, "{time}");
        }
        assert!(!newest.is_late(None, patience));
    }

    #[test]
    fn times_are_read_as_events_write_them() {
        let check = |value: Value, expected: Option<i64>| {
            assert_eq!(time(Some(&value)), expected, "{value}");
        };
        check(json!("1970-01-01T00:00:01Z"), Some(1000));
        check(json!("1970-01-01T00:00:01.5+00:00"), Some(1500));
        check(json!("1970-01-01T00:00:01+0000"), Some(1000));
        check(json!(1_763_705_651), Some(1_763_705_651_000));
        check(json!(1_763_705_651_123_i64), Some(1_763_705_651_123));
        check(json!("yesterday"), None);
        check(json!(true), None);
    }
}
