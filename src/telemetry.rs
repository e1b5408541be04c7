//! Counters that every stage may write and everybody may read.
//!
//! They count since the start of the process and are for eyes and metrics only; what money
//! rests on are the tallies in the store.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// What one source did.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// Lines that left the source, good and bad.
    pub lines_read: Counter,
    /// Bytes of those lines.
    pub bytes_read: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections turned away because of the limit.
    pub connections_refused: Counter,
}

/// What was done for one meter.
#[derive(Debug, Default)]
pub struct MeterCounters {
    /// Events made durable.
    pub events_stored: Counter,
    /// Lines made durable as dead letters.
    pub events_dead_lettered: Counter,
    /// Events with a committed receipt.
    pub events_delivered: Counter,
    /// Requests that left.
    pub requests: Counter,
    /// Requests whose outcome is not known.
    pub unknown_outcomes: Counter,
    /// Bytes of bodies sent.
    pub wire_bytes: Counter,
}
