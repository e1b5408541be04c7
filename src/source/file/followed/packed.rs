//! What is different for a followed file that is compressed: it has an end, it can be damaged, and
//! what it holds may have been read before.

use std::fs::Metadata;
use std::io;
use std::time::{Duration, Instant};

use super::{Followed, Turn};
use crate::intake::Closed;
use crate::source::Context;
use crate::source::file::archive::End;
use crate::source::file::identity::Key;
use crate::source::file::place::{Place, Step};

/// How far an archive was compared with files that are known, those with small offsets first.
#[derive(Debug, Default)]
pub(in crate::source::file) struct Compared {
    /// The last one that it was compared with.
    pub(in crate::source::file) past: Option<(u64, Key)>,
    /// The furthest place that it holds, and whose that is.
    pub(in crate::source::file) found: Option<(Key, Place)>,
}

/// An archive that ends before its content does.
#[derive(Debug)]
pub(super) struct Broken {
    since: Instant,
    offset: u64,
    reason: String,
    is_told: bool,
}

impl Followed {
    /// All bytes of an archive have come: it has been read, or it is broken.
    pub(super) fn end_archive(
        &mut self,
        metadata: &Metadata,
        context: &Context,
        line_bytes_max: usize,
    ) -> io::Result<Result<Turn, Closed>> {
        let Some(file) = &self.file else { return Ok(Ok(Turn::Missing)) };
        let now = (metadata.len(), metadata.modified()?);
        if let Some(End::Broken { offset, reason }) = file.end() {
            // Perhaps it is still being written: looked at again once it has changed.
            self.note_broken(End::Broken { offset, reason });
            self.seen = Some(now);
            return Ok(Ok(Turn::Done));
        }
        // It is whole, and so is its last line.
        let (offset, tail) = (self.place.offset, self.place.tail);
        if let Step::Piece(piece) = self.place.read_last_line(file, context, line_bytes_max)?
            && let Err(Closed) = self.send(piece, context)
        {
            (self.place.offset, self.place.tail) = (offset, tail);
            return Ok(Err(Closed));
        }
        self.place.packed_bytes = Some(metadata.len());
        self.seen = Some(now);
        self.close();
        Ok(self.send_mark(context).map(|()| Turn::Done))
    }

    /// Notes that an archive ends before its content does. Perhaps it is still being written: it
    /// is looked at again once it has changed.
    pub(in crate::source::file) fn note_broken(&mut self, end: End) {
        if let End::Broken { offset, reason } = end {
            let since = Instant::now();
            self.broken = Some(Broken { since, offset, reason, is_told: false });
        }
        let metadata = self.metadata().ok().flatten();
        self.seen = metadata.and_then(|data| Some((data.len(), data.modified().ok()?)));
        self.close();
    }

    /// Whether it is an archive that ends before its content does.
    pub(in crate::source::file) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Closes it until there is a reason to read more of it.
    pub(in crate::source::file) fn close(&mut self) {
        (self.has_more, self.file) = (false, None);
    }

    /// Has it compared once more, with all that is known by then.
    pub(in crate::source::file) fn forget_comparison(&mut self) {
        (self.made_of, self.compared, self.seen) = (None, Compared::default(), None);
    }

    /// Tells once of an archive that has been broken for longer than `hold`.
    pub(in crate::source::file) fn tell_broken(&mut self, hold: Duration) {
        let path = self.label();
        let Some(broken) = &mut self.broken else { return };
        if !broken.is_told && broken.since.elapsed() >= hold {
            broken.is_told = true;
            let (offset, reason) = (broken.offset, &broken.reason);
            tracing::error!(%path, offset, reason, "a compressed file is cut off or damaged");
        }
    }

    /// Marks an archive for a look, unless it is as it was, or was written to just now.
    pub(in crate::source::file) fn wake_archive(&mut self, settle: Duration) -> io::Result<bool> {
        let Some(metadata) = self.look()? else { return Ok(false) };
        // One without a byte is still to be written.
        let is_ended = self.place.packed_bytes == Some(metadata.len());
        if is_ended || metadata.len() == 0 || self.is_as_seen(&metadata) {
            return Ok(true);
        }
        if self.active.elapsed() >= settle {
            (self.broken, self.has_more) = (None, true);
        }
        Ok(true)
    }
}
