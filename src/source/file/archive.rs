//! A compressed file as the bytes that it was made of, at offsets of those.
//!
//! gzip, zstd and xz, each of several members. Bytes come out in order only: a read behind the
//! last one decompresses what is between, a read before it begins anew. The first bytes are kept,
//! because every read looks at them. What the decompression finds wrong ends the content there.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::position::{PREFIX_BYTES_MAX, TAIL_BYTES_MAX};
use crate::source::file::bytes::{ReadAt, read_at};

/// How many bytes one read skips at most before it says that it would block, so that an archive
/// of any size does not keep other files waiting.
const SKIP_BYTES_MAX: usize = 16 << 20;

/// How many bytes are decompressed at once.
const STEP_BYTES: usize = 64 << 10;

/// What begins a compressed file: no text does.
const MAGIC_BYTES_MAX: usize = 6;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Zstd,
    Xz,
}

impl Format {
    /// The format of a file that begins with `start`.
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one that decoders skip, such as pzstd writes.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }
}

/// Why there are no more bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum End {
    /// The archive is whole.
    Whole {
        /// How many bytes it holds.
        bytes: u64,
    },
    /// It is cut off or damaged.
    Broken {
        /// How many bytes came out before.
        offset: u64,
        /// What the decompression said.
        reason: String,
    },
}

/// A compressed file that is open.
pub(in crate::source) struct Archive {
    file: Arc<File>,
    format: Format,
    state: RefCell<State>,
}

struct State {
    decoder: Box<dyn Read>,
    /// Bytes of the compressed file that the decoder took.
    taken: Rc<Cell<u64>>,
    /// The very first bytes, at most [`PREFIX_BYTES_MAX`].
    head: Vec<u8>,
    /// Bytes that came out and may be asked for again, from the offset `window_at` on.
    window: Vec<u8>,
    window_at: u64,
    end: Option<End>,
}

impl Archive {
    /// Takes `file` if it begins as compressed files do.
    pub(in crate::source) fn of(file: File) -> io::Result<Result<Self, File>> {
        let Some(format) = Format::of(&read_at(&file, 0, MAGIC_BYTES_MAX)?) else {
            return Ok(Err(file));
        };
        let file = Arc::new(file);
        let state = RefCell::new(State::new(&file, format)?);
        Ok(Ok(Self { file, format, state }))
    }

    /// The compressed file.
    pub(in crate::source) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of the compressed file behind which the content was reached.
    pub(in crate::source) fn bytes_taken(&self) -> u64 {
        self.state.borrow().taken.get()
    }

    /// Why no more bytes come, once all that there are have come.
    pub(in crate::source) fn end(&self) -> Option<End> {
        self.state.borrow().end.clone()
    }
}

impl ReadAt for Archive {
    /// [`io::ErrorKind::WouldBlock`] when `offset` is far ahead: the next call goes on from there.
    fn append_at(&self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        let wanted = buffer.capacity() - buffer.len();
        if offset < state.window_at {
            let kept = usize::try_from(offset).ok().and_then(|offset| state.head.get(offset..));
            // A large read wants lines, and fewer bytes than it has room for mean the end.
            let is_small = wanted <= PREFIX_BYTES_MAX;
            if let Some(kept) = kept.filter(|kept| is_small && !kept.is_empty()) {
                let kept = kept.get(..wanted).unwrap_or(kept);
                buffer.extend_from_slice(kept);
                return Ok(kept.len());
            }
            let head = std::mem::take(&mut state.head);
            *state = State { head, ..State::new(&self.file, self.format)? };
        }
        state.reach(offset, wanted)?;
        let from = usize::try_from(offset - state.window_at).unwrap_or(usize::MAX);
        let found = state.window.get(from..).unwrap_or_default();
        let found = found.get(..wanted).unwrap_or(found);
        buffer.extend_from_slice(found);
        Ok(found.len())
    }
}

impl State {
    fn new(file: &Arc<File>, format: Format) -> io::Result<Self> {
        let taken = Rc::new(Cell::new(0));
        let start = FromStart { file: Arc::clone(file), at: Rc::clone(&taken) };
        let input = BufReader::with_capacity(STEP_BYTES, start);
        let decoder: Box<dyn Read> = match format {
            Format::Gzip => Box::new(MultiGzDecoder::new(input)),
            Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
            Format::Xz => Box::new(XzReader::new(input, true)),
        };
        let (head, window) = (Vec::new(), Vec::new());
        Ok(Self { decoder, taken, head, window, window_at: 0, end: None })
    }

    /// Decompresses until the window holds `bytes` bytes from `offset` on, or all there are; and
    /// lets go of those before but for some, because the next read may begin a little earlier.
    fn reach(&mut self, offset: u64, bytes: usize) -> io::Result<()> {
        let mut skipped = 0;
        loop {
            let before = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
            let is_enough = self.window.len() >= before.saturating_add(bytes);
            let before = before.min(self.window.len()).saturating_sub(TAIL_BYTES_MAX);
            if !is_enough {
                self.window.drain(..before);
                self.window_at += before as u64;
            }
            let is_there = self.window_at <= offset
                && self.end_of_window() >= offset.saturating_add(bytes as u64);
            if is_there || self.end.is_some() {
                return Ok(());
            }
            if skipped >= SKIP_BYTES_MAX && self.end_of_window() <= offset {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            skipped += self.step();
        }
    }

    fn end_of_window(&self) -> u64 {
        self.window_at + self.window.len() as u64
    }

    /// Decompresses some more; tells how many bytes came.
    fn step(&mut self) -> usize {
        let before = self.window.len();
        self.window.resize(before + STEP_BYTES, 0);
        let room = self.window.get_mut(before..).unwrap_or_default();
        let read = loop {
            match self.decoder.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let bytes = read.as_ref().copied().unwrap_or(0);
        let offset = self.window_at + before as u64;
        self.window.truncate(before + bytes);
        match read {
            Ok(0) => self.end = Some(End::Whole { bytes: offset }),
            Ok(_) => {
                if offset == self.head.len() as u64 {
                    let room = PREFIX_BYTES_MAX - self.head.len();
                    let new = self.window.get(before..).unwrap_or_default();
                    self.head.extend(new.iter().take(room));
                }
            }
            Err(error) => self.end = Some(End::Broken { offset, reason: error.to_string() }),
        }
        bytes
    }
}

/// Reads a file from its beginning, whoever else reads it.
struct FromStart {
    file: Arc<File>,
    at: Rc<Cell<u64>>,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at.get())?;
        self.at.set(self.at.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
