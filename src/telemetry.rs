//! Counters that every stage may write and everybody may read.
//!
//! They count since the start of the process and are for eyes and metrics only; what money
//! rests on are the tallies in the store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::dead_letter::Reason;

/// A number that only rises. Relaxed: it orders nothing, readers only want a recent value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The present value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Time that was spent on something, over all who did.
#[derive(Debug, Default)]
pub struct Spent(Counter);

impl Spent {
    /// Somebody has spent `time`.
    pub fn add(&self, time: Duration) {
        self.0.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// All of it so far, to the microsecond.
    pub fn seconds(&self) -> f64 {
        Duration::from_micros(self.0.value()).as_secs_f64()
    }
}

/// How often a trouble that goes on is said again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60);

/// When a trouble that goes on is due in the log: when it is met first, and a minute after it was said.
#[derive(Debug, Default)]
pub struct Reminder(Mutex<Option<Instant>>);

impl Reminder {
    /// Whether it is to be said at `now`; if so, the minute begins.
    pub fn is_due(&self, now: Instant) -> bool {
        let mut said_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said_at.is_none_or(|at| now.duration_since(at) >= REMINDER_INTERVAL);
        if is_due {
            *said_at = Some(now);
        }
        is_due
    }
}

/// Numbers that only rise, by something that has few values. Not for what happens once an event.
#[derive(Debug)]
pub struct Counts<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// Adds `amount` to the number of `key`.
    pub fn add(&self, key: K, amount: u64) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers.entry(key).or_default() += amount;
    }

    /// The present values.
    pub fn values(&self) -> BTreeMap<K, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long something took, in classes of seconds.
pub struct Durations(pub Histogram);

impl Default for Durations {
    /// From a millisecond to two minutes: from a commit to the end of the server's patience.
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.001, 2.0, 18)))
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Durations")
    }
}

impl Durations {
    /// It took so long.
    pub fn add(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

/// The things that a stage works on at one time: a thread has one; connections of a listener have one
/// for each thread of the runtime, requests one for each body that is split.
const HANDS: usize = 4;

/// Since when a stage has worked on one thing: one that does not come to an end is stuck.
#[derive(Debug)]
pub struct Pulse {
    epoch: Instant,
    /// Milliseconds behind the epoch, and one; zero for what is free.
    since: [AtomicU64; HANDS],
}

impl Default for Pulse {
    fn default() -> Self {
        Self { epoch: Instant::now(), since: Default::default() }
    }
}

/// Work on one thing; it ends when this is dropped. Nothing when there is more of it than hands.
#[derive(Debug)]
pub struct Beat<'p>(Option<&'p AtomicU64>);

/// A wait within work that may be long and is no fault of the stage; the work begins anew when this
/// is dropped.
#[derive(Debug)]
pub struct Rest<'p> {
    pulse: &'p Pulse,
    was_busy: bool,
}

impl Pulse {
    /// Begins to work on something.
    pub fn beat(&self) -> Beat<'_> {
        let now = self.millis() + 1;
        let takes = |hand: &&AtomicU64| {
            hand.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        Beat(self.since.iter().find(takes))
    }

    /// Goes on with the next thing, if it works. For a stage with one hand, as a thread is.
    pub fn go_on(&self) {
        let [hand, ..] = &self.since;
        if hand.load(Ordering::Relaxed) != 0 {
            hand.store(self.millis() + 1, Ordering::Relaxed);
        }
    }

    /// Waits for others. For a stage with one hand.
    pub fn rest(&self) -> Rest<'_> {
        let [hand, ..] = &self.since;
        Rest { pulse: self, was_busy: hand.swap(0, Ordering::Relaxed) != 0 }
    }

    /// For how long it has worked on one thing; none while it waits.
    pub fn busy_for(&self) -> Option<Duration> {
        let busy = self.since.iter().filter_map(|hand| hand.load(Ordering::Relaxed).checked_sub(1));
        let since = busy.min()?;
        Some(Duration::from_millis(self.millis().saturating_sub(since)))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if self.was_busy {
            let [hand, ..] = &self.pulse.since;
            hand.store(self.pulse.millis() + 1, Ordering::Relaxed);
        }
    }
}

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        if let Some(hand) = self.0 {
            hand.store(0, Ordering::Relaxed);
        }
    }
}

/// What the agent as a whole does.
#[derive(Debug, Default)]
pub struct Vitals {
    /// How long commits took.
    pub commits: Durations,
    /// The last commit failed.
    pub commits_fail: Flag,
    /// The store is full: sources wait.
    pub is_full: Flag,
    /// Those whose pulse somebody holds.
    stages: Mutex<Vec<(String, Weak<Pulse>)>>,
}

/// Something that is so or not.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// It is so, or is not any more.
    pub fn set(&self, is_so: bool) {
        self.0.store(is_so, Ordering::Relaxed);
    }

    /// Whether it is so.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stage that works on one thing for longer is stuck: a commit on a very slow disk and the packing
/// of a very large group are done long before.
pub const STUCK: Duration = Duration::from_secs(60);

