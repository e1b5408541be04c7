//! What a store holds, in the simplest way.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Books {
    /// By number.
    pub(super) batches: BTreeMap<i64, Batch>,
    pub(super) letters: BTreeMap<i64, Letter>,
    pub(super) receipts: BTreeMap<i64, Paid>,
    pub(super) read: i64,
    pub(super) delivered: i64,
    pub(super) ignored: i64,
    pub(super) discarded: i64,
    /// Where the file of each source stands.
    pub(super) offsets: [u64; 2],
    pub(super) schemas: BTreeMap<String, ([u8; 32], String)>,
    /// Lanes that are held.
    pub(super) lanes: BTreeSet<String>,
    /// Sources that are held.
    pub(super) sources: BTreeSet<String>,
    /// The last numbers that were given to a batch and to a letter.
    pub(super) last_batch: i64,
    pub(super) last_letter: i64,
    /// Requests of a lane that may be under way at one time.
    pub(super) window: u32,
}

/// A batch that waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub(super) meter: String,
    /// Not compared: only what becomes of the batch shows it.
    pub(super) source: String,
    pub(super) events: u32,
    pub(super) attempts: u32,
    pub(super) unknown: u32,
    pub(super) decided: u32,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.events, it.attempts, it.unknown, it.decided);
        self.meter == other.meter && of(self) == of(other)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Letter {
    pub(super) meter: String,
    pub(super) source: String,
    pub(super) attempts: u32,
    pub(super) unknown: u32,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paid {
    pub(super) events: u32,
    pub(super) attempts: u32,
    pub(super) unknown: u32,
    pub(super) at: Timestamp,
}

impl Books {
    pub(super) fn dead(&self) -> i64 {
        i64::try_from(self.letters.len()).unwrap_or(i64::MAX)
    }

    pub(super) fn stored(&self) -> i64 {
        self.batches.values().map(|batch| i64::from(batch.events)).sum()
    }

    pub(super) fn add_batch(&mut self, batch: Batch) {
        self.last_batch += 1;
        self.batches.insert(self.last_batch, batch);
    }

    pub(super) fn add_letter(&mut self, letter: Letter) {
        self.last_letter += 1;
        self.letters.insert(self.last_letter, letter);
    }

    /// The number of the `nth` batch, counted around.
    pub(super) fn nth(&self, nth: usize) -> Option<i64> {
        self.batches.keys().nth(nth % self.batches.len().max(1)).copied()
    }

    /// A receipt takes the place of `batch`.
    pub(super) fn deliver(&mut self, batch: i64, attempts: u32, at: Timestamp) {
        if let Some(Batch { events, unknown, .. }) = self.batches.remove(&batch) {
            self.delivered += i64::from(events);
            self.receipts.insert(batch, Paid { events, attempts, unknown, at });
        }
    }

    /// As many batches of each meter as may have been under way have one more unknown outcome.
    pub(super) fn mark_unknown(&mut self) -> usize {
        let mut marked: BTreeMap<String, u32> = BTreeMap::new();
        let mut count = 0;
        for batch in self.batches.values_mut() {
            let of_meter = marked.entry(batch.meter.clone()).or_default();
            if *of_meter < self.window {
                *of_meter += 1;
                count += 1;
                batch.attempts += 1;
                batch.unknown += 1;
            }
        }
        count
    }
}
