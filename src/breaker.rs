//! Holds a source while too many of its lines are no events.
//!
//! A bad deploy of an application must not turn everything that it writes into dead letters. So
//! packing tells the breaker of a source what it found, and the source asks the breaker before it
//! hands lines over: while the source is held they stay where they are. After a while one chunk is
//! let through as a probe, and what is found in it decides.
//!
//! Nothing is dropped here, and what was handed over before is not called back.

mod state;
mod window;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use state::{Admission, State};
pub use window::Found;

/// When a source is held, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The largest share of lines that may become dead letters, from 0 to below 1.
    pub invalid_share_max: f64,
    /// Of how many lines, the last ones; at least 1.
    pub invalid_window: u32,
    /// The time to the first probe. It doubles with each further one, up to 15 minutes.
    pub invalid_hold: Duration,
}

impl Default for Settings {
    /// 60 seconds when more than half of 1,000 lines are bad.
    fn default() -> Self {
        Self { invalid_share_max: 0.5, invalid_window: 1000, invalid_hold: Duration::from_secs(60) }
    }
}

/// What has become of lines that were handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// Lines, blank ones included.
    pub read: u64,
    /// The same without blank lines.
    pub found: Found,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Its lines are taken.
    #[default]
    Reading,
    /// It waits, or is being probed.
    Held {
        /// What was found in the last lines.
        found: Found,
        /// The time to the first probe.
        hold: Duration,
    },
}

/// The breaker of one source. The default never holds it.
#[derive(Debug, Default)]
pub struct Breaker(Option<Active>);

#[derive(Debug)]
struct Active {
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
    /// Rings when those who wait have to ask again.
    moved: Notify,
}

impl Breaker {
    /// A breaker that lets everything through until it is told otherwise.
    pub fn new(settings: Settings) -> Self {
        Self(Some(Active {
            state: Mutex::new(State::new(settings)),
            standing: watch::Sender::new(Standing::Reading),
            moved: Notify::new(),
        }))
    }

    /// Returns when a chunk of so many lines may be handed over. Each that may has to be told of
    /// by [`Breaker::note`]. Dropped before, it has asked nothing.
    pub async fn admit(&self, lines: u64) {
        let Some(active) = &self.0 else { return };
        // A chunk without lines only carries a cursor, and nobody will tell of it.
        if lines == 0 {
            return;
        }
        loop {
            // Before the look, or a change between the two would be slept through.
            let moved = active.moved.notified();
            let admission = active.lock().admit(lines, Instant::now());
            match admission {
                Admission::Passed => return,
                Admission::Later => moved.await,
                Admission::At(until) => tokio::select! {
                    () = moved => {}
                    () = sleep_until(until.into()) => {}
                },
            }
        }
    }

    /// Tells what packing found in lines that were let through.
    pub fn note(&self, judged: Judged) {
        self.change(|state| state.note(judged, Instant::now()));
    }

    /// Ends a hold: whoever asks for it has mended something.
    pub fn close(&self) {
        self.change(State::close);
    }

    /// How the source stands from now on; none when it is never held.
    pub fn standings(&self) -> Option<watch::Receiver<Standing>> {
        self.0.as_ref().map(|active| active.standing.subscribe())
    }

    fn change(&self, change: impl FnOnce(&mut State) -> Option<Standing>) {
        let Some(active) = &self.0 else { return };
        let mut state = active.lock();
        let was_closed = state.is_closed();
        if let Some(standing) = change(&mut state) {
            // Under the lock: standings are told in the order in which they came about.
            active.standing.send_replace(standing);
        }
        drop(state);
        if !was_closed {
            active.moved.notify_waiters();
        }
    }
}

impl Active {
    /// Held for some arithmetic once a chunk and once a group, never across a wait.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SETTINGS: Settings = Settings {
        invalid_share_max: 0.5,
        invalid_window: 10,
        invalid_hold: Duration::from_millis(1),
    };

    fn judged(lines: u32, invalid: u32) -> Judged {
        Judged { read: lines.into(), found: Found { lines, invalid } }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    #[test]
    fn those_who_wait_go_on_one_as_a_probe_and_the_rest_behind_its_verdict() {
        runtime().block_on(async {
            let breaker = Breaker::new(SETTINGS);
            let standings = breaker.standings().expect("it can hold");
            breaker.admit(6).await;
            breaker.note(judged(6, 6));
            let found = Found { lines: 6, invalid: 6 };
            let held = Standing::Held { found, hold: SETTINGS.invalid_hold };
            assert_eq!(*standings.borrow(), held);
            // The first goes through after the hold, the second one only behind its verdict.
            let (first, mut second) = (breaker.admit(2), Box::pin(breaker.admit(2)));
            first.await;
            assert!(timeout(SETTINGS.invalid_hold * 20, &mut second).await.is_err());
            breaker.note(judged(2, 0));
            second.await;
            assert_eq!(*standings.borrow(), Standing::Reading);
        });
    }

    #[test]
    fn closing_by_hand_wakes_those_who_wait() {
        let hour = Settings { invalid_hold: Duration::from_secs(3600), ..SETTINGS };
        runtime().block_on(async {
            let breaker = Breaker::new(hour);
            breaker.admit(6).await;
            breaker.note(judged(6, 6));
            let mut waiting = Box::pin(breaker.admit(1));
            assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
            breaker.close();
            waiting.await;
        });
    }

    #[test]
    fn without_settings_nothing_is_ever_held() {
        runtime().block_on(async {
            let breaker = Breaker::default();
            breaker.note(judged(1_000_000, 1_000_000));
            breaker.admit(1).await;
            assert!(breaker.standings().is_none());
        });
    }
}
