//! How far one generation of a file has been read, and the reading.
//!
//! Every read begins with the last bytes that were read before, up to 64, and ends with a look
//! at the first bytes of the file. As long as both are what they were, the bytes between are the
//! file's own: a file that was truncated and has grown past the old offset since is noticed, and
//! no moment between two system calls is left open, because data that were read *before* the
//! first bytes were seen unchanged cannot be of a later content.
//!
//! No bytes are kept between two reads: an unfinished line is read again from its start.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use memchr::memrchr;

use crate::chunk::{Buffer, CHUNK_BYTES, Content};
use crate::clock::Timestamp;
use crate::dead_letter::Reason;
use crate::position::{BytesHash, Cursor, FileIdentity, FileMark, Origin};
use crate::position::{PREFIX_BYTES_MAX, TAIL_BYTES_MAX};
use crate::source::file::bytes::{ReadAt, end_of_lines, last_bytes, read_at, read_before};
use crate::source::file::identity::origin_of;
use crate::source::lines::{Cut, Discarded, cut};
use crate::source::{Context, right_sized};

/// How many first bytes are kept to find files that begin alike without reading them all.
pub(in crate::source) const HEAD_BYTES_MAX: usize = 256;

/// Where reading stands in a file.
#[derive(Debug, Clone)]
pub(in crate::source) struct Place {
    /// Which file.
    pub(in crate::source) identity: FileIdentity,
    /// Which of its contents.
    pub(in crate::source) generation: u32,
    /// The origin of its lines; not known before the first line is whole.
    pub(in crate::source) origin: Option<Origin>,
    /// Where the next line begins.
    pub(in crate::source) offset: u64,
    /// Its first bytes, all before `offset`.
    pub(in crate::source) prefix: BytesHash,
    /// The bytes just before `offset`.
    pub(in crate::source) tail: BytesHash,
    /// Its very first bytes, as far as they were seen; at most [`HEAD_BYTES_MAX`].
    pub(in crate::source) head: Vec<u8>,
    /// When the file was last written to, as far as was seen.
    pub(in crate::source) written_at: Timestamp,
    /// Of a compressed file: its size when it was read to its end, 0 before. None: it is plain.
    pub(in crate::source) packed_bytes: Option<u64>,
    /// The line at `offset` when it is too long.
    discarded: Option<Discarded>,
}

/// Whole lines of a file, or one that is too long.
#[derive(Debug)]
pub(in crate::source) struct Piece {
    /// What was read.
    pub(in crate::source) content: Content,
    /// The offset of its first byte.
    pub(in crate::source) first: u64,
    /// The offset behind its last byte.
    pub(in crate::source) end: u64,
    /// How many lines.
    pub(in crate::source) lines: u64,
}

/// What one read found.
#[derive(Debug)]
pub(in crate::source) enum Step {
    /// Lines; the place stands behind them.
    Piece(Piece),
    /// More of a line that is too long; its end is still to come.
    Discarding,
    /// Nothing but, perhaps, the start of a line.
    Waiting,
    /// Not the content that was read before.
    Changed,
}

impl From<&Cursor> for Place {
    fn from(cursor: &Cursor) -> Self {
        Self {
            identity: cursor.file.identity,
            generation: cursor.file.generation,
            origin: Some(cursor.origin),
            offset: cursor.offset,
            prefix: or_nothing(cursor.file.prefix),
            tail: or_nothing(cursor.tail),
            head: Vec::new(),
            written_at: cursor.file.written_at,
            packed_bytes: cursor.file.packed_bytes,
            discarded: None,
        }
    }
}

impl Place {
    /// The start of a file that was never read.
    pub(in crate::source) fn new(identity: FileIdentity) -> Self {
        let nothing = BytesHash::of(&[]);
        Self {
            identity,
            generation: 0,
            origin: None,
            offset: 0,
            prefix: nothing,
            tail: nothing,
            head: Vec::new(),
            written_at: Timestamp::default(),
            packed_bytes: None,
            discarded: None,
        }
    }

