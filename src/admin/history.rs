//! The last hour in numbers: a ring that is filled while nobody looks, so that a page that is
//! opened now shows what was.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::store::tallies::Status;

/// From one sample to the next.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Samples of an hour: some 30 KB.
const SAMPLES_MAX: usize = 720;

/// A look that comes so much early for its sample is taken all the same.
const EARLY: Duration = Duration::from_millis(500);

/// What is told as the present rate is the mean of so long a time: batches come in lumps.
const RATE_TIME: Duration = Duration::from_secs(10);

/// What was counted at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When, for differences.
    pub instant: Instant,
    /// When, for people.
    pub at: Timestamp,
    read: i64,
    delivered: i64,
    stored: i64,
    oldest_seconds: f64,
}

impl Reading {
    /// What `status` counts.
    pub fn new(status: &Status, instant: Instant, at: Timestamp) -> Self {
        let ages = status.meters.values().map(|meter| meter.oldest_undelivered_seconds);
        Self {
            instant,
            at,
            read: status.equation.read,
            delivered: status.equation.delivered,
            stored: status.equation.stored,
            oldest_seconds: ages.fold(0.0, f64::max),
        }
    }

    /// Events a second from `before` to this.
    fn rates_since(&self, before: &Self) -> Option<Rates> {
        let seconds = self.instant.checked_duration_since(before.instant)?.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 events come in an hour")]
        let rate = |now: i64, then: i64| (now - then).max(0) as f64 / seconds;
        (seconds > 0.0).then(|| Rates {
            read: rate(self.read, before.read),
            delivered: rate(self.delivered, before.delivered),
        })
    }
}

/// Events a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Lines that were read and committed.
    pub read: f64,
    /// Events that were delivered.
    pub delivered: f64,
}

/// A point of the charts: rates since the one before, and what waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Since the one before.
    pub rates: Rates,
    /// Events that wait.
    pub stored: i64,
    /// The age of the oldest of them.
    pub oldest_seconds: f64,
}

impl Serialize for Sample {
    /// `[milliseconds since 1970, read a second, delivered a second, waiting, age of the oldest]`,
    /// in tenths: there are hundreds of them in a document.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let Rates { read, delivered } = self.rates;
        let (read, delivered) = (tenths(read), tenths(delivered));
        let oldest = tenths(self.oldest_seconds);
        (self.at.as_millis(), read, delivered, self.stored, oldest).serialize(serializer)
    }
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    sampled: Option<Reading>,
    /// Readings of the last [`RATE_TIME`]: at most one for each second of it.
    recent: VecDeque<Reading>,
}

impl History {
    /// Adds a reading; gives the present rates, where there is something to compare with.
    pub fn add(&mut self, reading: Reading) -> Option<Rates> {
        let age = |of: &Reading| reading.instant.saturating_duration_since(of.instant);
        if self.sampled.is_none_or(|before| age(&before) + EARLY >= INTERVAL) {
            if let Some(rates) = self.sampled.and_then(|before| reading.rates_since(&before)) {
                let Reading { at, stored, oldest_seconds, .. } = reading;
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { at, rates, stored, oldest_seconds });
            }
            self.sampled = Some(reading);
        }
        // One is kept however old: looks may be far apart.
        while self.recent.len() > 1 && self.recent.front().is_some_and(|of| age(of) > RATE_TIME) {
            self.recent.pop_front();
        }
        let rates = self.recent.front().and_then(|before| reading.rates_since(before));
        self.recent.push_back(reading);
        rates
    }

    /// All samples, the oldest first.
    pub fn all(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }

    /// The last `count` of them, the oldest first.
    pub fn last(&self, count: usize) -> Vec<Sample> {
        let before = self.samples.len().saturating_sub(count);
        self.samples.iter().skip(before).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(begin: Instant, seconds: u64, read: i64) -> Reading {
        let instant = begin + Duration::from_secs(seconds);
        let at = Timestamp::from_millis(i64::try_from(seconds).unwrap_or(0) * 1000);
        let (delivered, stored) = (read / 2, read - read / 2);
        Reading { instant, at, read, delivered, stored, oldest_seconds: 1.26 }
    }

    #[test]
    fn rates_are_means_of_ten_seconds_and_samples_come_every_five() {
        let (begin, mut history) = (Instant::now(), History::default());
        assert_eq!(history.add(reading(begin, 0, 100)), None);
        for second in 1..=20 {
            let read = 100 + 10 * i64::try_from(second).unwrap_or(0);
            let rates = history.add(reading(begin, second, read));
            assert_eq!(rates, Some(Rates { read: 10.0, delivered: 5.0 }));
        }
        let told = serde_json::to_string(&history.all()).unwrap_or_default();
        assert_eq!(
            told,
            "[[5000,10.0,5.0,75,1.3],[10000,10.0,5.0,100,1.3],\
             [15000,10.0,5.0,125,1.3],[20000,10.0,5.0,150,1.3]]"
        );
        assert_eq!(history.last(1).len(), 1);
        // A standstill is seen at once, and told as one after ten seconds.
        let rates = history.add(reading(begin, 40, 300));
        assert_eq!(rates, Some(Rates { read: 0.0, delivered: 0.0 }));
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (begin, mut history) = (Instant::now(), History::default());
        (0..2000).for_each(|look| {
            history.add(reading(begin, look * 5, 0));
        });
        assert_eq!(history.all().len(), SAMPLES_MAX);
        assert!(history.recent.len() <= 4, "{}", history.recent.len());
        assert_eq!(history.all().last().map(|last| last.at.as_millis()), Some(1999 * 5000));
    }
}
