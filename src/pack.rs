//! Turns lines into request bodies.
//!
//! [`batcher`] cuts the chunks of each meter into groups that fit one request; [`packer`], a
//! pure function of a group and an instant, makes a gzipped JSON array and dead letters of a group.
//! Where a source has a mapping, a [`mapper`] makes events of its lines before: [`decode`] finds the
//! values, [`select`] asks whether they are usage, [`map`] writes the event, or the program of the source does. [`stored`] looks at bodies again when the
//! schema has changed. [`run`] is one of N
//! equal workers between the two channels.

pub mod batcher;
pub mod datetime;
pub mod decimal;
pub mod decode;
pub mod edits;
pub mod event_id;
pub mod guards;
pub mod json;
pub mod map;
pub mod mapper;
pub mod packer;
pub mod record;
pub mod route;
pub mod select;
pub mod stored;
#[cfg(test)]
mod testing;
pub mod text;
#[cfg(feature = "vrl")]
pub mod transform;
pub mod validate;

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::body;
use crate::breaker::{Found, Judged};
use crate::clock::Timestamp;
use crate::group::{Group, PackedGroup, SourceTally};
use crate::telemetry::Pulse;

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

/// Packs groups until there are no more. Workers finish groups in any order; their numbers tell
/// the committer the right one.
pub fn run(
    compression_level: u32,
    groups: &Receiver<Group>,
    packed: &Sender<PackedGroup>,
    pulse: &Pulse,
) -> Result<(), body::Error> {
    let mut worker = packer::Packer::new(compression_level);
    for group in groups {
        let beat = pulse.beat();
        let commit = worker.pack(&group, Timestamp::now())?;
        tell_breakers(&group, &commit.tallies);
        // The lines are not needed any more: their buffers go back to the pool before the commit.
        drop(group);
        drop(beat);
        if packed.send(commit).is_err() {
            break;
        }
    }
    Ok(())
}

/// Tells each source of `group` what was found in its lines, once.
fn tell_breakers(group: &Group, tallies: &[SourceTally]) {
    // Lines of one group fit a u32, whatever was configured.
    let count = |lines: u64| u32::try_from(lines).unwrap_or(u32::MAX);
    let mut told: Vec<&str> = Vec::new();
    for slice in &group.slices {
        let source = &slice.chunk.stream.source;
        let name = &source.name;
        // Of requests that were refused nothing is counted.
        let is_counted = tallies.iter().any(|tally| tally.source == *name);
        if !is_counted || told.contains(&&**name) {
            continue;
        }
        told.push(name);
        let tallies = || tallies.iter().filter(|tally| tally.source == *name);
        let lines = count(tallies().map(|tally| tally.read.saturating_sub(tally.ignored)).sum());
        let invalid = count(tallies().map(|tally| tally.dead_lettered).sum());
        // A line may hold several records; the breaker let lines through.
        let slices = group.slices.iter().filter(|slice| slice.chunk.stream.source.name == *name);
        let read = slices.map(|slice| u64::from(slice.lines)).sum();
        source.breaker.note(Judged { read, found: Found { lines, invalid } });
    }
}
