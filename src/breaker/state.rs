//! What a breaker decides: no clock, no waiting, no lock.
//!
//! Closed, it watches the share of bad lines. Open, it lets nothing through until the hold is
//! over *and* everything that was let through before has been judged; only so is what is found
//! next the probe's. Then one chunk is the probe.

use std::time::{Duration, Instant};

use super::window::Window;
use super::{Found, Judged, Settings, Standing};

/// The longest hold, unless the first one is longer.
const HOLD_MAX: Duration = Duration::from_secs(15 * 60);

/// Whether a chunk may be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes, and it is counted as under way.
    Passed,
    /// Not before then.
    At(Instant),
    /// Not before something that is under way was judged.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// One chunk is under way; so much of it was judged.
    Probing(Found),
}

#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    phase: Phase,
    window: Window,
    /// The next hold. It grows until a whole window was good: a probe can be lucky.
    hold: Duration,
    /// Lines that were let through and not judged.
    under_way: u64,
    /// Those of them that were read before somebody ended the hold: old news.
    stale: u64,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Closed,
            window: Window::new(settings.invalid_window),
            hold: settings.invalid_hold,
            under_way: 0,
            stale: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether a chunk of so many lines may pass.
    pub(super) fn admit(&mut self, lines: u64, now: Instant) -> Admission {
        match self.phase {
            Phase::Closed => {}
            Phase::Open { until } if now < until => return Admission::At(until),
            Phase::Open { .. } if self.under_way == 0 => {
                self.phase = Phase::Probing(Found::default());
            }
            Phase::Open { .. } | Phase::Probing(_) => return Admission::Later,
        }
        self.under_way += lines;
        Admission::Passed
    }

    /// Takes in what was found in lines that were let through; gives how the source stands when
    /// that has changed.
    pub(super) fn note(&mut self, judged: Judged, now: Instant) -> Option<Standing> {
        // A stop lets lines through without counting them.
        self.under_way = self.under_way.saturating_sub(judged.read);
        match &mut self.phase {
            Phase::Closed if self.stale > 0 => {
                self.stale = self.stale.saturating_sub(judged.read);
                None
            }
            Phase::Closed => self.watch(judged.found, now),
            Phase::Open { .. } => None,
            Phase::Probing(found) => {
                found.add(judged.found);
                let found = *found;
                if self.under_way == 0 { self.decide(found, now) } else { None }
            }
        }
    }

    /// Ends the hold, whatever was found.
    pub(super) fn close(&mut self) -> Option<Standing> {
        if self.is_closed() {
            return None;
        }
        self.phase = Phase::Closed;
        self.hold = self.settings.invalid_hold;
        self.stale = self.under_way;
        Some(Standing::Reading)
    }

    fn watch(&mut self, found: Found, now: Instant) -> Option<Standing> {
        self.window.add(found);
        if self.window.share() > self.settings.invalid_share_max {
            let held = Standing::Held { found: self.window.found(), hold: self.hold };
            self.open(now);
            return Some(held);
        }
        if self.window.is_full() {
            self.hold = self.settings.invalid_hold;
        }
        None
    }

    /// The probe is judged.
    fn decide(&mut self, found: Found, now: Instant) -> Option<Standing> {
        if found.share() > self.settings.invalid_share_max {
            self.open(now);
            None
        } else if found.lines == 0 {
            // Blank lines tell nothing: the next chunk is the probe.
            self.phase = Phase::Open { until: now };
            None
        } else {
            self.phase = Phase::Closed;
            Some(Standing::Reading)
        }
    }

    fn open(&mut self, now: Instant) {
        self.phase = Phase::Open { until: now + self.hold };
        self.hold = (self.hold * 2).min(HOLD_MAX.max(self.settings.invalid_hold));
        self.window.clear();
    }
}

#[cfg(test)]
mod tests;
