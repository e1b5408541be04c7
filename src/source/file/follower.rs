//! All files of a source: finding them, giving each its turn, letting go of them.
//!
//! One round gives every file that may have changed a turn, known files before new ones: a
//! known file that was truncated takes its copy before the copy could pass for a new file.

mod rescan;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::intake::Closed;
use crate::position::Cursor;
use crate::source::Context;
use crate::source::file::bytes::read_at;
use crate::source::file::discover::Patterns;
use crate::source::file::followed::{Followed, Standing, Turn};
use crate::source::file::identity::Key;
use crate::source::file::place::Place;
use crate::source::file::watch::{Signals, Watch};
use crate::source::file::{Error, Pace, Settings, copy, label_of};

/// A search for files may take this part of the time, however often files come and go.
const RESCAN_SHARE: u32 = 20;

/// What every gzip file begins with, and no line of text.
pub(in crate::source) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) struct Follower<'a> {
    settings: &'a Settings,
    context: &'a Context,
    pace: Pace,
    patterns: Patterns,
    watch: Watch,
    table: BTreeMap<Key, Followed>,
    /// Nothing was ever read for this source: what is found now was there before it.
    is_first_scan: bool,
    /// Files whose present content is not to be read, until that could be recorded.
    from_end: BTreeSet<Key>,
    /// A file was not where it was thought to be.
    is_astray: bool,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        context: &'a Context,
        pace: Pace,
        watch: Watch,
        mut cursors: Vec<Cursor>,
    ) -> Result<Self, Error> {
        let patterns = Patterns::new(&settings.paths, &settings.exclude)?;
        let is_first_scan = cursors.is_empty();
        // A device number that changed may have left two rows of one file: the later one counts.
        cursors.sort_by_key(|cursor| (cursor.file.generation, cursor.offset));
        let followed = cursors.into_iter().map(|cursor| {
            let read = Place::from(&cursor);
            Followed::new(read, cursor.file.path, Standing::RotatedAway)
        });
        let table = followed.map(|file| (file.key(), file)).collect();
        let from_end = BTreeSet::new();
        let is_astray = false;
        Ok(Self {
            settings,
            context,
            pace,
            patterns,
            watch,
            table,
            is_first_scan,
            from_end,
            is_astray,
        })
    }

    /// Follows files until the agent stops.
    pub(super) fn run(mut self) -> Result<(), Error> {
        match self.follow() {
            Err(Error::Closed) if self.context.stop.is_draining() => {}
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        if self.read_deleted() == Err(Closed) {
            tracing::error!(source = %self.context.tag.name, "stopped before a deleted file was read");
        }
        Ok(())
    }

    fn follow(&mut self) -> Result<(), Error> {
        let stop = &self.context.stop;
        let mut signals = Signals { rescan: true, ..Signals::default() };
        let start = Instant::now();
        let (mut look_at, mut scan_at, mut scan_from) = (start, start, start);
        while !stop.is_draining() {
            let began = Instant::now();
            let must_scan = began >= scan_at || (signals.rescan && began >= scan_from);
            if must_scan {
                self.rescan().map_err(|Closed| Error::Closed)?;
                signals.rescan = false;
                scan_at = began + self.pace.rescan;
                scan_from = Instant::now() + self.pace.round.max(began.elapsed() * RESCAN_SHARE);
            }
            let everything = must_scan || began >= look_at;
            if everything {
                look_at = began + self.settings.poll_interval;
            }
            let touched = std::mem::take(&mut signals.touched);
            let has_more = self.round(everything, &touched).map_err(|Closed| Error::Closed)?;
            signals.rescan |= std::mem::take(&mut self.is_astray);
            if self.table.values().any(Followed::is_held_back) {
                look_at = look_at.min(began + self.pace.hold);
            }
            let until = if signals.rescan { look_at.min(scan_from) } else { look_at.min(scan_at) };
            let time = if has_more { Duration::ZERO } else { left_until(until) };
            signals.merge(self.watch.wait(stop, time).map_err(Error::Wait)?);
            if !has_more {
                Watch::pause(stop, left_until(began + self.pace.round)).map_err(Error::Wait)?;
                signals.merge(self.watch.wait(stop, Duration::ZERO).map_err(Error::Wait)?);
            }
        }
        Ok(())
    }

    /// Gives every file a turn that may have changed. Tells whether some have more to read.
    fn round(&mut self, everything: bool, touched: &HashSet<OsString>) -> Result<bool, Closed> {
        let mut known = Vec::new();
        let mut candidates = Vec::new();
        for (key, file) in self.table.iter().filter(|(_, file)| file.is_followed()) {
            if everything || file.has_more || file.name().is_some_and(|name| touched.contains(name))
            {
                match file.standing {
                    Standing::Candidate { .. } => candidates.push(*key),
                    _ => known.push(*key),
                }
            }
        }
        for key in known {
            if self.context.stop.is_draining() {
                return Ok(false);
            }
            self.turn(key)?;
        }
        // The older first: of a file and its copy, it is the file.
        candidates
            .sort_by_key(|key| self.table.get(key).map(|file| file.place.identity.born_nanos));
        for key in candidates {
            if self.is_released(key, everything) {
                self.turn(key)?;
            }
            self.close_idle();
        }
        if everything {
            self.let_go();
        }
        Ok(self.table.values().any(|file| file.has_more && file.is_followed()))
    }

    fn turn(&mut self, key: Key) -> Result<(), Closed> {
        let Some(file) = self.table.get_mut(&key) else { return Ok(()) };
        match file.turn(self.context, self.settings.line_bytes_max)? {
            Turn::Done | Turn::More => {}
            Turn::Missing => {
                // Not tried again before it is found: a wait, not a loop.
                (file.has_more, self.is_astray) = (false, true);
            }
            Turn::Changed => self.replace(key)?,
        }
        self.close_idle();
        Ok(())
    }

    /// A known file holds something else than it did: goes on in the copy of what it held, if
    /// there is one, and begins anew in the file itself.
    fn replace(&mut self, key: Key) -> Result<(), Closed> {
        let Some(original) = self.table.get(&key) else { return Ok(()) };
        let (path, offset) = (original.label(), original.place.offset);
        let unread = original.content_len.saturating_sub(offset);
        let next = original.place.next_generation();
        if let Some(copy) = copy::find(original, &self.table) {
            let copied_to = label_of(&copy.path);
            tracing::info!(%path, %copied_to, offset, "the file was copied and truncated");
            let standing = self.standing_of(&copy.path);
            let mut followed = Followed::new(copy.place, copy.path, standing);
            (followed.file, followed.len, followed.has_more) = (Some(copy.file), copy.len, true);
            followed.content_len = copy.len;
            // Before any line of what the file holds now: once that is committed, its cursor says
            // nothing of the old content any more, and only the copy's own can find the rest.
            followed.send_mark(self.context)?;
            self.insert(followed);
        } else if unread > 0 {
            tracing::error!(%path, offset, bytes_lost = unread, "truncated before it was read to its end");
        } else {
            tracing::info!(%path, offset, "the file was truncated");
        }
        if let Some(original) = self.table.get_mut(&key) {
            original.begin(next);
        }
        Ok(())
    }

    fn standing_of(&self, path: &Path) -> Standing {
        if self.patterns.matches(path) { Standing::Matched } else { Standing::RotatedAway }
    }

    /// Whether a new file is one of its own, to be read from its beginning. Time decides only
    /// when all known files were looked at just before.
    fn is_released(&mut self, key: Key, known_are_fresh: bool) -> bool {
        let hold = self.pace.hold;
        match self.examine(key) {
            Ok(Some(Standing::Candidate { since })) => {
                let released = known_are_fresh && since.elapsed() >= hold;
                let standing =
                    if released { Standing::Matched } else { Standing::Candidate { since } };
                self.set_standing(key, standing);
                released
            }
            Ok(Some(standing)) => {
                self.set_standing(key, standing);
                standing == Standing::Matched
            }
            Ok(None) => {
                self.is_astray = true;
                false
            }
            Err(error) => {
                if let Some(file) = self.table.get_mut(&key) {
                    file.complain(&error);
                }
                false
            }
        }
    }

    fn set_standing(&mut self, key: Key, standing: Standing) {
        if let Some(file) = self.table.get_mut(&key) {
            file.standing = standing;
        }
    }

    /// What a new file turns out to be; none when it is not where it was found.
    fn examine(&mut self, key: Key) -> io::Result<Option<Standing>> {
        let Some(file) = self.table.get_mut(&key) else { return Ok(None) };
        let before = file.len;
        if file.look()?.is_none() {
            return Ok(None);
        }
        let (identity, len) = (file.place.identity, file.len);
        if len == 0 {
            return Ok(Some(Standing::Candidate { since: Instant::now() }));
        }
        if !file.open()? {
            return Ok(None);
        }
        let Some(mut since) = file.candidate_since() else { return Ok(None) };
        if len != before {
            since = Instant::now();
        }
        let Some(file) = self.table.get(&key) else { return Ok(None) };
        let Some(content) = &file.file else { return Ok(None) };
        if read_at(content, 0, GZIP_MAGIC.len())? == GZIP_MAGIC {
            tracing::warn!(path = %file.label(), "a compressed file is not followed");
            return Ok(Some(Standing::Refused));
        }
        let is_perhaps = copy::is_perhaps(content, identity, len, &self.table)?;
        Ok(Some(if is_perhaps { Standing::Candidate { since } } else { Standing::Matched }))
    }

    /// Ends with files that were rotated away or deleted and have been quiet for long enough.
    fn let_go(&mut self) {
        let quiet = self.pace.quiet;
        self.table.retain(|_, file| {
            let is_leaving = file.standing == Standing::RotatedAway || !file.is_linked;
            let is_done = file.is_read() || file.len == 0;
            if is_leaving && file.is_followed() && is_done && file.active.elapsed() >= quiet {
                report_vanished(file);
                (file.standing, file.file) = (Standing::LetGo, None);
                return file.is_linked;
            }
            true
        });
    }

    /// Closes files while more are open than may be: first those that are read, the longest
    /// quiet before the others. A file that no directory names cannot be opened again.
    fn close_idle(&mut self) {
        let open = self.table.values().filter(|file| file.file.is_some()).count();
        if open <= self.settings.open_files_max {
            return;
        }
        let mut closable: Vec<_> =
            self.table.values_mut().filter(|file| file.file.is_some() && file.is_linked).collect();
        closable.sort_by_key(|file| (!file.is_read(), file.active));
        // Some more than needed, so that not every turn has to sort them all.
        let spare = self.settings.open_files_max / 4;
        for file in closable.into_iter().take(open - self.settings.open_files_max + spare) {
            file.file = None;
        }
    }

    /// Reads what is left of files that will not be there at the next start.
    fn read_deleted(&mut self) -> Result<(), Closed> {
        for file in self.table.values_mut().filter(|file| file.file.is_some()) {
            let is_deleted = matches!(file.look(), Ok(Some(_))) && !file.is_linked;
            if is_deleted && file.candidate_since().is_none() {
                while file.turn(self.context, self.settings.line_bytes_max)? == Turn::More {}
            }
        }
        Ok(())
    }
}

fn report_vanished(file: &Followed) {
    let bytes_unread = file.unread_bytes();
    let (path, is_linked) = (file.label(), file.is_linked);
    if bytes_unread > 0 {
        tracing::error!(%path, is_linked, bytes_unread, "a file has gone with bytes that are no whole line");
    }
}

fn left_until(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now())
}
