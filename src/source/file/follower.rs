//! All files of a source: finding them, giving each its turn, letting go of them.
//!
//! One round gives every file that may have changed a turn, known files before new ones: a
//! known file that was truncated takes its copy before the copy could pass for a new file.

mod archives;
mod attention;
mod removal;
mod rescan;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::intake::Closed;
use crate::position::{Cursor, Origin};
use crate::source::Context;
use crate::source::file::copy::Likeness;
use crate::source::file::discover::Patterns;
use crate::source::file::followed::{Followed, Standing, Turn};
use crate::source::file::follower::attention::Attention;
use crate::source::file::follower::removal::Removal;
use crate::source::file::identity::Key;
use crate::source::file::place::Place;
use crate::source::file::watch::{Signals, Watch};
use crate::source::file::{Error, Pace, Settings, copy, label_of};

/// A search for files, or a look at all of them, may take this part of the time, however often files come and go.
const RESCAN_SHARE: u32 = 20;

/// For no longer than this: a file system that did not answer for an hour is no reason to look away for a day.
const SHARE_MAX: Duration = Duration::from_secs(60);

/// The same where the kernel has not asked for it and tells of what happens: few files are looked at as
/// often as ever, ten thousand every some seconds.
const UNASKED_SHARE: u32 = 200;