    /// The start of the content that took the place of this one.
    pub(in crate::source) fn next_generation(&self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            written_at: self.written_at,
            packed_bytes: self.packed_bytes.map(|_| 0),
            ..Self::new(self.identity)
        }
    }

    /// The same place of the same content in another file, its copy.
    pub(in crate::source) fn in_copy(&self, identity: FileIdentity) -> Self {
        Self { identity, discarded: None, packed_bytes: None, ..self.clone() }
    }

    /// This place in `file`, which is `identity`, where that is the same one on a device whose number has changed,
    /// as it may with each mount. Only without a birth time is it taken for another file; its inode number
    /// and what was read of it tell.
    pub(in crate::source) fn on_another_device(
        &self,
        identity: FileIdentity,
        file: &impl ReadAt,
    ) -> Option<Self> {
        let before = FileIdentity { device: identity.device, ..self.identity };
        let is_moved = identity == before && identity != self.identity;
        let is_unborn = identity.born_nanos.is_none();
        if !is_moved || !is_unborn || self.offset == 0 || self.packed_bytes.is_some() {
            return None;
        }
        let mut place = self.in_copy(identity);
        place.is_in(file).ok()?.then_some(place)
    }

    /// What the file's chunks carry while it is at `path`.
    pub(in crate::source) fn mark(&self, path: PathBuf) -> FileMark {
        FileMark {
            identity: self.identity,
            generation: self.generation,
            path,
            prefix: self.prefix,
            tail: self.tail,
            written_at: self.written_at,
            packed_bytes: self.packed_bytes,
            is_forgotten: false,
        }
    }

    /// The origin of a file of which no line was seen yet.
    pub(in crate::source) fn origin_without_lines(&self, context: &Context) -> Origin {
        origin_of(context, self.identity, self.generation, &[])
    }

    /// Where the next read begins, after what was read of a line that is too long.
    pub(in crate::source) fn position(&self) -> u64 {
        self.offset + self.discarded.as_ref().map_or(0, Discarded::bytes)
    }

    /// Whether `file` holds what was read of it, as far as its first and last bytes tell.
    pub(in crate::source) fn is_in(&mut self, file: &impl ReadAt) -> io::Result<bool> {
        if !self.tail_is_in(file)? {
            return Ok(false);
        }
        let head = self.look_at_head(file, self.prefix.len.into())?;
        if let Some(head) = &head {
            self.learn(head);
        }
        Ok(head.is_some())
    }

    fn tail_is_in(&self, file: &impl ReadAt) -> io::Result<bool> {
        let len = (self.tail.len as usize).min(usize::try_from(self.offset).unwrap_or(usize::MAX));
        let before = read_at(file, self.offset - len as u64, len)?;
        Ok(BytesHash::of(&before) == self.tail)
    }

    /// Reads the next lines of `file`.
    pub(in crate::source) fn read(
        &mut self,
        file: &impl ReadAt,
        context: &Context,
        line_bytes_max: usize,
    ) -> io::Result<Step> {
        let mut buffer = context.intake.buffer();
        let cut = loop {
            let Some(is_full) = self.load(file, &mut buffer)? else { return Ok(Step::Changed) };
            if self.discarded.is_some() {
                break Cut::PartialTooLong;
            }
            match cut(&buffer, line_bytes_max) {
                // A line that fills the buffer: the limit of a line bounds how far it grows.
                Cut::Partial if is_full => {
                    let most = line_bytes_max.saturating_add(1 + TAIL_BYTES_MAX);
                    let capacity = buffer.capacity().saturating_mul(2).min(most);
                    buffer.clear();
                    buffer.reserve_exact(capacity.max(CHUNK_BYTES));
                }
                cut => break cut,
            }
        };
        match cut {
            Cut::Lines { bytes, lines } => self.take_lines(file, context, buffer, bytes, lines),
            Cut::Partial => self.wait(file),
            Cut::TooLong | Cut::PartialTooLong => self.discard(file, context, &buffer),
        }
    }

    /// The last line of a file that ends without `\n`, which it is given; for files that are
    /// known to be whole. Its end is the end of the file.
    pub(in crate::source) fn read_last_line(
        &mut self,
        file: &impl ReadAt,
        context: &Context,
        line_bytes_max: usize,
    ) -> io::Result<Step> {
        if let Some(discarded) = self.discarded.take() {
            return self.take_fault(file, context, discarded);
        }
        let mut buffer = context.intake.buffer();
        buffer.reserve(line_bytes_max.saturating_add(1 + TAIL_BYTES_MAX));
        let Some(is_full) = self.load(file, &mut buffer)? else { return Ok(Step::Changed) };
        if buffer.is_empty() {
            return self.wait(file);
        }
        if is_full || memrchr(b'\n', &buffer).is_some() {
            // It has grown since it was found to end here.
            return self.read(file, context, line_bytes_max);
        }
        let bytes = buffer.len();
        self.take_lines(file, context, buffer, bytes, 1)
    }

    /// Moves behind the last whole line of `file`, without reading what is before.
    pub(in crate::source) fn skip_to_end(
        &mut self,
        file: &File,
        context: &Context,
    ) -> io::Result<()> {
        let end = end_of_lines(file)?;
        self.tail = BytesHash::of(&read_before(file, end)?);
        self.offset = end;
        if let Some(head) = self.look_at_head(file, end)? {
            self.learn(&head);
            self.origin = Some(origin_of(context, self.identity, self.generation, &head));
        }
        Ok(())
    }

    /// Fills `buffer` with what follows the place and tells whether there was more than it
    /// holds; none when what was read before has changed.
    fn load(&self, file: &impl ReadAt, buffer: &mut Buffer) -> io::Result<Option<bool>> {
        let overlap = match &self.discarded {
            Some(discarded) => BytesHash::of(discarded.tail()),
            None => self.tail,
        };
        let known = overlap.len as usize;
        let from = self.position().saturating_sub(known as u64);
        buffer.clear();
        file.append_at(from, buffer)?;
        if !overlap.is_start_of(buffer) {
            return Ok(None);
        }
        let is_full = buffer.len() == buffer.capacity();
        buffer.drain(..known);
        Ok(Some(is_full))
    }

    fn take_lines(
        &mut self,
        file: &impl ReadAt,
        context: &Context,
        mut buffer: Buffer,
        bytes: usize,
        lines: u64,
    ) -> io::Result<Step> {
        buffer.truncate(bytes);
        let tail = BytesHash::of(last_bytes(&buffer));
        if buffer.last() != Some(&b'\n') {
            buffer.push(b'\n');
        }
        let whole = Content::Lines(right_sized(buffer));
        self.take(file, context, whole, bytes as u64, lines, tail)
    }

    fn discard(&mut self, file: &impl ReadAt, context: &Context, bytes: &[u8]) -> io::Result<Step> {
        if bytes.is_empty() {
            return self.wait(file);
        }
        let mut discarded = self.discarded.take().unwrap_or_default();
        discarded.absorb(bytes);
        if discarded.has_ended() {
            return self.take_fault(file, context, discarded);
        }
        self.discarded = Some(discarded);
        Ok(Step::Discarding)
    }

    fn take_fault(
        &mut self,
        file: &impl ReadAt,
        context: &Context,
        discarded: Discarded,
    ) -> io::Result<Step> {
        let bytes = discarded.bytes();
        let fault = discarded.into_fault(Reason::LineTooLong);
        let tail = BytesHash::of(&fault.tail);
        self.take(file, context, Content::Fault(fault), bytes, 1, tail)
    }

    /// Moves behind `bytes` more bytes, if the file is still what it was after they were read.
    fn take(
        &mut self,
        file: &impl ReadAt,
        context: &Context,
        found: Content,
        bytes: u64,
        lines: u64,
        tail: BytesHash,
    ) -> io::Result<Step> {
        let (first, end) = (self.offset, self.offset + bytes);
        let Some(head) = self.look_at_head(file, end)? else { return Ok(Step::Changed) };
        let start = match &found {
            Content::Lines(lines) => lines.as_slice(),
            Content::Fault(fault) => fault.excerpt.as_slice(),
        };
        // First bytes that were not known before must be those that were just read.
        let new = head.get(usize::try_from(first).unwrap_or(usize::MAX)..).unwrap_or_default();
        if new.iter().zip(start).any(|(now, read)| now != read) {
            return Ok(Step::Changed);
        }
        self.learn(&head);
        let (identity, generation) = (self.identity, self.generation);
        self.origin.get_or_insert_with(|| origin_of(context, identity, generation, &head));
        (self.offset, self.tail) = (end, tail);
        Ok(Step::Piece(Piece { content: found, first, end, lines }))
    }

    fn wait(&self, file: &impl ReadAt) -> io::Result<Step> {
        let same = self.look_at_head(file, self.offset)?.is_some();
        Ok(if same { Step::Waiting } else { Step::Changed })
    }

    /// The first bytes of the file, of those before `end`; none when known ones changed.
    fn look_at_head(&self, file: &impl ReadAt, end: u64) -> io::Result<Option<Vec<u8>>> {
        let before_end = usize::try_from(end).unwrap_or(usize::MAX).min(PREFIX_BYTES_MAX);
        // A cursor inside of a chunk has the prefix of the whole chunk.
        let wanted = before_end.max(self.prefix.len as usize);
        let head = read_at(file, 0, wanted)?;
        let is_same = head.len() == wanted && self.prefix.is_start_of(&head);
        Ok(is_same.then_some(head))
    }

    /// Remembers the first bytes, which are known to be of this content.
    fn learn(&mut self, head: &[u8]) {
        if head.len() > self.prefix.len as usize {
            self.prefix = BytesHash::of(head);
        }
        if self.head.len() < head.len().min(HEAD_BYTES_MAX) {
            self.head = head.get(..HEAD_BYTES_MAX).unwrap_or(head).to_vec();
        }
    }
}

/// No bytes are no bytes, whatever was recorded as their hash.
fn or_nothing(hash: BytesHash) -> BytesHash {
    if hash.len == 0 { BytesHash::of(&[]) } else { hash }
}
