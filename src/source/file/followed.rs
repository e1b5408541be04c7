//! One file that is followed: where it is, how it is looked at, and its turn to be read.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::chunk::{Buffer, Chunk, Content, Stream};
use crate::clock::Timestamp;
use crate::intake::Closed;
use crate::position::Numbering;
use crate::source::Context;
use crate::source::file::bytes::{ReadAt, first_line};
use crate::source::file::content::FileContent;
use crate::source::file::identity::{Key, identity_of};
use crate::source::file::place::{Piece, Place, Step};
use crate::source::ready::Ready;

mod packed;

use packed::Broken;
pub(super) use packed::Compared;

/// How many reads of 256 KiB one file has before it is another's turn.
const READS_PER_TURN: u32 = 4;

/// A look at a file that was written so shortly before may miss the next write: file times have
/// the kernel's tick as their grain, and two contents of one tick and one size look alike.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// By so much the time of a copy may be before that of its original.
const TIMES_DIFFER_MAX: Duration = Duration::from_secs(2);

/// How a file stands to the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// New, and perhaps the copy of a file that is about to be truncated.
    Candidate {
        /// When it was last seen to grow.
        since: Instant,
    },
    /// A pattern means it.
    Matched,
    /// No pattern means it any more: it is read to its end.
    RotatedAway,
    /// Compressed, and of a time before the source: never read.
    Refused,
    /// Not looked at any more, but known, should it come back.
    LetGo,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Read as far as there are whole lines.
    Done,
    /// There is more.
    More,
    /// The content is not the one that was read before.
    Changed,
    /// The file is not under its path any more.
    Missing,
}

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) place: Place,
    pub(super) path: PathBuf,
    pub(super) standing: Standing,
    /// None while few files may be open, or nothing was read yet.
    pub(super) file: Option<FileContent>,
    /// Its size when it was last looked at.
    pub(super) len: u64,
    /// Its size when it was last seen to hold what was read of it.
    pub(super) content_len: u64,
    /// When it had last been written to, by then.
    content_written_at: Timestamp,
    /// Whether some directory still names it, as far as was seen.
    pub(super) is_linked: bool,
    /// Whether its last turn ended before its lines did.
    pub(super) has_more: bool,
    /// When it was last seen to change.
    pub(super) active: Instant,
    /// Since when what was read of it is not in it any more, and perhaps in an archive.
    pub(super) displaced_at: Option<Instant>,
    /// Since when it is gone with bytes that were not read.
    pub(super) vanished_at: Option<Instant>,
    /// Of an archive: which file it was made of, while that is still read.
    pub(super) made_of: Option<Key>,
    /// Of an archive: what comparing it has come to.
    pub(super) compared: Compared,
    /// Since when, and where, an archive is broken; that was told once it has stayed so.
    broken: Option<Broken>,
    /// Size and time of the last content that was read as far as possible.
    seen: Option<(u64, SystemTime)>,
    stream: Option<Arc<Stream>>,
    trouble: Option<io::ErrorKind>,
}

impl Followed {
    /// A file at `path`, of which `place` is known.
    pub(super) fn new(place: Place, path: PathBuf, standing: Standing) -> Self {
        Self {
            content_written_at: place.written_at,
            place,
            path,
            standing,
            file: None,
            len: 0,
            content_len: 0,
            is_linked: true,
            has_more: false,
            active: Instant::now(),
            displaced_at: None,
            vanished_at: None,
            made_of: None,
            compared: Compared::default(),
            broken: None,
            seen: None,
            stream: None,
            trouble: None,
        }
    }

    /// What its identity agrees on with every other look at it.
    pub(super) fn key(&self) -> Key {
        self.place.identity.into()
    }

    /// Its file name.
    pub(super) fn name(&self) -> Option<&OsStr> {
        self.path.file_name()
    }

    /// Its path as people and logs may see it.
    pub(super) fn label(&self) -> String {
        label_of(&self.path)
    }

