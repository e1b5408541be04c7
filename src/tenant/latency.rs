//! Whether answers have become slow: much slower than the best of the last minutes to requests of
//! like size. A far end that is given too much at one time says so by this before it fails.

use std::time::Duration;

use tokio::time::Instant;

/// Slow is this many times the best, and so much more than it: on a near and quick far end the
/// double of next to nothing is nothing.
const SLOW_FACTOR: u32 = 2;
const SLOW_MARGIN: Duration = Duration::from_millis(100);

/// How much the last answer counts. One that is late is chance, two in a row are not.
const WEIGHT: f64 = 0.25;
const RATIO_MAX: f64 = 2.0;

/// The best is that of the present and the last period of this length: a far end that has become
/// slower for good is not held to what it was.
const PERIOD: Duration = Duration::from_secs(60);

/// Sizes in one class differ by up to four times: longer bodies take longer.
const CLASSES: usize = 16;

/// What was seen of answers.
#[derive(Debug, Default)]
pub struct Latency {
    best: [Best; CLASSES],
    /// What answers took lately, 1 where slow begins.
    recent: f64,
}

impl Latency {
    /// Learns that a request of `bytes` was answered at `now` after it took so long; whether
    /// answers are slow.
    pub fn is_slow(&mut self, bytes: usize, took: Duration, now: Instant) -> bool {
        let class = bytes.max(1).ilog2() as usize / 2;
        let best = self.best[class.min(CLASSES - 1)].learn(took, now);
        let slow = (best * SLOW_FACTOR).max(best + SLOW_MARGIN);
        let ratio = (took.as_secs_f64() / slow.as_secs_f64()).min(RATIO_MAX);
        self.recent += WEIGHT * (ratio - self.recent);
        self.recent > 1.0
    }

    /// Begins again with what is recent: less is under way from now on.
    pub fn forget_recent(&mut self) {
        self.recent = 0.0;
    }
}

/// The best of two periods.
#[derive(Debug, Default)]
struct Best {
    began: Option<Instant>,
    present: Duration,
    last: Duration,
}

impl Best {
    fn learn(&mut self, took: Duration, now: Instant) -> Duration {
        let age = self.began.map_or(PERIOD * 2, |began| now.saturating_duration_since(began));
        if age < PERIOD {
            self.present = self.present.min(took);
        } else {
            self.last = if age < PERIOD * 2 { self.present } else { took };
            (self.began, self.present) = (Some(now), took);
        }
        self.present.min(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn two_late_answers_in_a_row_are_slow_and_one_is_not() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        let mut slow = |took| latency.is_slow(1000, millis(took), now);
        assert!(!slow(200) && !slow(210) && !slow(5000));
        assert!((0..10).all(|_| !slow(200)));
        assert!(!slow(900) && slow(900));
    }

    #[test]
    fn a_long_body_is_not_held_to_what_a_short_one_takes() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        for _ in 0..10 {
            assert!(!latency.is_slow(300, millis(5), now));
            assert!(!latency.is_slow(3_000_000, millis(900), now));
        }
    }

    #[test]
    fn what_is_slow_for_minutes_is_the_usual() {
        let (mut latency, begin) = (Latency::default(), Instant::now());
        assert!(!latency.is_slow(1000, millis(50), begin));
        let slow = |second| latency.is_slow(1000, millis(1000), begin + SECOND * second);
        let slow: Vec<bool> = (1..200).map(slow).collect();
        assert!(slow[5] && slow[100] && !slow[180]);
    }

    proptest! {
        #[test]
        fn nothing_within_the_margin_is_slow(
            answers in prop::collection::vec((0_u64..100, 0_usize..5_000_000, 0_u32..100), 0..100),
        ) {
            let (mut latency, mut now) = (Latency::default(), Instant::now());
            for (took, bytes, gap) in answers {
                now += SECOND * gap;
                prop_assert!(!latency.is_slow(bytes, millis(took), now));
            }
        }

        #[test]
        fn what_stays_as_it_is_never_becomes_slow(
            took in 0_u64..10_000_000, jitter in prop::collection::vec(0_u64..100, 0..100),
        ) {
            let (mut latency, mut now) = (Latency::default(), Instant::now());
            for percent in jitter {
                now += SECOND * 7;
                let took = took + took * percent / 100;
                prop_assert!(!latency.is_slow(1, millis(took), now));
            }
        }
    }
}