/// For no longer than this, should one have taken long because the machine was busy.
const UNASKED_MAX: Duration = Duration::from_secs(20);

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
    /// When files were last searched for.
    scanned_at: Instant,
    /// Known files that may hold something else than was read of them.
    unsettled: HashSet<Key>,
    attention: Attention,
    /// At most so many files are open.
    open_most: usize,
    removal: Removal,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        context: &'a Context,
        pace: Pace,
        watch: Watch,
        mut cursors: Vec<Cursor>,
        store: &Path,
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
        Ok(Self {
            settings,
            context,
            pace,
            patterns,
            watch,
            table,
            is_first_scan,
            from_end,
            is_astray: false,
            scanned_at: Instant::now(),
            unsettled: HashSet::new(),
            attention: Attention::default(),
            open_most: 0,
            removal: Removal::new(store),
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
                self.clear_away().map_err(|Closed| Error::Closed)?;
                scan_at = began + self.unasked_in(self.pace.rescan, began.elapsed());
                let share = SHARE_MAX.min(began.elapsed() * RESCAN_SHARE);
                scan_from = Instant::now() + self.pace.round.max(share);
            }
            let everything = must_scan || began >= look_at;
            let touched = std::mem::take(&mut signals.touched);
            let has_more = self.round(everything, &touched).map_err(|Closed| Error::Closed)?;
            signals.rescan |= std::mem::take(&mut self.is_astray);
            if everything {
                // Many files: looking at all of them takes a part of the time only, too.
                look_at = began + self.unasked_in(self.settings.poll_interval, began.elapsed());
            }
            if self.attention.restless(&self.table).any(|(_, file)| file.is_held_back()) {
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

    /// When what has taken `took` and is usual every `usual` is due again if nobody asks for it.
    fn unasked_in(&self, usual: Duration, took: Duration) -> Duration {
        let longest = if self.watch.is_whole() { UNASKED_MAX } else { Duration::ZERO };
        usual.max(SHARE_MAX.min(took * RESCAN_SHARE)).max(longest.min(took * UNASKED_SHARE))
    }

    /// Gives every file a turn that may have changed. Tells whether some have more to read.
    fn round(&mut self, everything: bool, touched: &HashSet<OsString>) -> Result<bool, Closed> {
        let context = self.context;
        let _beat = context.pulse.beat();
        let (known, mut candidates) = self.due(everything, touched);
        for key in known {
            if self.context.stop.is_draining() {
                return Ok(false);
            }
            self.turn(key)?;
        }
        if !candidates.is_empty() {
            let known = self.table.values().filter(|file| file.is_followed());
            self.unsettled =
                known.filter(|file| copy::is_unsettled(file)).map(Followed::key).collect();
        }
        // The older first: of a file and its copy, it is the file.
        candidates
            .sort_by_key(|key| self.table.get(key).map(|file| file.place.identity.born_nanos));
        for key in candidates {
            if self.is_released(key, everything) {
                self.turn(key)?;
                // It was read just now: its first bytes are known.
                self.unsettled.remove(&key);
            }
            self.close_idle();
        }
        self.turn_archive(everything)?;
        self.release_displaced();
        if everything {
            self.let_go();
            self.attention = Attention::of(&self.table);
        } else {
            self.attention.calm(&self.table);
        }
        let mut restless = self.attention.restless(&self.table);
        Ok(restless.any(|(_, file)| file.has_more && file.is_followed()))
    }

    /// The known files and the new ones that a round has to look at.
    fn due(&mut self, everything: bool, touched: &HashSet<OsString>) -> (Vec<Key>, Vec<Key>) {
        let (mut known, mut candidates) = (Vec::new(), Vec::new());
        let is_told = |file: &Followed| file.name().is_some_and(|name| touched.contains(name));
        let mut sort = |key: Key, file: &Followed| match file.standing {
            _ if file.is_packed() || !file.is_followed() => {}
            Standing::Candidate { .. } => candidates.push(key),
            _ => known.push(key),
        };
        if everything {
            self.table.iter().for_each(|(key, file)| sort(*key, file));
        } else {
            self.attention.touch(touched);
            let restless = self.attention.restless(&self.table);
            let due = restless.filter(|(_, file)| file.has_more || is_told(file));
            due.for_each(|(key, file)| sort(key, file));
        }
        (known, candidates)
    }

    fn turn(&mut self, key: Key) -> Result<(), Closed> {
        let Some(file) = self.table.get_mut(&key) else { return Ok(()) };
        let was_open = file.file.is_some();
        // One file is one thing: many of them are no reason to be taken for stuck.
        self.context.pulse.go_on();
        match file.turn(self.context, self.settings.line_bytes_max)? {
            Turn::Done | Turn::More => {}
            Turn::Missing => {
                // Not tried again before it is found: a wait, not a loop.
                (file.has_more, self.is_astray) = (false, true);
            }
            Turn::Changed => self.replace(key)?,
        }
        let Some(file) = self.table.get(&key) else { return Ok(()) };
        self.attention.note(key, file);
        if file.file.is_some() && !was_open {
            self.close_idle();
        }
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
        } else if self.may_be_in_an_archive(key) {
            return Ok(());
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

    /// Whether what was read of a file that holds something else now may still be found in an
    /// archive: not before files were searched for, and while it is not known what one holds.
    fn may_be_in_an_archive(&mut self, key: Key) -> bool {
        let Some(file) = self.table.get_mut(&key) else { return false };
        let displaced_at = *file.displaced_at.get_or_insert_with(Instant::now);
        (file.has_more, self.is_astray) = (false, true);
        let was_read = file.place.offset > 0;
        was_read && (self.scanned_at <= displaced_at || self.may_have_come_in_an_archive())
    }

    /// Gives files a turn whose content is in no archive, or was found in one.
    fn release_displaced(&mut self) {
        let is_released =
            |file: &Followed| file.displaced_at.is_some_and(|at| self.scanned_at > at);
        let is_any = self.attention.restless(&self.table).any(|(_, file)| is_released(file));
        // As `may_be_in_an_archive` asks it: what one releases and the other holds back would never rest.
        if is_any && !self.may_have_come_in_an_archive() {
            let scanned_at = self.scanned_at;
            for file in self.table.values_mut() {
                file.has_more |= file.displaced_at.is_some_and(|at| scanned_at > at);
            }
        }
    }

    fn standing_of(&self, path: &Path) -> Standing {
        if self.patterns.matches(path) { Standing::Matched } else { Standing::RotatedAway }
    }

    /// Whether a new file is one of its own, to be read from its beginning. Time decides only
    /// when all known files were looked at just before.
    fn is_released(&mut self, key: Key, known_are_fresh: bool) -> bool {
        let hold = self.pace.hold;
        match self.examine(key) {
            Ok(Some((Standing::Candidate { since }, is_copy))) => {
                let released = known_are_fresh && since.elapsed() >= hold && !is_copy;
                let standing =
                    if released { Standing::Matched } else { Standing::Candidate { since } };
                self.set_standing(key, standing);
                released
            }
            Ok(Some((standing, _))) => {
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

    /// What a new file turns out to be, and whether so far it is a copy without a doubt; none
    /// when it is not where it was found.
    fn examine(&mut self, key: Key) -> io::Result<Option<(Standing, bool)>> {
        let Some(file) = self.table.get_mut(&key) else { return Ok(None) };
        let before = file.len;
        if file.look()?.is_none() {
            return Ok(None);
        }
        let (identity, len) = (file.place.identity, file.len);
        if len == 0 {
            return Ok(Some((Standing::Candidate { since: Instant::now() }, false)));
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
        if content.is_packed() {
            // Its turn is among the archives.
            return Ok(Some((Standing::Candidate { since }, true)));
        }
        let likeness = copy::likeness(content, identity, len, &self.table, &self.unsettled)?;
        Ok(Some(match likeness {
            Likeness::None => (Standing::Matched, false),
            Likeness::Perhaps => (Standing::Candidate { since }, false),
            Likeness::Copy => (Standing::Candidate { since }, true),
        }))
    }

    /// Ends with files that were rotated away or deleted and have been quiet for long enough.
    fn let_go(&mut self) {
        let quiet = self.pace.quiet;
        for file in self.table.values_mut() {
            let is_leaving = file.standing == Standing::RotatedAway || !file.is_linked;
            let is_done = file.is_read() || file.len == 0;
            if is_leaving && file.is_followed() && is_done && file.active.elapsed() >= quiet {
                (file.standing, file.file) = (Standing::LetGo, None);
                file.vanished_at = (!file.is_linked).then(Instant::now);
            }
        }
        self.report_vanished();
        // What was read of a file tells its archive, should that come.
        self.table.retain(|_, file| {
            file.standing != Standing::LetGo || file.is_linked || file.place.origin.is_some()
        });
    }

    /// Tells of files that are gone with bytes that were not read, once no archive can have them.
    fn report_vanished(&mut self) {
        let waits = self.pace.hold + self.pace.settle;
        let is_due = |file: &Followed| file.vanished_at.is_some_and(|at| at.elapsed() >= waits);
        if !self.table.values().any(is_due) || self.has_unknown_archives() {
            return;
        }
        let read_on: HashSet<Origin> = self
            .table
            .values()
            .filter(|file| file.vanished_at.is_none())
            .filter_map(|file| file.place.origin)
            .collect();
        for file in self.table.values_mut().filter(|file| is_due(file)) {
            file.vanished_at = None;
            let bytes_unread = file.unread_bytes();
            let is_elsewhere = file.place.origin.is_some_and(|origin| read_on.contains(&origin));
            if bytes_unread > 0 && !is_elsewhere {
                let (path, is_partial) = (file.label(), file.is_read());
                tracing::error!(%path, bytes_unread, is_partial, "a file has gone with bytes that were not read");
            }
        }
    }

    /// Closes files while more are open than may be: first those that are read, the longest
    /// quiet before the others. A file that no directory names cannot be opened again.
    fn close_idle(&mut self) {
        // Called for each file that was opened: they are counted only when there may be too many.
        self.open_most += 1;
        if self.open_most <= self.settings.open_files_max {
            return;
        }
        let open = self.table.values().filter(|file| file.file.is_some()).count();
        self.open_most = open;
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
            self.open_most -= 1;
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

fn left_until(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now())
}
