//! How many requests went out in the last minute: what makes the limit a promise, however uneven
//! they were.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Requests that are so close together are forgotten together.
const SLOT: Duration = Duration::from_millis(100);

/// A minute, a second for requests that take different times to arrive, and what a slot is unsure
/// of.
const KEPT: Duration = Duration::from_millis(61_000 + 100);

/// Requests by time. Bounded: so many slots make a minute.
#[derive(Debug, Default)]
pub struct Minute {
    /// When each slot began, and its requests; oldest first.
    slots: VecDeque<(Instant, u32)>,
    total: u32,
}

impl Minute {
    /// How long to wait at `now` before another request makes not more than `max`, at least 1.
    pub fn wait(&mut self, now: Instant, max: u32) -> Duration {
        while let Some((began, requests)) = self.slots.front()
            && *began + KEPT <= now
        {
            self.total -= requests;
            self.slots.pop_front();
        }
        match self.slots.front() {
            Some((began, _)) if self.total >= max => *began + KEPT - now,
            _ => Duration::ZERO,
        }
    }

    /// A request goes out at `now`, not before any other.
    pub fn count(&mut self, now: Instant) {
        self.total += 1;
        match self.slots.back_mut() {
            Some((began, requests)) if now < *began + SLOT => *requests += 1,
            _ => self.slots.push_back((now, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_minute_has_more_than_the_limit_and_what_must_wait_waits_no_longer_than_one(
            max in 1_u32..50,
            gaps in prop::collection::vec(prop_oneof![0_u64..5, 0_u64..3000, 50_000_u64..80_000], 1..300),
        ) {
            let (mut minute, mut now) = (Minute::default(), Instant::now());
            let mut sent: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let wait = minute.wait(now, max);
                prop_assert!(wait <= KEPT);
                now += wait;
                prop_assert_eq!(minute.wait(now, max), Duration::ZERO);
                minute.count(now);
                sent.push(now);
                let since = now.checked_sub(Duration::from_secs(61));
                let within = sent.iter().filter(|at| since.is_none_or(|since| **at >= since));
                prop_assert!(within.count() <= max as usize);
                prop_assert!(minute.slots.len() <= 612);
            }
        }
    }
}
