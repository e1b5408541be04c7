//! Turns groups of lines into request bodies.

use std::time::Duration;

/// The settings of batching and packing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest time that a line waits for company.
    pub linger_max: Duration,
    /// gzip level, 1 to 9.
    pub compression_level: u32,
    /// Worker threads, at least 1.
    pub workers: usize,
}
