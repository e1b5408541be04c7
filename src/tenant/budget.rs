//! What may go out: one budget for a tenant, and everything counts against it - first tries,
//! repeats and token calls. It is never more than configured, and less while the far end says that
//! it is too much.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::gate::Gate;
use super::pace::Pace;
use super::window::{Place, Window};
use crate::telemetry::Spent;

/// A long wait is counted in steps, so that it is seen while it lasts.
const STEP: Duration = Duration::from_secs(1);

/// Admits requests.
#[derive(Debug)]
pub struct Budget {
    pace: Mutex<Pace>,
    window: Arc<Window>,
    gate: Gate,
    waited: Arc<Spent>,
}

/// What an answer says about the load of the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// It took a request.
    Served {
        /// The size of the request.
        bytes: usize,
        /// From its begin to the answer.
        took: Duration,
    },
    /// It answered in good order.
    Fine,
    /// It has too much to do, or is too slow to answer.
    Overload,
    /// The tenant sends more than it may.
    RateLimited {
        /// How long nothing should come, where that was said.
        asked: Option<Duration>,
    },
}

impl Budget {
    /// At most `requests_per_minute` in any minute and `in_flight_max` at one time. What requests
    /// wait for the rate is added to `waited`.
    pub fn new(requests_per_minute: u32, in_flight_max: u32, waited: Arc<Spent>) -> Self {
        Self {
            pace: Mutex::new(Pace::new(requests_per_minute)),
            window: Window::new(in_flight_max),
            gate: Gate::default(),
            waited,
        }
    }

    /// Admits by other limits from now on; what the last minute has had still counts.
    pub fn limit(&self, requests_per_minute: u32, in_flight_max: u32) {
        self.pace().limit(requests_per_minute, Instant::now());
        self.window.bound(in_flight_max);
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
                self.wait(opens_at.saturating_duration_since(Instant::now())).await;
                continue;
            }
            let admitted = self.pace().admit(Instant::now());
            match admitted {
                Ok(()) => return Some(place),
                Err(wait) => self.wait(wait).await,
            }
        }
    }

    /// Waits for `time`, or for a step of it.
    async fn wait(&self, time: Duration) {
        let begin = Instant::now();
        sleep(time.min(STEP)).await;
        self.waited.add(begin.elapsed());
    }

    /// Nothing goes out for `pause`: the server said that the tenant is over its rate.
    pub fn pause(&self, pause: Duration) {
        self.gate.close_for(pause);
    }

    /// Learns from an answer, or from the lack of one.
    pub fn learn(&self, load: Load, now: Instant) {
        let mut pace = self.pace();
        match load {
            Load::Served { bytes, took } => {
                pace.faster(now);
                self.window.served(bytes, took, now);
            }
            Load::Fine => {
                pace.faster(now);
                self.window.answered();
            }
            Load::Overload => self.window.overloaded(now),
            Load::RateLimited { asked } => {
                pace.slower(asked, now);
                self.window.overloaded(now);
            }
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_under_way_is_bounded_and_given_back() {
        let (budget, lane) = (Budget::new(60_000, 2, Arc::default()), Gate::default());
        let (first, _second) = (budget.admit(&lane).await, budget.admit(&lane).await);
        let third = tokio::time::timeout(Duration::from_millis(20), budget.admit(&lane)).await;
        assert!(third.is_err());
        drop(first);
        let fourth = tokio::time::timeout(Duration::from_secs(30), budget.admit(&lane)).await;
        assert!(fourth.is_ok_and(|place| place.is_some()));
    }

    #[tokio::test]
    async fn a_lane_that_is_to_wait_does_not_keep_a_place() {
        let (lane, other) = (Gate::default(), Gate::default());
        let budget = Budget::new(60_000, 1, Arc::default());
        lane.close_for(Duration::from_secs(60));
        assert!(budget.admit(&lane).await.is_none());
        assert!(budget.admit(&other).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_counted_while_it_lasts() {
        let waited = Arc::new(Spent::default());
        let (budget, lane) = (Budget::new(60_000, 1, Arc::clone(&waited)), Gate::default());
        budget.pause(Duration::from_secs(60));
        let cut_off = tokio::time::timeout(Duration::from_millis(30_500), budget.admit(&lane));
        assert!(cut_off.await.is_err());
        assert!((30.0..31.0).contains(&waited.seconds()), "{}", waited.seconds());
        assert!(budget.admit(&lane).await.is_some());
        assert!((59.0..61.0).contains(&waited.seconds()), "{}", waited.seconds());
    }
}