    /// Bytes that were seen and not read; of an archive that was not read to its end, all.
    pub(super) fn unread_bytes(&self) -> u64 {
        match self.place.packed_bytes {
            Some(bytes) => self.len.saturating_sub(bytes),
            None => self.len.saturating_sub(self.place.offset),
        }
    }

    /// Whether it is compressed.
    pub(super) fn is_packed(&self) -> bool {
        self.place.packed_bytes.is_some()
    }

    /// Whether everything in it was read, a line without an end excepted.
    pub(super) fn is_read(&self) -> bool {
        self.seen.is_some() && !self.has_more
    }

    /// Whether it was read to its very last byte, as far as was seen.
    pub(super) fn is_finished(&self) -> bool {
        let is_known = self.candidate_since().is_none() && self.standing != Standing::Refused;
        is_known && !self.has_more && self.is_read_up_to(self.len)
    }

    /// Whether it is finished now; it is open.
    pub(super) fn is_finished_now(&mut self) -> io::Result<bool> {
        let metadata = self.look()?;
        Ok(metadata.is_some_and(|data| self.is_read_up_to(data.len())))
    }

    fn is_read_up_to(&self, len: u64) -> bool {
        len > 0 && len == self.place.packed_bytes.unwrap_or(self.place.offset)
    }

    /// Whether it is worth a look now.
    pub(super) fn is_followed(&self) -> bool {
        !matches!(self.standing, Standing::LetGo | Standing::Refused)
    }

    /// Gives it the path under which it was found.
    pub(super) fn move_to(&mut self, path: PathBuf) {
        if self.path != path {
            (self.path, self.stream) = (path, None);
        }
    }

    /// Since when it is a candidate, if it is one.
    pub(super) fn candidate_since(&self) -> Option<Instant> {
        match self.standing {
            Standing::Candidate { since } => Some(since),
            _ => None,
        }
    }

    /// Whether it has something to read that waits for a decision.
    pub(super) fn is_held_back(&self) -> bool {
        self.candidate_since().is_some() && self.len > 0
    }

