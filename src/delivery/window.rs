//! How many requests may be under way: all that are allowed at first, half as many after an
//! overload, one more for each windowful of answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Requests that were under way together fail together: that is one overload, not many.
const OVERLOAD_INTERVAL: Duration = Duration::from_secs(1);

/// A limit that follows the far end.
#[derive(Debug)]
pub struct Window {
    places: Arc<Semaphore>,
    state: Mutex<State>,
    max: usize,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Answers since the limit changed.
    answers: usize,
    /// Places that are taken out of use when their requests end.
    surplus: usize,
    overloaded_at: Option<Instant>,
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
        let state = State { limit: max, answers: 0, surplus: 0, overloaded_at: None };
        Arc::new(Self { places: Arc::new(Semaphore::new(max)), state: Mutex::new(state), max })
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
        if state.limit == self.max || state.answers < state.limit {
            return;
        }
        (state.limit, state.answers) = (state.limit + 1, 0);
        if state.surplus > 0 {
            state.surplus -= 1;
        } else {
            self.places.add_permits(1);
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

    proptest! {
        #[test]
        fn places_in_use_and_free_are_never_more_than_the_maximum(
            steps in prop::collection::vec(0_u8..4, 0..200),
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
