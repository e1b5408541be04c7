//! How many requests may be under way: all that are allowed at first, half as many after an
//! overload or when answers have become slow, one more for each windowful of answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::latency::Latency;

/// Requests that were under way together fail together: that is one overload, not many.
const OVERLOAD_INTERVAL: Duration = Duration::from_secs(1);

/// A limit that follows the far end.
#[derive(Debug)]
pub struct Window {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    max: usize,
    limit: usize,
    /// Answers since the limit changed.
    answers: usize,
    /// Places that are taken out of use when their requests end.
    surplus: usize,
    overloaded_at: Option<Instant>,
    latency: Latency,
}

/// The right to have one request under way.
#[derive(Debug)]
pub struct Place {
    window: Arc<Window>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Window {
    /// At most `max` at one time, at least 1.
    pub fn new(max: u32) -> Arc<Self> {
        let max = max.max(1) as usize;
        let latency = Latency::default();
        let state = State { max, limit: max, answers: 0, surplus: 0, overloaded_at: None, latency };
        Arc::new(Self { places: Arc::new(Semaphore::new(max)), state: Mutex::new(state) })
    }

    /// At most `max` at one time from now on, at least 1: at once, unless the far end was found to
    /// take less.
    pub fn bound(&self, max: u32) {
        let max = max.max(1) as usize;
        let mut state = self.state();
        let limit = if state.limit == state.max { max } else { state.limit.min(max) };
        state.max = max;
        if limit > state.limit {
            // What is taken out of use only when it comes back need not be.
            let added = limit - state.limit;
            let kept = added.min(state.surplus);
            state.surplus -= kept;
            self.places.add_permits(added - kept);
        } else {
            state.surplus += state.limit - limit;
            self.take_back(&mut state);
        }
        (state.limit, state.answers) = (limit, 0);
    }

    /// Waits for a place.
    pub async fn enter(self: &Arc<Self>) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        Place { window: Arc::clone(self), permit }
    }

    /// The limit now.
    pub fn limit(&self) -> usize {
        self.state().limit
    }

    /// The far end answered in good order.
    pub fn answered(&self) {
        let mut state = self.state();
        state.answers += 1;
        if state.limit == state.max || state.answers < state.limit {
            return;
        }
        (state.limit, state.answers) = (state.limit + 1, 0);
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.places.add_permits(1);
        }
    }

    /// The far end took a request of `bytes`, and so long for that.
    pub fn served(&self, bytes: usize, took: Duration, now: Instant) {
        let mut state = self.state();
        if state.overloaded_at.is_some_and(|at| now.checked_sub(took) < Some(at)) {
            // It began before the overload was seen, and only says again that there was one.
            return;
        }
        let is_slow = state.latency.is_slow(bytes, took, now);
        drop(state);
        if is_slow {
            self.overloaded(now);
        } else {
            self.answered();
        }
    }

    /// The far end has too much to do.
    pub fn overloaded(&self, now: Instant) {
        let mut state = self.state();
        let is_same = |at: Instant| now.saturating_duration_since(at) < OVERLOAD_INTERVAL;
        if state.overloaded_at.is_some_and(is_same) {
            return;
        }
        let limit = (state.limit / 2).max(1);
        state.surplus += state.limit - limit;
        (state.limit, state.answers, state.overloaded_at) = (limit, 0, Some(now));
        state.latency.forget_recent();
        self.take_back(&mut state);
    }

    /// Takes free places out of use, as many as are too many.
    fn take_back(&self, state: &mut State) {
        while state.surplus > 0
            && let Ok(free) = self.places.try_acquire()
        {
            free.forget();
            state.surplus -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.window.state();
        if state.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.surplus -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn an_overload_halves_and_answers_bring_it_back_one_by_one() {
        let window = Window::new(8);
        let begin = Instant::now();
        window.overloaded(begin);
        window.overloaded(begin + OVERLOAD_INTERVAL / 2);
        assert_eq!(window.limit(), 4);
        window.overloaded(begin + OVERLOAD_INTERVAL);
        assert_eq!(window.limit(), 2);
        for (answers, limit) in [(2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (100, 8)] {
            (0..answers).for_each(|_| window.answered());
            assert_eq!(window.limit(), limit);
        }
        let places = [window.enter().await, window.enter().await];
        drop(places);
        assert_eq!(window.places.available_permits(), 8);
    }

    #[tokio::test]
    async fn requests_under_way_keep_their_places_and_nobody_takes_them_over() {
        let window = Window::new(4);
        let mut under_way = Vec::new();
        for _ in 0..4 {
            under_way.push(window.enter().await);
        }
        window.overloaded(Instant::now());
        under_way.pop();
        under_way.pop();
        assert_eq!(window.places.available_permits(), 0);
        under_way.pop();
        assert_eq!(window.places.available_permits(), 1);
    }

    /// The limits that a far end makes of a window of 8 within a minute, when an answer takes
    /// `took` with so many under way.
    fn limits(took: impl Fn(usize) -> u64) -> Vec<usize> {
        let (window, begin) = (Window::new(8), Instant::now());
        window.served(1000, Duration::from_millis(took(1)), begin);
        let (mut now, mut limits) = (begin, Vec::new());
        while now < begin + Duration::from_secs(60) {
            let under_way = window.limit();
            let took = Duration::from_millis(took(under_way));
            now += took;
            (0..under_way).for_each(|_| window.served(1000, took, now));
            limits.push(window.limit());
        }
        limits
    }

    #[test]
    fn growing_latency_lowers_the_limit_to_what_the_far_end_bears() {
        let limits = limits(|under_way| 20 + 150 * (under_way as u64).saturating_sub(3));
        let settled = &limits[limits.len() / 4..];
        assert!(settled.iter().all(|limit| (1..=5).contains(limit)), "{settled:?}");
        assert!(settled.iter().sum::<usize>() > 2 * settled.len(), "{settled:?}");
    }

    #[test]
    fn latency_that_does_not_grow_and_latency_of_a_near_far_end_lower_nothing() {
        for took in [1, 20, 400, 30_000] {
            assert!(limits(|_| took).iter().all(|limit| *limit == 8), "{took}");
        }
        assert!(limits(|under_way| 10 * under_way as u64).iter().all(|limit| *limit == 8));
    }

    proptest! {
        #[test]
        fn places_in_use_and_free_are_never_more_than_the_maximum(
            steps in prop::collection::vec(0_u8..6, 0..200),
        ) {
            let window = Window::new(8);
            let mut now = Instant::now();
            let mut under_way: Vec<Place> = Vec::new();
            for step in steps {
                match step {
                    0 => {
                        if let Ok(permit) = Arc::clone(&window.places).try_acquire_owned() {
                            let window = Arc::clone(&window);
                            under_way.push(Place { window, permit: Some(permit) });
                        }
                    }
                    1 => drop(under_way.pop()),
                    2 => window.answered(),
                    3 => window.served(1000, Duration::from_millis(20), now),
                    4 => {
                        now += Duration::from_millis(700);
                        window.served(1000, Duration::from_millis(600), now);
                    }
                    _ => {
                        now += OVERLOAD_INTERVAL;
                        window.overloaded(now);
                    }
                }
                let surplus = window.state().surplus;
                let limit = window.limit();
                let places = window.places.available_permits() + under_way.len();
                prop_assert_eq!(places - surplus, limit);
                prop_assert!((1..=8).contains(&limit) && places <= 8);
            }
        }
    }
}