    /// Moves behind what is in the file now.
    pub(super) fn skip_to_end(&mut self, context: &Context) -> io::Result<()> {
        let skipped = self.open().and_then(|is_there| match &self.file {
            Some(FileContent::Plain(file)) if is_there => self.place.skip_to_end(file, context),
            Some(FileContent::Packed(archive)) if is_there => {
                self.place.packed_bytes = Some(archive.file().metadata()?.len());
                Ok(())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        });
        skipped.inspect_err(|error| self.complain(error))
    }

    /// Goes on with `place`; what was known of the content before is forgotten.
    pub(super) fn begin(&mut self, place: Place) {
        (self.place, self.seen, self.stream, self.content_len) = (place, None, None, 0);
        self.content_written_at = Timestamp::default();
        (self.has_more, self.displaced_at) = (true, None);
    }

    /// Reads some of what is there. A failure is logged once and ends the turn.
    pub(super) fn turn(
        &mut self,
        context: &Context,
        line_bytes_max: usize,
    ) -> Result<Turn, Closed> {
        match self.try_turn(context, line_bytes_max) {
            Ok(turn) => {
                self.trouble = None;
                turn
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.has_more = true;
                Ok(Turn::More)
            }
            Err(error) => {
                self.complain(&error);
                self.has_more = false;
                self.file = None;
                Ok(Turn::Done)
            }
        }
    }

    /// Logs that it cannot be deleted, unless that was logged last.
    pub(super) fn complain_of_removal(&mut self, error: &io::Error) {
        if self.trouble.replace(error.kind()) != Some(error.kind()) {
            tracing::warn!(path = %self.label(), %error, "cannot remove a delivered file, trying again");
        }
    }

    /// Logs `error` unless the same was logged last.
    pub(super) fn complain(&mut self, error: &io::Error) {
        if self.trouble.replace(error.kind()) != Some(error.kind()) {
            tracing::warn!(path = %self.label(), %error, "cannot read the file, trying again");
        }
    }

    /// The outer result is the file's, the inner one the intake's.
    fn try_turn(
        &mut self,
        context: &Context,
        line_bytes_max: usize,
    ) -> io::Result<Result<Turn, Closed>> {
        let Some(metadata) = self.look()? else { return Ok(Ok(Turn::Missing)) };
        let modified = metadata.modified()?;
        if let Some(ended_at) = self.place.packed_bytes {
            if ended_at == metadata.len() {
                self.seen = Some((metadata.len(), modified));
                (self.has_more, self.file) = (false, None);
                return Ok(Ok(Turn::Done));
            }
        } else if metadata.len() < self.place.position() {
            return Ok(Ok(Turn::Changed));
        }
        if self.is_as_seen(&metadata) && !self.has_more {
            return Ok(Ok(Turn::Done));
        }
        if !self.open()? {
            return Ok(Ok(Turn::Missing));
        }
        self.find_header(context, line_bytes_max)?;
        for _ in 0..READS_PER_TURN {
            let Some(file) = &self.file else { return Ok(Ok(Turn::Missing)) };
            let (offset, tail) = (self.place.offset, self.place.tail);
            match self.place.read(file, context, line_bytes_max)? {
                Step::Piece(piece) => {
                    self.active = Instant::now();
                    if let Err(Closed) = self.send(piece, context) {
                        // Not handed over: a file deleted meanwhile is read once more.
                        (self.place.offset, self.place.tail) = (offset, tail);
                        return Ok(Err(Closed));
                    }
                }
                Step::Discarding => self.active = Instant::now(),
                Step::Changed => return Ok(Ok(Turn::Changed)),
                Step::Waiting if self.is_packed() => {
                    return self.end_archive(&metadata, context, line_bytes_max);
                }
                Step::Waiting => {
                    let is_settled = modified.elapsed().is_ok_and(|age| age > SETTLED_AFTER);
                    self.seen = is_settled.then_some((metadata.len(), modified));
                    self.note_content(&metadata, false);
                    return Ok(Ok(Turn::Done));
                }
            }
        }
        self.note_content(&metadata, true);
        Ok(Ok(Turn::More))
    }

    /// It holds what was read of it, and perhaps more.
    fn note_content(&mut self, metadata: &Metadata, has_more: bool) {
        (self.content_len, self.has_more) = (metadata.len(), has_more);
        self.content_written_at = written_at(metadata);
    }

    /// Whether what was read of it may have been there before something else was written at `at`: its copy,
    /// perhaps with a time that was cut off to the second.
    pub(super) fn may_be_older_than(&self, at: Timestamp) -> bool {
        self.content_written_at <= at.after(TIMES_DIFFER_MAX)
    }

    /// Whether it is known of a run before, and could not be found in this one.
    pub(super) fn was_never_there(&self) -> bool {
        self.standing == Standing::LetGo && !self.is_linked && self.len == 0
    }

    /// Whether it could not be read when that was last tried.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// It could be read.
    pub(super) fn end_trouble(&mut self) {
        self.trouble = None;
    }

    /// Reads the header of a file that is not read from its beginning. That the header is of the
    /// same content as the lines is seen by the read behind it, which looks at the first bytes.
    fn find_header(&mut self, context: &Context, line_bytes_max: usize) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.place.offset > 0) else {
            return Ok(());
        };
        let (place, path) = (&self.place, &self.path);
        let stream = self.stream.get_or_insert_with(|| stream_of(place, path, context));
        learn_header(stream, file, line_bytes_max)
    }

    /// Looks at the file; none when its path names another or nothing.
    pub(super) fn look(&mut self) -> io::Result<Option<Metadata>> {
        let metadata = self.metadata()?;
        if let Some(metadata) = &metadata {
            if metadata.len() != self.len {
                (self.len, self.active) = (metadata.len(), Instant::now());
            }
            self.is_linked = metadata.nlink() > 0;
            self.place.written_at = written_at(metadata);
        }
        Ok(metadata)
    }

    /// What the file system says of the file now; none when its path names another or nothing.
    pub(super) fn metadata(&self) -> io::Result<Option<Metadata>> {
        if let Some(file) = &self.file {
            return file.metadata().map(Some);
        }
        match fs::metadata(&self.path) {
            Ok(metadata) if Key::from(identity_of(&metadata)) == self.key() => Ok(Some(metadata)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the file is still as it was when it was last read as far as possible.
    pub(super) fn is_as_seen(&self, metadata: &Metadata) -> bool {
        let now = metadata.modified().ok().map(|modified| (metadata.len(), modified));
        now.is_some() && now == self.seen
    }

    /// Opens the file where it is closed; false when its path names another or nothing.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            let file = match FileContent::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            };
            if Key::from(identity_of(&file.metadata()?)) != self.key() {
                return Ok(false);
            }
            let known = self.place.packed_bytes;
            self.place.packed_bytes = file.is_packed().then(|| known.unwrap_or(0));
            self.file = Some(file);
        }
        Ok(true)
    }

    /// Records where reading stands without a line: what is before will not be read.
    pub(super) fn send_mark(&mut self, context: &Context) -> Result<(), Closed> {
        let nothing = Content::Lines(Buffer::from(Vec::new()));
        let at = self.place.offset;
        self.send(Piece { content: nothing, first: at, end: at, lines: 0 }, context)
    }

    /// Has its cursor deleted.
    pub(super) fn send_forgotten(&mut self, context: &Context) -> Result<(), Closed> {
        let nothing = Content::Lines(Buffer::from(Vec::new()));
        let at = self.place.offset;
        let piece = Piece { content: nothing, first: at, end: at, lines: 0 };
        let mut chunk = self.chunk(piece, context);
        if let Some(mark) = &mut chunk.file {
            mark.is_forgotten = true;
        }
        Ready { chunk, bytes: 0 }.send_blocking(context, &context.stop.drain)
    }

    fn send(&mut self, piece: Piece, context: &Context) -> Result<(), Closed> {
        let bytes = piece.end - piece.first;
        let chunk = self.chunk(piece, context);
        // Given up at a stop: what is not taken is read again at the next start, except from a
        // file that no directory names any more.
        let stop = &context.stop;
        let until = if self.is_linked { &stop.drain } else { &stop.abandon };
        Ready { chunk, bytes }.send_blocking(context, until)
    }

    fn chunk(&mut self, piece: Piece, context: &Context) -> Chunk {
        let place = &self.place;
        let path = &self.path;
        let stream = self.stream.get_or_insert_with(|| stream_of(place, path, context));
        Chunk {
            stream: Arc::clone(stream),
            first: piece.first,
            end: piece.end,
            lines: piece.lines,
            content: piece.content,
            file: Some(Box::new(place.mark(path.clone()))),
            permit: None,
            notice: None,
        }
    }
}

