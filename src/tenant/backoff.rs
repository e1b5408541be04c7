//! How long to wait after a failure.

use std::time::Duration;

/// The wait before the next try: full jitter over an exponentially growing range, but never less
/// than what the server asked for.
///
/// `failures` counts the failures in a row, at least 1. `random` lies in `0.0..1.0`.
pub fn wait(
    base: Duration,
    max: Duration,
    failures: u32,
    asked: Option<Duration>,
    random: f64,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let range = base.saturating_mul(1 << doublings).min(max);
    range.mul_f64(random.clamp(0.0, 1.0)).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn the_range_doubles_up_to_its_limit() {
        let longest = |failures| wait(BASE, MAX, failures, None, 1.0).as_secs();
        assert_eq!([1, 2, 3, 6, 7, 1000].map(longest), [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(wait(BASE, MAX, 3, None, 0.0), Duration::ZERO);
        assert_eq!(wait(BASE, MAX, 3, None, 0.5), Duration::from_secs(2));
    }

    #[test]
    fn the_server_is_never_asked_earlier_than_it_said() {
        let asked = Some(Duration::from_secs(90));
        assert_eq!(wait(BASE, MAX, 1, asked, 0.3), Duration::from_secs(90));
    }
}
