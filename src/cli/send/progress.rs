//! The progress bar of `meterd send`.
//!
//! It moves with what is delivered, not with what is read: a rate limit makes the two differ by
//! hours. Events that are still under way count by their share of the bytes that were read.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent::Ready;
use crate::chunk::SourceTag;

/// How often the bar moves.
const INTERVAL: Duration = Duration::from_millis(100);

/// Rates are those of so long a time.
const SPAN: Duration = Duration::from_secs(5);

/// Bytes that `files` have on the disk; none when there is an end only to be waited for.
pub(super) fn total_bytes(files: &[PathBuf]) -> Option<u64> {
    // `-` is no file, so it has no size.
    let size = |file: &PathBuf| {
        let file = file.metadata().ok().filter(std::fs::Metadata::is_file);
        file.map(|file| file.len())
    };
    if files.is_empty() { None } else { files.iter().map(size).sum() }
}

/// A bar that moves until it is told to stop.
pub(super) struct Progress {
    moving: JoinHandle<()>,
    shown: Arc<Shown>,
}

/// The bar and what it tells of.
struct Shown {
    bar: ProgressBar,
    sources: Vec<Arc<SourceTag>>,
    total_bytes: Option<u64>,
    pace: Mutex<Pace>,
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn show(ready: &Ready, total_bytes: Option<u64>) -> Option<Progress> {
    let (bar, template) = match total_bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:20} {percent:>3} % {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    if bar.is_hidden() {
        return None;
    }
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    let (sources, pace) = (ready.sources.clone(), Mutex::default());
    let shown = Arc::new(Shown { bar, sources, total_bytes, pace });
    let moved = Arc::clone(&shown);
    let moving = tokio::spawn(async move {
        loop {
            moved.draw();
            sleep(INTERVAL).await;
        }
    });
    Some(Progress { moving, shown })
}

impl Progress {
    /// Leaves the bar where the run has come to.
    pub(super) fn finish(self) {
        self.moving.abort();
        self.shown.draw();
        self.shown.bar.abandon();
    }
}

impl Shown {
    fn draw(&self) {
        let now = State::of(&self.sources, self.total_bytes.is_some());
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.note(Instant::now(), now);
        self.bar.set_position(now.position());
        self.bar.set_message(pace.words(now, self.total_bytes));
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    /// Bytes behind which everything is read.
    bytes: u64,
    /// Lines read by this run.
    read: u64,
    /// Events delivered by this run, those that an earlier one had read included.
    delivered: u64,
    /// Lines that will not be delivered.
    refused: u64,
}

impl State {
    fn of(sources: &[Arc<SourceTag>], has_files: bool) -> Self {
        let mut state = Self::default();
        for source in sources {
            let counters = &source.counters;
            let bytes = if has_files { &counters.input_bytes } else { &counters.bytes_read };
            state.bytes += bytes.value();
            state.read += counters.lines_read.value();
        }
        // All sources have one destination.
        if let Some(source) = sources.first() {
            let destination = &source.destination;
            state.refused = destination.unrouted();
            for meter in destination.meters() {
                state.delivered += meter.counters.events_delivered.value();
                state.refused += meter.counters.events_dead_lettered();
            }
        }
        state
    }

    /// The bytes behind which everything is delivered, as far as can be told.
    fn position(self) -> u64 {
        let settled = (self.delivered + self.refused).min(self.read);
        if self.read == 0 {
            return self.bytes;
        }
        let share = u128::from(self.bytes) * u128::from(settled) / u128::from(self.read);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// What was seen in the last [`SPAN`], the oldest first.
#[derive(Debug, Default)]
struct Pace(VecDeque<(Instant, State)>);

impl Pace {
    fn note(&mut self, at: Instant, state: State) {
        self.0.push_back((at, state));
        // One stays that is as old as the span, so that the span is whole.
        while self.0.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= SPAN) {
            self.0.pop_front();
        }
    }

    /// What `of` grew by, and in how many milliseconds; none before there is a time to speak of.
    fn growth(&self, of: impl Fn(State) -> u64) -> Option<(u64, u128)> {
        let ((begin, first), (end, last)) = (*self.0.front()?, *self.0.back()?);
        let millis = end.duration_since(begin).as_millis();
        (millis > 0).then(|| (of(last).saturating_sub(of(first)), millis))
    }

    /// Bytes, events, events a second and the time that is left.
    fn words(&self, now: State, total_bytes: Option<u64>) -> String {
        let position = now.position();
        let bytes = BinaryBytes(position);
        let of = total_bytes.map_or(String::new(), |total| format!(" of {}", BinaryBytes(total)));
        let delivered = HumanCount(now.delivered);
        let rate = self.growth(|state| state.delivered).map_or(0, |(events, millis)| {
            u64::try_from(u128::from(events) * 1000 / millis).unwrap_or(u64::MAX)
        });
        let left = total_bytes.and_then(|total| self.left(total.saturating_sub(position)));
        let left = left.map_or(String::new(), |left| format!(", {} left", HumanDuration(left)));
        format!("{bytes}{of}, {delivered} events delivered, {} events/s{left}", HumanCount(rate))
    }

    /// How long `bytes` will take at the pace of the last [`SPAN`].
    fn left(&self, bytes: u64) -> Option<Duration> {
        let (done, millis) = self.growth(State::position).filter(|(done, _)| *done > 0)?;
        let left = u128::from(bytes) * millis / u128::from(done);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_what_is_delivered() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let state = |bytes, read, delivered| State { bytes, read, delivered, refused: 0 };
        assert_eq!(
            pace.words(state(0, 0, 0), Some(100)),
            "0 B of 100 B, 0 events delivered, 0 events/s"
        );
        let check = |pace: &mut Pace, seconds, state, expected: &str| {
            pace.note(begin + Duration::from_secs(seconds), state);
            assert_eq!(pace.words(state, Some(12 << 30)), expected);
        };
        check(&mut pace, 0, state(0, 0, 0), "0 B of 12.00 GiB, 0 events delivered, 0 events/s");
        // All is read, a quarter is delivered.
        let words = "3.00 GiB of 12.00 GiB, 1,000 events delivered, 500 events/s, 6 seconds left";
        check(&mut pace, 2, state(12 << 30, 4000, 1000), words);
        let words = "6.00 GiB of 12.00 GiB, 2,000 events delivered, 125 events/s, 16 seconds left";
        check(&mut pace, 10, state(12 << 30, 4000, 2000), words);
    }

    #[test]
    fn what_is_refused_is_behind_us_and_older_events_do_not_count_twice() {
        let state = State { bytes: 100, read: 10, delivered: 4, refused: 1 };
        assert_eq!(state.position(), 50);
        assert_eq!(State { delivered: 90, ..state }.position(), 100);
        // Nothing new: an earlier run had read it all.
        assert_eq!(State { read: 0, delivered: 0, refused: 0, ..state }.position(), 100);
    }
}