/// When a file was last written to.
pub(super) fn written_at(metadata: &Metadata) -> Timestamp {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Timestamp::default().after(modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// The stream of the lines at `place` of the file at `path`.
pub(in crate::source) fn stream_of(place: &Place, path: &Path, context: &Context) -> Arc<Stream> {
    Arc::new(Stream {
        source: Arc::clone(&context.tag),
        // A piece is read before its stream is asked for, and reading it finds the origin.
        origin: place.origin.unwrap_or_else(|| place.origin_without_lines(context)),
        label: label_of(path),
        numbering: Numbering::ByteOffset,
        header: OnceLock::new(),
    })
}

/// Reads the header of `stream` from its file, if it has one that is not known yet.
pub(in crate::source) fn learn_header(
    stream: &Stream,
    file: &impl ReadAt,
    line_bytes_max: usize,
) -> io::Result<()> {
    if stream.has_header()
        && stream.header.get().is_none()
        && let Some(line) = first_line(file, line_bytes_max)?
    {
        stream.learn_header(&line);
    }
    Ok(())
}

/// A path without control characters.
pub(in crate::source) fn label_of(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.chars().any(char::is_control) {
        path.chars()
            .flat_map(|char| -> Box<dyn Iterator<Item = char>> {
                if char.is_control() {
                    Box::new(char.escape_default())
                } else {
                    Box::new(std::iter::once(char))
                }
            })
            .collect()
    } else {
        path.into_owned()
    }
}
