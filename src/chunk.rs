//! What sources hand over: runs of whole lines exactly as they were read.
//!
//! A chunk crosses channels, never a line: a message per line costs ten times more.

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::breaker::Breaker;
use crate::dead_letter::Reason;
use crate::mapping::Mapping;
use crate::meter::Meter;
use crate::notice::Notice;
use crate::position::{BytesHash, FileMark, Numbering, Origin, TAIL_BYTES_MAX};
use crate::routing::Destination;
use crate::telemetry::SourceCounters;

/// How many bytes a buffer of the pool holds: 256 KiB, about 2,000 events of 115 bytes, so
/// that the price of a hand-over is shared by many lines and a core's cache still holds it.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// A configured source, as everything behind it sees it.
#[derive(Debug)]
pub struct SourceTag {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The meter that its events are for, or how it is found.
    pub destination: Destination,
    /// How its lines become events; none: each of them is one, in JSON.
    pub mapping: Option<Arc<Mapping>>,
    /// What it did since the start.
    pub counters: Arc<SourceCounters>,
    /// Whether its lines are taken.
    pub breaker: Breaker,
}

impl SourceTag {
    /// A source of events in JSON that nothing holds.
    pub fn new(name: impl Into<Arc<str>>, destination: impl Into<Destination>) -> Self {
        let (counters, breaker) = (Arc::default(), Breaker::default());
        let destination = destination.into();
        Self { name: name.into(), destination, mapping: None, counters, breaker }
    }

    /// The same source, where it takes events for another meter.
    #[must_use]
    pub fn for_meter(&self, meter: Arc<Meter>) -> Self {
        Self { counters: Arc::clone(&self.counters), ..Self::new(Arc::clone(&self.name), meter) }
    }
}

/// One run of lines along which positions count: a generation of a file, a connection, a
/// standard input.
#[derive(Debug)]
pub struct Stream {
    /// Where it belongs.
    pub source: Arc<SourceTag>,
    /// The constant part of its event ids.
    pub origin: Origin,
    /// The path or the peer's address, for people.
    pub label: String,
    /// What positions count.
    pub numbering: Numbering,
    /// Its first line without its end, where that names the columns of the others. Known before
    /// the first group with a line of the stream is packed.
    pub header: OnceLock<Vec<u8>>,
}

impl Stream {
    /// The position as dead letters show it: `path:offset` or `peer#line`.
    pub fn describe(&self, position: u64) -> String {
        match self.numbering {
            Numbering::ByteOffset => format!("{}:{position}", self.label),
            Numbering::LineNumber => format!("{}#{position}", self.label),
        }
    }

    /// Whether its first line names the columns of the others.
    pub fn has_header(&self) -> bool {
        self.source.mapping.as_ref().is_some_and(|mapping| mapping.has_header())
    }

    /// Notes the first line of `bytes`, with which the stream begins, as its header.
    pub fn learn_header(&self, bytes: &[u8]) {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Known already: it is the same line.
        let _ = self.header.set(line.to_vec());
    }
}

/// A line that cannot become an event, found while cutting lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// What is wrong with it.
    pub reason: Reason,
    /// Bytes of the whole line, its end not counted.
    pub length: u64,
    /// Its first bytes, as many as are kept.
    pub excerpt: Vec<u8>,
    /// The last bytes before the position after it, line end included.
    pub tail: Vec<u8>,
}

/// What a chunk holds.
#[derive(Debug)]
pub enum Content {
    /// Whole lines, each with its `\n`.
    Lines(Buffer),
    /// One line that cannot become an event.
    Fault(LineFault),
}

/// A run of whole lines of one stream.
#[derive(Debug)]
pub struct Chunk {
    /// Whose lines.
    pub stream: Arc<Stream>,
    /// The position of the first line.
    pub first: u64,
    /// The position behind the last line.
    pub end: u64,
    /// How many lines it holds; none: it only moves the cursor.
    pub lines: u64,
    /// The lines.
    pub content: Content,
    /// For a file: what its cursor records beside the offset.
    pub file: Option<Box<FileMark>>,
    /// The chunk's share of the intake, given back when the last group that holds some of it
    /// has been committed.
    pub permit: Option<Arc<Share>>,
    /// Who wants to hear that it is durable.
    pub notice: Option<Notice>,
}

/// What a chunk takes of the intake; given back when dropped.
#[derive(Debug)]
pub struct Share {
    _permit: OwnedSemaphorePermit,
    /// Tells by its end that of the chunk nothing is under way any more.
    _trace: Option<mpsc::Sender<Infallible>>,
}

impl Share {
    /// A share of the room that `permit` stands for.
    pub fn new(permit: OwnedSemaphorePermit, trace: Option<mpsc::Sender<Infallible>>) -> Self {
        Self { _permit: permit, _trace: trace }
    }
}

impl Chunk {
    /// Notes the first line of the stream where that names the columns of the others. To be called
    /// while chunks are in their order, and before anything of the stream is packed.
    pub fn learn_header(&self) {
        if let Content::Lines(lines) = &self.content
            && self.first == 0
            && self.stream.has_header()
        {
            self.stream.learn_header(lines);
        }
    }

    /// The bytes of the file just before `end`, as a cursor records them. `end` lies behind a
    /// line of the chunk.
    ///
    /// Of what is in the file: a source may have given the last line its end.
    pub fn tail_at(&self, end: u64) -> BytesHash {
        let bytes = match &self.content {
            // It only moves the cursor.
            Content::Lines(lines) if lines.is_empty() => {
                return self.file.as_ref().map(|file| file.tail).unwrap_or_default();
            }
            Content::Lines(lines) => {
                let length = usize::try_from(end - self.first).unwrap_or(usize::MAX);
                lines.get(..length).unwrap_or(lines)
            }
            Content::Fault(fault) => &fault.tail,
        };
        let start = bytes.len().saturating_sub(TAIL_BYTES_MAX);
        BytesHash::of(bytes.get(start..).unwrap_or_default())
    }
}

/// A growable byte buffer that goes back to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Option<Sender<Vec<u8>>>,
}

impl From<Vec<u8>> for Buffer {
    /// A buffer without a pool.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, home: None }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A buffer that grew for one long line is not kept: the pool's memory stays bounded.
        if let Some(home) = &self.home
            && bytes.capacity() <= 2 * CHUNK_BYTES
        {
            // A full pool lets it go; a pool that is gone has no use for it.
            let _ = home.try_send(bytes);
        }
    }
}

/// Buffers that are used again, so that reading at full speed costs no page faults.
#[derive(Debug, Clone)]
pub struct BufferPool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl BufferPool {
    /// A pool that keeps at most `buffers_max` idle buffers.
    pub fn new(buffers_max: usize) -> Self {
        let (give, take) = crossbeam_channel::bounded(buffers_max);
        Self { give, take }
    }

    /// An empty buffer with room for [`CHUNK_BYTES`]. Its bytes past the length may be old.
    pub fn take(&self) -> Buffer {
        let mut bytes = self.take.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES));
        bytes.clear();
        Buffer { bytes, home: Some(self.give.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(1);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"line\n");
        let place = buffer.as_ptr();
        drop(buffer);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn a_buffer_that_grew_is_let_go() {
        let pool = BufferPool::new(1);
        let mut buffer = pool.take();
        buffer.reserve(4 * CHUNK_BYTES);
        drop(buffer);
        assert!(pool.take().capacity() < 4 * CHUNK_BYTES);
    }
}
