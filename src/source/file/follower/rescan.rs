//! Finding the files of the patterns, and those that have gone elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use crate::intake::Closed;
use crate::position::FileIdentity;
use crate::source::file::ReadFrom;
use crate::source::file::content::FileContent;
use crate::source::file::discover::{Directories, Found, by_inode};
use crate::source::file::followed::{Followed, Standing};
use crate::source::file::follower::Follower;
use crate::source::file::identity::{Key, identity_of};
use crate::source::file::missed::{self, Missed, archived_base_of};
use crate::source::file::place::Place;

/// How often directories that are just being made are looked for at once.
const COVERS_MAX: usize = 10;

impl Follower<'_> {
    /// Finds the files of the patterns, and those known that have gone elsewhere.
    pub(super) fn rescan(&mut self) -> Result<(), Closed> {
        self.scanned_at = Instant::now();
        let mut directories = self.cover_directories();
        let mut found: BTreeMap<Key, (FileIdentity, Vec<PathBuf>)> = BTreeMap::new();
        let now = SystemTime::now();
        for Found { path, metadata } in self.patterns.scan() {
            let identity = identity_of(&metadata);
            if self.is_too_old(&metadata, now) && !self.table.contains_key(&identity.into()) {
                continue;
            }
            found.entry(identity.into()).or_insert_with(|| (identity, Vec::new())).1.push(path);
        }
        self.cover_targets(&found, &mut directories);
        for (key, file) in &mut self.table {
            let Some((_, paths)) = found.get(key) else { continue };
            if let Some(first) = paths.first().filter(|_| !paths.contains(&file.path)) {
                file.move_to(first.clone());
            }
            if matches!(file.standing, Standing::RotatedAway | Standing::LetGo) {
                file.standing = Standing::Matched;
            }
        }
        self.seek_missing(&found.keys().copied().collect(), &directories)?;
        let is_first = std::mem::take(&mut self.is_first_scan);
        for (key, (identity, paths)) in found {
            if let Some(path) = paths.into_iter().next().filter(|_| !self.table.contains_key(&key))
            {
                if is_first && self.settings.read_from == ReadFrom::End {
                    self.from_end.insert(key);
                }
                self.admit(identity, path)?;
            }
        }
        self.take_missed(&directories);
        self.take_archives(&directories);
        Ok(())
    }

    /// Takes files in that had a name of the patterns and have another now.
    fn take_missed(&mut self, directories: &Directories) {
        for Missed { identity, path } in missed::find(&self.patterns, directories, &self.table) {
            let mut file = Followed::new(Place::new(identity), path, Standing::RotatedAway);
            file.has_more = true;
            let path = file.label();
            tracing::warn!(%path, "a file was rotated away before it was seen, reading it now");
            self.insert(file);
        }
    }

    /// Watches the directories, before they are searched: what comes after is told by the kernel.
    fn cover_directories(&mut self) -> Directories {
        let mut directories = self.patterns.directories();
        for _ in 0..COVERS_MAX {
            self.watch.cover(&directories);
            // One that came before its parent was watched shows only now.
            let now = self.patterns.directories();
            if now == directories {
                break;
            }
            directories = now;
        }
        directories
    }

    /// Targets of symbolic links are written to in other directories.
    fn cover_targets(
        &mut self,
        found: &BTreeMap<Key, (FileIdentity, Vec<PathBuf>)>,
        directories: &mut Directories,
    ) {
        let before = directories.holding.len();
        for parent in found.values().flat_map(|(_, paths)| paths).filter_map(|path| path.parent()) {
            if !directories.holding.contains(parent) {
                directories.holding.insert(parent.to_owned());
            }
        }
        if directories.holding.len() > before {
            self.watch.cover(directories);
        }
    }

    /// Known files that no pattern means any more: an open one is read on; a closed one is
    /// looked for by its inode number, in its directory and in those of the patterns. So is one that was not
    /// there at any time of this run: its file system may be mounted late.
    fn seek_missing(
        &mut self,
        found: &HashSet<Key>,
        directories: &Directories,
    ) -> Result<(), Closed> {
        let mut missing = Vec::new();
        for (key, file) in self.table.iter_mut().filter(|(key, _)| !found.contains(key)) {
            if file.standing == Standing::Matched {
                file.standing = Standing::RotatedAway;
            }
            let is_sought = file.is_followed() && file.file.is_none() || file.was_never_there();
            // Where it cannot be looked at, it may be there.
            if is_sought && matches!(file.look(), Ok(None)) {
                missing.push(*key);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let own = missing.iter().filter_map(|key| self.table.get(key)?.path.parent());
        let everywhere: BTreeSet<&Path> =
            own.chain(directories.holding.iter().map(PathBuf::as_path)).collect();
        let inodes = by_inode(everywhere);
        for key in missing {
            let Some(file) = self.table.get_mut(&key) else { continue };
            let paths = inodes.get(&file.place.identity.inode).map_or(&[][..], Vec::as_slice);
            let moved = paths.iter().find_map(|path| Some((path, remounted(file, path)?)));
            if let Some((path, place)) = moved {
                self.take_over(key, path.clone(), place)?;
                continue;
            }
            let is_found = paths.iter().any(|path| {
                file.move_to(path.clone());
                matches!(file.look(), Ok(Some(_)))
            });
            if is_found && !file.is_followed() {
                (file.standing, file.vanished_at) = (Standing::RotatedAway, None);
                file.has_more = true;
            } else if !is_found && file.is_followed() {
                (file.standing, file.vanished_at) = (Standing::LetGo, Some(Instant::now()));
                file.is_linked = false;
            }
        }
        Ok(())
    }

    /// Goes on with a known file at a place of another identity.
    fn take_over(&mut self, key: Key, path: PathBuf, place: Place) -> Result<(), Closed> {
        let Some(mut old) = self.table.remove(&key) else { return Ok(()) };
        let standing =
            if self.patterns.matches(&path) { Standing::Matched } else { Standing::RotatedAway };
        let mut file = Followed::new(place, path, standing);
        file.has_more = true;
        let path = file.label();
        tracing::info!(%path, "the file is known, on a device of another number");
        // In this order: a crash between leaves two cursors, of which one is of no file.
        file.send_mark(self.context)?;
        self.insert(file);
        old.send_forgotten(self.context)
    }

    fn is_too_old(&self, metadata: &Metadata, now: SystemTime) -> bool {
        self.settings.ignore_older.is_some_and(|most| {
            let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok());
            age.is_some_and(|age| age > most)
        })
    }

    /// Takes a file in that was never seen before.
    fn admit(&mut self, identity: FileIdentity, path: PathBuf) -> Result<(), Closed> {
        let since = Instant::now();
        let mut place = Place::new(identity);
        // Its first bytes tell, once it is open; until then its name.
        place.packed_bytes = archived_base_of(&path).map(|_| 0);
        let mut file = Followed::new(place, path, Standing::Candidate { since });
        if self.from_end.contains(&file.key()) {
            let skipped = file.skip_to_end(self.context);
            if skipped.is_err() {
                // Found again by the next search.
                return Ok(());
            }
            let (path, bytes) =
                (file.label(), file.place.packed_bytes.unwrap_or(file.place.offset));
            tracing::info!(%path, bytes, "what was in the file before the source began is not read");
            file.standing = Standing::Matched;
            file.send_mark(self.context)?;
            self.from_end.remove(&file.key());
        }
        self.insert(file);
        self.close_idle();
        Ok(())
    }

    /// Puts a file into the table.
    pub(super) fn insert(&mut self, file: Followed) {
        let identity = file.place.identity;
        // Earlier files of the same number are gone for good. One that was read is still to be
        // known again in its archive.
        let stale: Vec<Key> = self
            .table
            .range(Key::range_of(identity.inode))
            .filter(|(_, old)| old.file.is_none() && old.place.identity.device == identity.device)
            .filter(|(_, old)| old.place.offset == 0)
            .map(|(key, _)| *key)
            .collect();
        for key in stale {
            self.table.remove(&key);
        }
        self.attention.note_new(file.key(), &file);
        self.table.insert(file.key(), file);
    }
}

/// Where `known` stands in the file at `path`, if that is the same one on a device of another number. Archives
/// are compared with all that is known anyway.
fn remounted(known: &Followed, path: &Path) -> Option<Place> {
    // Where births are known it is none, and nothing has to be opened for that.
    if known.place.identity.born_nanos.is_some() {
        return None;
    }
    let FileContent::Plain(file) = FileContent::open(path).ok()? else { return None };
    let identity = identity_of(&file.metadata().ok()?);
    known.place.on_another_device(identity, &file)
}