impl Vitals {
    /// The pulse of a stage that begins; it ends when the pulse is dropped.
    pub fn stage(&self, name: &str) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::default());
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.retain(|(_, pulse)| pulse.strong_count() > 0);
        stages.push((name.to_owned(), Arc::downgrade(&pulse)));
        pulse
    }

    /// The stages that have worked on one thing for longer than `time`.
    pub fn stuck_for(&self, time: Duration) -> Vec<String> {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stuck = |pulse: &Weak<Pulse>| {
            let busy = pulse.upgrade().and_then(|pulse| pulse.busy_for());
            busy.is_some_and(|busy| busy > time)
        };
        let stuck = stages.iter().filter(|(_, pulse)| is_stuck(pulse));
        stuck.map(|(name, _)| name.clone()).collect()
    }
}

/// What one source did.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// Lines that left the source, good and bad.
    pub lines_read: Counter,
    /// Bytes of those lines.
    pub bytes_read: Counter,
    /// Of files that are read once: bytes on the disk that are behind it, those of earlier runs and
    /// compressed ones included.
    pub input_bytes: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Those of them that have ended.
    pub connections_ended: Counter,
    /// Connections turned away because of the limit.
    pub connections_refused: Counter,
}

impl SourceCounters {
    /// Connections that are open.
    pub fn connections_open(&self) -> u64 {
        // In this order one that begins and ends in between is not missed twice.
        let ended = self.connections_ended.value();
        self.connections.value().saturating_sub(ended)
    }
}

/// What was done for one meter.
#[derive(Debug, Default)]
pub struct MeterCounters {
    /// Events made durable.
    pub events_stored: Counter,
    /// Lines made durable as dead letters, by their reason.
    pub dead_letters: Counts<Reason>,
    /// Events with a committed receipt.
    pub events_delivered: Counter,
    /// Requests that left, by the status of the answer; none: there was no whole answer.
    pub requests: Counts<Option<u16>>,
    /// How long they took.
    pub request_durations: Durations,
    /// Repeats that had to be waited for, by what they are for.
    pub retries: Counts<&'static str>,
    /// Requests whose outcome is not known.
    pub unknown_outcomes: Counter,
    /// Bytes of the JSON arrays in requests that left.
    pub payload_bytes: Counter,
    /// Bytes of the gzip bodies in requests that left.
    pub wire_bytes: Counter,
}

impl MeterCounters {
    /// Lines made durable as dead letters.
    pub fn events_dead_lettered(&self) -> u64 {
        self.dead_letters.values().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_goes_on_is_said_once_a_minute() {
        let (reminder, began) = (Reminder::default(), Instant::now());
        let due = [0, 1, 59, 60, 61, 119, 120]
            .map(|seconds| reminder.is_due(began + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn a_stage_is_stuck_when_one_thing_takes_it_too_long() {
        let vitals = Vitals::default();
        let (committer, packer) = (vitals.stage("committer"), vitals.stage("pack-0"));
        drop(packer.beat());
        let beat = committer.beat();
        while committer.busy_for() < Some(Duration::from_millis(1)) {
            std::hint::spin_loop();
        }
        assert_eq!(vitals.stuck_for(Duration::ZERO), ["committer"]);
        assert!(vitals.stuck_for(Duration::from_secs(60)).is_empty());
        drop(beat);
        assert!(vitals.stuck_for(Duration::ZERO).is_empty());
        assert_eq!(packer.busy_for(), None);
    }

    #[test]
    fn a_stage_that_waits_for_others_is_not_stuck_and_begins_anew_behind_the_wait() {
        let pulse = Pulse::default();
        drop(pulse.rest());
        pulse.go_on();
        assert_eq!(pulse.busy_for(), None);
        let beat = pulse.beat();
        let wait = || {
            while pulse.busy_for() < Some(Duration::from_millis(5)) {
                std::hint::spin_loop();
            }
        };
        wait();
        let rest = pulse.rest();
        assert_eq!(pulse.busy_for(), None);
        drop(rest);
        assert!(pulse.busy_for() < Some(Duration::from_millis(5)));
        wait();
        pulse.go_on();
        assert!(pulse.busy_for() < Some(Duration::from_millis(5)));
        drop(beat);
        assert_eq!(pulse.busy_for(), None);
    }

    #[test]
    fn one_of_many_connections_is_stuck_whatever_the_others_do() {
        let pulse = Pulse::default();
        let stuck = pulse.beat();
        let busy = || pulse.busy_for().unwrap_or_default();
        while busy() < Duration::from_millis(5) {
            drop(pulse.beat());
        }
        // More than can be watched change nothing of it.
        let others: Vec<_> = (0..10).map(|_| pulse.beat()).collect();
        assert!(busy() >= Duration::from_millis(5));
        drop(stuck);
        assert!(pulse.busy_for().is_some());
        drop(others);
        assert_eq!(pulse.busy_for(), None);
    }

    #[test]
    fn a_stage_that_has_ended_is_not_stuck() {
        let vitals = Vitals::default();
        let source = vitals.stage("source/app");
        std::mem::forget(source.beat());
        while source.busy_for() < Some(Duration::from_millis(1)) {
            std::hint::spin_loop();
        }
        assert_eq!(vitals.stuck_for(Duration::ZERO), ["source/app"]);
        drop(source);
        assert!(vitals.stuck_for(Duration::ZERO).is_empty());
    }
}
