//! Reads a list of files to their end and is done: what `send` does.
//!
//! A file is known again as when it is followed, so a run that was killed continues where it
//! had come to when it is given the same files. Of a compressed file the offsets count
//! uncompressed bytes. The last line of a file needs no end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chunk::{Chunk, Stream};
use crate::intake::Closed;
use crate::position::{Cursor, FileIdentity, FileMark};
use crate::source::Context;
use crate::source::file::content::{FileContent, open};
use crate::source::file::identity::{Key, identity_of};
use crate::source::file::place::{Piece, Place, Step};
use crate::source::file::{End, learn_header, stream_of};
use crate::source::ready::Ready;

/// The files to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Their paths. Those that begin as compressed files do are decompressed.
    pub inputs: Vec<PathBuf>,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
}

/// What a run has read. The counters of the source show the same while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Inputs read to their end.
    pub inputs: u64,
    /// Lines read, those of earlier runs not counted.
    pub lines: u64,
    /// Bytes of those lines, uncompressed.
    pub bytes: u64,
    /// Whether all inputs were read to their end: false when a stop came first.
    pub is_complete: bool,
}

/// Why an input could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or not for us.
    #[error("cannot open {path:?}")]
    Open {
        /// Which input.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{path:?} is not a regular file; standard input takes pipes")]
    NotAFile {
        /// Which input.
        path: PathBuf,
    },
    /// The system could not read it, or it is not the compressed file that it seems to be.
    #[error("cannot read {path:?} to its end")]
    Read {
        /// Which input.
        path: PathBuf,
        /// What the system or the decompression said.
        #[source]
        source: io::Error,
    },
    /// It was truncated or overwritten meanwhile.
    #[error("{path:?} was changed while it was read")]
    Changed {
        /// Which input.
        path: PathBuf,
    },
    /// The stages behind the source ended before it did.
    #[error("the intake closed before all inputs were read")]
    Closed,
}

/// Why reading one input ended early.
enum Failure {
    Read(io::Error),
    Changed,
    Closed,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Closed> for Failure {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// Reads the inputs in their order, and each file once, whatever its names. Blocks: call it on
/// a thread.
///
/// `cursors` are all that the store holds for this source.
pub fn run(settings: &Settings, context: &Context, cursors: Vec<Cursor>) -> Result<Summary, Error> {
    let line_bytes_max = settings.line_bytes_max;
    let mut cursors = cursors;
    cursors.sort_by_key(|cursor| (cursor.file.generation, cursor.offset));
    let places = cursors.iter().map(Place::from).map(|place| (place.identity.into(), place));
    let mut run =
        Run { context, line_bytes_max, places: places.collect(), summary: Summary::default() };
    for path in &settings.inputs {
        match run.read(path) {
            Ok(()) => run.summary.inputs += 1,
            Err(Error::Closed) if context.stop.is_draining() => return Ok(run.summary),
            Err(error) => return Err(error),
        }
    }
    run.summary.is_complete = true;
    Ok(run.summary)
}

struct Run<'a> {
    context: &'a Context,
    line_bytes_max: usize,
    /// How far each known file was read.
    places: BTreeMap<Key, Place>,
    summary: Summary,
}

impl Run<'_> {
    fn read(&mut self, path: &Path) -> Result<(), Error> {
        let path = path.to_owned();
        let opened = open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(Error::Open { path, source }),
        };
        if !metadata.is_file() {
            return Err(Error::NotAFile { path });
        }
        let file = match FileContent::of(file) {
            Ok(file) => file,
            Err(source) => return Err(Error::Read { path, source }),
        };
        let identity = identity_of(&metadata);
        let known = self.places.remove(&identity.into());
        let known = known.or_else(|| self.remounted(identity, &file));
        let mut place = known.unwrap_or_else(|| Place::new(identity));
        place.packed_bytes = file.is_packed().then_some(0);
        let outcome = self.read_to_end(&path, &file, metadata.len(), &mut place);
        self.places.insert(identity.into(), place);
        outcome.map_err(|failure| match failure {
            Failure::Read(source) => Error::Read { path, source },
            Failure::Changed => Error::Changed { path },
            Failure::Closed => Error::Closed,
        })
    }

    /// Where the file stands if it was read on a device of another number.
    fn remounted(&self, identity: FileIdentity, file: &FileContent) -> Option<Place> {
        let FileContent::Plain(file) = file else { return None };
        let mut alike = self.places.range(Key::range_of(identity.inode));
        alike.find_map(|(_, place)| place.on_another_device(identity, file))
    }

    fn read_to_end(
        &mut self,
        path: &Path,
        file: &FileContent,
        len: u64,
        place: &mut Place,
    ) -> Result<(), Failure> {
        let is_short = !file.is_packed() && len < place.offset;
        if is_short || !self.is_in(file, place)? {
            *place = place.next_generation();
        }
        let mut is_last = false;
        let mut stream = None;
        let mut counted = 0;
        let _beat = self.context.pulse.beat();
        loop {
            self.context.pulse.go_on();
            let step = if is_last {
                place.read_last_line(file, self.context, self.line_bytes_max)?
            } else {
                place.read(file, self.context, self.line_bytes_max)?
            };
            match step {
                Step::Piece(piece) => {
                    is_last = false;
                    let of = || stream_of(place, path, self.context);
                    let stream = Arc::clone(stream.get_or_insert_with(of));
                    learn_header(&stream, file, self.line_bytes_max)?;
                    self.send(stream, place.mark(path.to_owned()), piece)?;
                    self.count_input(&mut counted, file.bytes_taken(place.offset));
                }
                Step::Discarding => is_last = false,
                Step::Waiting => match file.end() {
                    Some(End::Broken { offset, reason }) => {
                        let message = format!("{reason}, behind {offset} bytes of its content");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
                    }
                    _ if is_last => {
                        self.count_input(&mut counted, len);
                        return Ok(());
                    }
                    _ => is_last = true,
                },
                Step::Changed => return Err(Failure::Changed),
            }
        }
    }

    /// Whether `place` is in the file; looks for it for as long as that takes.
    fn is_in(&self, file: &FileContent, place: &mut Place) -> Result<bool, Failure> {
        loop {
            match place.is_in(file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.context.stop.is_draining() {
                        return Err(Failure::Closed);
                    }
                }
                is_in => return Ok(is_in?),
            }
        }
    }

    fn send(&mut self, stream: Arc<Stream>, mark: FileMark, piece: Piece) -> Result<(), Closed> {
        let chunk = Chunk {
            stream,
            first: piece.first,
            end: piece.end,
            lines: piece.lines,
            content: piece.content,
            file: Some(Box::new(mark)),
            permit: None,
            notice: None,
        };
        let (lines, bytes) = (piece.lines, piece.end - piece.first);
        Ready { chunk, bytes }.send_blocking(self.context, &self.context.stop.drain)?;
        self.count(lines, bytes);
        if self.context.stop.is_draining() { Err(Closed) } else { Ok(()) }
    }

    /// Bytes of a file up to `taken` are behind us; up to `counted` that is known.
    fn count_input(&self, counted: &mut u64, taken: u64) {
        let new = taken.saturating_sub(*counted);
        self.context.tag.counters.input_bytes.add(new);
        *counted += new;
    }

    fn count(&mut self, lines: u64, bytes: u64) {
        self.summary.lines += lines;
        self.summary.bytes += bytes;
    }
}

#[cfg(test)]
mod tests;
