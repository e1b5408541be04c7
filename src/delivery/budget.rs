//! What may go out: one budget for a tenant, and everything counts against it - first tries,
//! repeats and token calls. It is never more than configured, and less while the far end says that
//! it is too much.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::{Instant, sleep, sleep_until};

use super::gate::Gate;
use super::window::{Place, Window};

/// Requests may run ahead of the even rate by what this time brings.
const BURST: Duration = Duration::from_millis(100);

/// What is left of the rate after a refusal for it.
const SLOWER: f64 = 0.7;

/// Refusals that come so close together are one.
const SLOWER_INTERVAL: Duration = Duration::from_secs(1);

/// By which part of the whole the rate rises, and how often at most.
const FASTER: f64 = 0.05;
const FASTER_INTERVAL: Duration = Duration::from_secs(5);

/// Admits requests.
#[derive(Debug)]
pub struct Budget {
    pace: Mutex<Pace>,
    clock: DefaultClock,
    window: Arc<Window>,
    gate: Gate,
}

/// What an answer says about the load of the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// It answered in good order.
    Fine,
    /// It has too much to do, or is too slow to answer.
    Overload,
    /// The tenant sends more than it may.
    RateLimited,
}

impl Budget {
    /// At most `requests_per_minute` in any minute and `in_flight_max` at one time.
    pub fn new(requests_per_minute: u32, in_flight_max: u32) -> Self {
        Self {
            pace: Mutex::new(Pace::new(requests_per_minute)),
            clock: DefaultClock::default(),
            window: Window::new(in_flight_max),
            gate: Gate::default(),
        }
    }

    /// Waits for room in flight and in the rate. None when `lane` closed meanwhile: who waits for
    /// one lane must not hold a place that another could use.
    pub async fn admit(&self, lane: &Gate) -> Option<Place> {
        let place = self.window.enter().await;
        loop {
            if lane.opens_at().is_some() {
                return None;
            }
            if let Some(opens_at) = self.gate.opens_at() {
                sleep_until(opens_at).await;
                continue;
            }
            let checked = self.pace.lock().unwrap_or_else(PoisonError::into_inner).limiter.check();
            match checked {
                Ok(()) => return Some(place),
                Err(early) => sleep(early.wait_time_from(self.clock.now())).await,
            }
        }
    }

    /// Nothing goes out for `pause`: the server said that the tenant is over its rate.
    pub fn pause(&self, pause: Duration) {
        self.gate.close_for(pause);
    }

    /// Learns from an answer, or from the lack of one.
    pub fn learn(&self, load: Load, now: Instant) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        match load {
            Load::Fine => {
                pace.faster(now);
                self.window.answered();
            }
            Load::Overload => self.window.overloaded(now),
            Load::RateLimited => {
                pace.slower(now);
                self.window.overloaded(now);
            }
        }
    }
}

/// A rate that falls at once and rises slowly.
#[derive(Debug)]
struct Pace {
    limiter: DefaultDirectRateLimiter,
    per_minute_max: f64,
    per_minute: f64,
    changed_at: Option<Instant>,
}

impl Pace {
    fn new(per_minute_max: u32) -> Self {
        let per_minute_max = f64::from(per_minute_max.max(1));
        let limiter = RateLimiter::direct(quota(per_minute_max));
        Self { limiter, per_minute_max, per_minute: per_minute_max, changed_at: None }
    }

    fn slower(&mut self, now: Instant) {
        if self.has_changed_within(SLOWER_INTERVAL, now) {
            return;
        }
        self.change((self.per_minute * SLOWER).max(1.0), now);
    }

    fn faster(&mut self, now: Instant) {
        let is_whole = self.per_minute >= self.per_minute_max;
        if is_whole || self.has_changed_within(FASTER_INTERVAL, now) {
            return;
        }
        let step = (self.per_minute_max * FASTER).max(1.0);
        self.change((self.per_minute + step).min(self.per_minute_max), now);
    }

    fn has_changed_within(&self, time: Duration, now: Instant) -> bool {
        self.changed_at.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    fn change(&mut self, per_minute: f64, now: Instant) {
        self.limiter = RateLimiter::direct(quota(per_minute));
        (self.per_minute, self.changed_at) = (per_minute, Some(now));
    }
}

/// In any minute go out as many as the even rate brings and the burst on top: together the limit.
fn quota(per_minute: f64) -> Quota {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1, and at most what a u32 holds"
    )]
    let whole = |number: f64| NonZeroU32::new(number as u32).unwrap_or(NonZeroU32::MIN);
    let burst = whole((per_minute * BURST.as_secs_f64() / 60.0).ceil());
    let even = whole(per_minute).get().saturating_sub(burst.get()).max(1);
    Quota::with_period(Duration::from_secs(60) / even)
        .unwrap_or_else(|| Quota::per_minute(NonZeroU32::MIN))
        .allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    #[test]
    fn no_minute_has_more_than_the_limit() {
        for per_minute in [1_u32, 60, 600, 5000] {
            let clock = FakeRelativeClock::default();
            let quota = quota(f64::from(per_minute));
            let rate = RateLimiter::direct_with_clock(quota, clock.clone());
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

    #[test]
    fn a_refusal_lowers_the_rate_once_and_answers_raise_it_slowly() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut pace = Pace::new(1000);
        pace.slower(at(0));
        pace.slower(at(0));
        assert!((pace.per_minute - 700.0).abs() < 1e-9);
        pace.faster(at(4));
        assert!((pace.per_minute - 700.0).abs() < 1e-9);
        pace.faster(at(5));
        assert!((pace.per_minute - 750.0).abs() < 1e-9);
        (2..100).for_each(|round| pace.faster(at(5 * round)));
        assert!((pace.per_minute - 1000.0).abs() < 1e-9);
        (0..100).for_each(|second| pace.slower(at(1000 + second)));
        assert!((pace.per_minute - 1.0).abs() < 1e-9);
    }

    #[tokio::test]
    async fn what_is_under_way_is_bounded_and_given_back() {
        let (budget, lane) = (Budget::new(60_000, 2), Gate::default());
        let (first, _second) = (budget.admit(&lane).await, budget.admit(&lane).await);
        let third = tokio::time::timeout(Duration::from_millis(20), budget.admit(&lane)).await;
        assert!(third.is_err());
        drop(first);
        let fourth = tokio::time::timeout(Duration::from_secs(30), budget.admit(&lane)).await;
        assert!(fourth.is_ok_and(|place| place.is_some()));
    }

    #[tokio::test]
    async fn a_lane_that_is_to_wait_does_not_keep_a_place() {
        let (budget, lane, other) = (Budget::new(60_000, 1), Gate::default(), Gate::default());
        lane.close_for(Duration::from_secs(60));
        assert!(budget.admit(&lane).await.is_none());
        assert!(budget.admit(&other).await.is_some());
    }
}
