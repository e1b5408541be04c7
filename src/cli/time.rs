//! Times on the command line.

use crate::clock::Timestamp;
use crate::units::Period;

/// An instant: RFC 3339 such as `2026-11-21T06:00:00Z`, or an age such as `2h`.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    before(text, Timestamp::now())
}

fn before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(instant.as_millisecond()));
    }
    let expected =
        || "expected a time such as 2026-11-21T06:00:00Z, or an age such as 2h".to_owned();
    let age = text.parse::<Period>().map_err(|_| expected())?;
    Ok(now.before(age.duration()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_a_time_or_an_age() {
        let now = Timestamp::from_millis(1_763_705_651_000);
        let check = |text, expected: Option<i64>| {
            assert_eq!(before(text, now).ok().map(Timestamp::as_millis), expected, "{text}");
        };
        check("2025-11-21T06:14:11Z", Some(1_763_705_651_000));
        check("2025-11-21T07:14:11.5+01:00", Some(1_763_705_651_500));
        check("2h", Some(1_763_705_651_000 - 7_200_000));
        check("0s", Some(1_763_705_651_000));
        check("yesterday", None);
        check("2025-11-21", None);
        check("", None);
    }
}
