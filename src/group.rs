//! The unit of atomic commit: lines with one destination, no more than fit one request, and what
//! becomes of them. Where records name their meters, a group has bodies of several.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::{Chunk, Share};
use crate::dead_letter::DeadLetter;
use crate::notice::Notice;
use crate::position::{Cursor, Origin};
use crate::quantity::Quantity;
use crate::routing::Destination;
use crate::schema::edition::Hash;

/// Some whole lines of a chunk.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Where the lines are.
    pub chunk: Arc<Chunk>,
    /// Which bytes; empty when the chunk holds a fault.
    pub range: Range<usize>,
    /// The position of the first line.
    pub first: u64,
    /// The position behind the last line.
    pub end: u64,
    /// How many lines.
    pub lines: u32,
}

/// Lines with one destination.
#[derive(Debug)]
pub struct Group {
    /// Its place in the order of commits: 0, 1, 2 ...
    pub number: u64,
    /// Where their events go.
    pub destination: Destination,
    /// The lines, in the order in which they were read.
    pub slices: Vec<Slice>,
}

/// The frozen body of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBatch {
    /// The name of the meter that its events are for.
    pub meter: Arc<str>,
    /// The edition of that meter's schema that they were validated with; none: it has none.
    pub schema: Option<Hash>,
    /// A JSON array of events, gzipped.
    pub body: Bytes,
    /// SHA-256 of `body`.
    pub sha256: [u8; 32],
    /// Events in it, at least 1.
    pub events: u32,
    /// Bytes of the array before compression.
    pub payload_bytes: u64,
    /// The id of its first event, where ids are stamped or found.
    pub first_event_id: Option<String>,
    /// The id of its last event.
    pub last_event_id: Option<String>,
    /// The sum of its events' quantities; none: there is none, or it is not known.
    pub quantity: Option<Quantity>,
}

/// What one group counted of one source and meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTally {
    /// The source.
    pub source: Arc<str>,
    /// The meter's name; empty for lines of which no meter is known.
    pub meter: Arc<str>,
    /// Lines read, good and bad.
    pub read: u64,
    /// Lines that became dead letters.
    pub dead_lettered: u64,
    /// Blank lines, which are no events.
    pub ignored: u64,
}

/// A group after packing: everything that its commit writes.
#[derive(Debug)]
pub struct PackedGroup {
    /// Its place in the order of commits.
    pub number: u64,
    /// Where their events go.
    pub destination: Destination,
    /// The bodies; usually one a meter, none when no event is good.
    pub batches: Vec<PackedBatch>,
    /// The lines that are no events.
    pub dead_letters: Vec<DeadLetter>,
    /// Where each file stands once the group is committed.
    pub cursors: Vec<(Arc<str>, Cursor)>,
    /// What was read, by source and meter.
    pub tallies: Vec<SourceTally>,
    /// Whose event ids are in it, each with its source; kept of meters that can be reconciled.
    pub origins: Vec<(Arc<str>, Origin)>,
    /// The chunks' shares of the intake, given back after the commit.
    pub permits: Vec<Arc<Share>>,
    /// Of the chunks whose last line is in the group: who hears of the commit.
    pub notices: Vec<Notice>,
}

#[cfg(test)]
impl PackedGroup {
    /// A group of one body, of `events` events for `meter` from a source `s`.
    pub(crate) fn of_body(
        meter: &Arc<crate::meter::Meter>,
        body: Bytes,
        events: u32,
        payload_bytes: u64,
    ) -> Self {
        use sha2::Digest as _;

        let batch = PackedBatch {
            meter: Arc::clone(&meter.name),
            schema: None,
            sha256: sha2::Sha256::digest(&body).into(),
            body,
            events,
            payload_bytes,
            first_event_id: None,
            last_event_id: None,
            quantity: None,
        };
        let (source, read) = ("s".into(), events.into());
        let of_meter = Arc::clone(&meter.name);
        let tally = SourceTally { source, meter: of_meter, read, dead_lettered: 0, ignored: 0 };
        Self {
            number: 0,
            destination: Arc::clone(meter).into(),
            batches: vec![batch],
            dead_letters: Vec::new(),
            cursors: Vec::new(),
            tallies: vec![tally],
            origins: Vec::new(),
            permits: Vec::new(),
            notices: Vec::new(),
        }
    }
}
