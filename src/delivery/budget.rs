//! What may go out: one budget for a tenant, and everything counts against it - first tries,
//! repeats and token calls.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

/// Requests may run ahead of the even rate by what this time brings.
const BURST: Duration = Duration::from_millis(100);

/// Admits requests.
#[derive(Debug)]
pub struct Budget {
    rate: DefaultDirectRateLimiter,
    clock: DefaultClock,
    in_flight: Arc<Semaphore>,
    paused_until: Mutex<Option<Instant>>,
}

/// The right to have one request under way.
#[derive(Debug)]
pub struct Admission {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// At most `requests_per_minute` in any minute and `in_flight_max` at one time.
    pub fn new(requests_per_minute: u32, in_flight_max: u32) -> Self {
        let per_minute = requests_per_minute.max(1);
        // In any minute go out as many as the rate brings and the burst on top: together the limit.
        let burst = (f64::from(per_minute) * BURST.as_secs_f64() / 60.0).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1 and at most a 600th of a u32"
        )]
        let burst = NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN);
        let even = per_minute.saturating_sub(burst.get()).max(1);
        let quota = Quota::with_period(Duration::from_secs(60) / even)
            .unwrap_or_else(|| Quota::per_minute(NonZeroU32::MIN))
            .allow_burst(burst);
        Self {
            rate: RateLimiter::direct(quota),
            clock: DefaultClock::default(),
            in_flight: Arc::new(Semaphore::new(in_flight_max.max(1) as usize)),
            paused_until: Mutex::new(None),
        }
    }

    /// Waits for room in flight and in the rate.
    pub async fn admit(&self) -> Admission {
        let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok();
        loop {
            let paused = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(until) = paused.filter(|until| *until > Instant::now()) {
                sleep_until(until).await;
                continue;
            }
            match self.rate.check() {
                Ok(()) => return Admission { _permit: permit },
                Err(early) => sleep(early.wait_time_from(self.clock.now())).await,
            }
        }
    }

    /// Nothing goes out for `pause`: the server said that the tenant is over its rate.
    pub fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = Some(paused.map_or(until, |earlier| earlier.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    #[test]
    fn no_minute_has_more_than_the_limit() {
        for per_minute in [1_u32, 60, 600, 5000] {
            let clock = FakeRelativeClock::default();
            let burst = NonZeroU32::new(per_minute.div_ceil(600)).unwrap_or(NonZeroU32::MIN);
            let even = per_minute.saturating_sub(burst.get()).max(1);
            let Some(quota) = Quota::with_period(Duration::from_secs(60) / even) else { continue };
            let rate = RateLimiter::direct_with_clock(quota.allow_burst(burst), clock.clone());
            let mut admitted = Vec::new();
            for millis in 0_u64..180_000 {
                while rate.check().is_ok() {
                    admitted.push(millis);
                }
                clock.advance(Duration::from_millis(1));
            }
            for (index, first) in admitted.iter().enumerate() {
                let within = admitted[index..].iter().take_while(|at| **at < first + 60_000);
                assert!(within.count() <= per_minute.max(2) as usize, "{per_minute}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_under_way_is_bounded_and_given_back() {
        let budget = Budget::new(60_000, 2);
        let (first, _second) = (budget.admit().await, budget.admit().await);
        let third = tokio::time::timeout(Duration::from_millis(20), budget.admit()).await;
        assert!(third.is_err());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(30), budget.admit()).await.is_ok());
    }
}
