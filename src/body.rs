//! The frozen body of a request: a JSON array of events, gzipped while it grows, and cut again
//! when the far end refuses it.
//!
//! Events are collected in a piece that fits a core's cache and compressed from there, so the
//! array as a whole never stands in memory. Equal events give equal bytes: the gzip header holds
//! no time and no name. An event is never changed here, only moved.

mod cut;
mod deflate;
mod gzip;
mod huffman;

pub use cut::{Counted, CutError, Event, Fields, Half, each, event_at, halves};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use self::gzip::Gzip;

/// How many bytes are collected before they are compressed.
const PIECE_BYTES: usize = 64 * 1024;

/// The compressor did not take its input. It fails only when memory was misused.
#[derive(Debug, thiserror::Error)]
#[error("gzip failed")]
pub struct Error(#[from] flate2::CompressError);

/// A JSON array of events on its way to a gzip body.
#[derive(Debug)]
pub struct ArrayWriter {
    gzip: Gzip,
    /// What is to be compressed, behind what the compressor still has to see.
    piece: Vec<u8>,
    /// Bytes of `piece` that are compressed.
    done: usize,
    output: Vec<u8>,
    /// Where in `piece` the element begins that is being written.
    mark: usize,
    events: u32,
    payload_bytes: u64,
}

/// A finished array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The gzip stream.
    pub bytes: Bytes,
    /// SHA-256 of it.
    pub sha256: [u8; 32],
    /// Elements of the array.
    pub events: u32,
    /// Bytes of the array before compression.
    pub payload_bytes: u64,
}

impl ArrayWriter {
    /// A writer at gzip `level` 1 to 9. Its buffers are used again for every array.
    pub fn new(level: u32) -> Self {
        Self {
            gzip: Gzip::new(level),
            piece: Vec::with_capacity(2 * PIECE_BYTES),
            done: 0,
            output: Vec::new(),
            mark: 0,
            events: 0,
            payload_bytes: 0,
        }
    }

    /// Forgets what was written and begins an array.
    pub fn begin(&mut self) {
        self.piece.clear();
        self.done = 0;
        self.output.clear();
        self.gzip.begin(&mut self.output);
        self.events = 0;
        self.payload_bytes = 0;
    }

    /// Elements written so far.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Bytes that the array would have if it ended here.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes + (self.piece.len() - self.done) as u64 + 1
    }

    /// Where the bytes of the next element go; [`ArrayWriter::end_event`] or
    /// [`ArrayWriter::cancel_event`] must follow.
    #[inline]
    pub fn begin_event(&mut self) -> &mut Vec<u8> {
        self.mark = self.piece.len();
        self.piece.push(if self.events == 0 { b'[' } else { b',' });
        &mut self.piece
    }

    /// Closes the element.
    #[inline]
    pub fn end_event(&mut self) -> Result<(), Error> {
        self.events += 1;
        let is_full = self.piece.len() - self.done >= PIECE_BYTES;
        if is_full { self.compress_piece(false) } else { Ok(()) }
    }

    /// Takes the element back that was begun last and not ended.
    pub fn cancel_event(&mut self) {
        self.piece.truncate(self.mark);
    }

    /// Ends the array, which has at least one element.
    pub fn finish(&mut self) -> Result<Body, Error> {
        self.piece.push(b']');
        self.compress_piece(true)?;
        Ok(Body {
            bytes: Bytes::copy_from_slice(&self.output),
            sha256: Sha256::digest(&self.output).into(),
            events: self.events,
            payload_bytes: self.payload_bytes,
        })
    }

    fn compress_piece(&mut self, is_last: bool) -> Result<(), Error> {
        self.payload_bytes += (self.piece.len() - self.done) as u64;
        self.gzip.append(&mut self.piece, self.done, is_last, &mut self.output)?;
        self.done = self.piece.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn write(writer: &mut ArrayWriter, events: &[String]) -> Result<Body, Error> {
        writer.begin();
        for event in events {
            writer.begin_event().extend_from_slice(event.as_bytes());
            writer.end_event()?;
        }
        writer.finish()
    }

    #[test]
    fn an_array_comes_back_as_it_was_and_a_used_writer_writes_the_same() -> Result<(), Error> {
        let events: Vec<String> =
            (0..20_000).map(|index| format!("{{\"n\":{}}}", index * 7919 % 10_007)).collect();
        for level in [1, 2, 3, 9] {
            check(&mut ArrayWriter::new(level), &events)?;
        }
        Ok(())
    }

    fn check(writer: &mut ArrayWriter, events: &[String]) -> Result<(), Error> {
        let first = write(writer, events)?;
        let other = write(writer, &["1".to_owned()])?;
        let again = write(writer, events)?;
        assert_eq!(first, again);
        assert_eq!((other.events, other.payload_bytes), (1, 3));
        let mut text = String::new();
        let read = flate2::read::GzDecoder::new(first.bytes.as_ref()).read_to_string(&mut text);
        assert!(read.is_ok());
        assert_eq!(text, format!("[{}]", events.join(",")));
        assert_eq!(first.payload_bytes, text.len() as u64);
        Ok(())
    }
}
