//! Compressed files: whose content they hold, and their turns.
//!
//! An archive is compared with every file that is known: whose first bytes it has, and whose last
//! bytes before the cursor stand in it where they stood, is what it was made of. Reading goes on
//! there, with the same origin and offsets, once the file itself is read no more. One that holds
//! nothing known is a file of its own when a pattern means it, or when it is a rotation of a
//! followed file that came and went unseen; any other is left alone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::intake::Closed;
use crate::position::{BytesHash, PREFIX_BYTES_MAX};
use crate::source::file::archive::End;
use crate::source::file::bytes::{read_at, read_before};
use crate::source::file::discover::Directories;
use crate::source::file::followed::{Compared, Followed, Standing};
use crate::source::file::follower::Follower;
use crate::source::file::identity::{Key, identity_of};
use crate::source::file::missed::{archived_base_of, names_of};
use crate::source::file::place::Place;

/// What an archive holds.
enum Holds {
    /// It is not compressed, whatever its name says.
    Text,
    /// That takes more decompression.
    NotKnown,
    /// It is broken before that could be told.
    Broken(End),
    /// What this file holds, which is still read itself.
    InHand(Key),
    /// What was read of a file that is read no more, up to this place.
    Known(Box<Place>),
    /// Nothing that is known.
    New,
}

impl Follower<'_> {
    /// Takes in the archives beside files that are known.
    pub(super) fn take_archives(&mut self, directories: &Directories) {
        let known = self.table.values().filter(|file| file.place.offset > 0);
        let names: HashSet<PathBuf> = known.flat_map(|file| names_of(&file.path)).collect();
        let own = names.iter().filter_map(|name| name.parent());
        let everywhere: BTreeSet<&Path> =
            own.chain(directories.holding.iter().map(PathBuf::as_path)).collect();
        let mut found = Vec::new();
        for entry in everywhere.into_iter().flat_map(fs::read_dir).flatten().flatten() {
            let path = entry.path();
            let is_wanted = archived_base_of(&path).is_some_and(|base| names.contains(&base))
                && !self.patterns.means(&path);
            // The kernel is asked about archives alone, and not about every file beside them.
            let metadata = if is_wanted { entry.metadata().ok() } else { None };
            if let Some(metadata) = metadata.filter(std::fs::Metadata::is_file) {
                found.push((path, identity_of(&metadata)));
            }
        }
        for (path, identity) in found {
            if !self.table.contains_key(&identity.into()) {
                let since = Instant::now();
                let mut place = Place::new(identity);
                place.packed_bytes = Some(0);
                self.insert(Followed::new(place, path, Standing::Candidate { since }));
            }
        }
    }

    /// Gives one archive a turn. One at a time is open: what a decoder needs is not small.
    pub(super) fn turn_archive(&mut self, everything: bool) -> Result<(), Closed> {
        if everything {
            self.wake_archives();
        }
        let waiting = self
            .attention
            .restless(&self.table)
            .filter(|(_, file)| file.is_packed() && file.is_followed() && file.has_more);
        let next = waiting.min_by_key(|(_, file)| (file.file.is_none(), file.place.written_at));
        let Some((key, file)) = next else { return Ok(()) };
        if file.candidate_since().is_some() { self.compare(key) } else { self.turn(key) }
    }

    /// Marks the archives that have changed, and those whose file is not read any more.
    fn wake_archives(&mut self) {
        let made_of = self.table.values().filter_map(|file| file.made_of);
        let in_hand: HashMap<Key, bool> =
            made_of.map(|key| (key, self.table.get(&key).is_some_and(is_in_hand))).collect();
        let archives = self
            .table
            .values_mut()
            .filter(|file| file.is_packed() && file.is_followed() && !file.has_more);
        for file in archives {
            file.tell_broken(self.pace.hold);
            match file.made_of {
                Some(key) if in_hand.get(&key).copied().unwrap_or(false) => continue,
                Some(_) => file.forget_comparison(),
                None => {}
            }
            match file.wake_archive(self.pace.settle) {
                Ok(is_there) => self.is_astray |= !is_there,
                Err(error) => file.complain(&error),
            }
            self.attention.note(file.key(), file);
        }
    }

    /// Whether an archive is there of which nobody knows yet what it holds.
    pub(super) fn has_unknown_archives(&self) -> bool {
        let is_written =
            |file: &Followed| file.len > 0 && !file.is_broken() && !file.is_in_trouble();
        self.table.values().any(|file| self.is_unknown(file) && is_written(file))
    }

    /// The same by what they are now: some were found just now, or were empty or cut off.
    pub(super) fn may_have_come_in_an_archive(&self) -> bool {
        let is_written = |file: &Followed| match file.metadata() {
            Ok(Some(data)) => {
                let is_known_to_be_broken = file.is_broken() && file.is_as_seen(&data);
                data.len() > 0 && !is_known_to_be_broken && !file.is_in_trouble()
            }
            // Under another name by now: the next search finds it.
            Ok(None) | Err(_) => true,
        };
        self.table.values().any(|file| self.is_unknown(file) && is_written(file))
    }

    /// Whether nobody knows what an archive holds. One of a file that was taken to be read still,
    /// and is something else now, is to be compared anew.
    fn is_unknown(&self, file: &Followed) -> bool {
        let is_displaced =
            |of: Key| self.table.get(&of).is_some_and(|file| file.displaced_at.is_some());
        let is_candidate = file.is_packed() && file.candidate_since().is_some();
        is_candidate && file.made_of.is_none_or(is_displaced)
    }

    fn compare(&mut self, key: Key) -> Result<(), Closed> {
        let holds = match self.holds(key) {
            Ok(holds) => {
                if let Some(file) = self.table.get_mut(&key) {
                    file.end_trouble();
                }
                holds
            }
            Err(error) => {
                self.is_astray |= error.kind() == io::ErrorKind::NotFound;
                if let Some(file) = self.table.get_mut(&key) {
                    file.complain(&error);
                    file.close();
                }
                return Ok(());
            }
        };
        let is_missed = matches!(holds, Holds::New) && self.came_after_a_known_one(key);
        let Some(file) = self.table.get_mut(&key) else { return Ok(()) };
        let path = file.label();
        let is_matched = self.patterns.matches(&file.path);
        let standing = if is_matched { Standing::Matched } else { Standing::RotatedAway };
        match holds {
            Holds::NotKnown => {}
            Holds::Text if is_matched => file.has_more = false,
            Holds::Broken(end) => file.note_broken(end),
            Holds::InHand(of) => {
                file.made_of = Some(of);
                file.close();
            }
            Holds::Known(place) => {
                let offset = place.offset;
                tracing::info!(%path, offset, "the file was compressed");
                file.standing = standing;
                file.begin(*place);
                // Before any line: from here on the archive is known by its own cursor.
                return file.send_mark(self.context);
            }
            Holds::New if is_matched => file.standing = standing,
            Holds::New if is_missed => {
                tracing::warn!(%path, "a file was rotated away before it was seen, reading it now");
                file.standing = standing;
            }
            Holds::Text | Holds::New => {
                file.standing = Standing::Refused;
                file.close();
            }
        }
        Ok(())
    }

    /// Compares an archive with all that is known.
    fn holds(&mut self, key: Key) -> io::Result<Holds> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let file = self.table.get_mut(&key).ok_or_else(gone)?;
        if !file.open()? {
            return Err(gone());
        }
        let mut compared = std::mem::take(&mut file.compared);
        let file = self.table.get(&key).ok_or_else(gone)?;
        let content = file.file.as_ref().ok_or_else(gone)?;
        if !content.is_packed() {
            return Ok(Holds::Text);
        }
        let head = read_at(content, 0, PREFIX_BYTES_MAX)?;
        if let Some(end @ End::Broken { .. }) = content.end().filter(|_| head.is_empty()) {
            return Ok(Holds::Broken(end));
        }
        let mut alike: Vec<&Followed> = self
            .table
            .values()
            .filter(|known| known.key() != key && begins_like(known, &head))
            .filter(|known| {
                has_full_prefix(known) || known.may_be_older_than(file.place.written_at)
            })
            .collect();
        alike.sort_by_key(|known| (known.place.offset, known.key()));
        let is_leaving = |known: &&&Followed| {
            known.standing == Standing::RotatedAway && is_in_hand(known) && has_full_prefix(known)
        };
        if let Some(known) = alike.iter().find(is_leaving) {
            // It will be let go soon: the decompression up to its place is done once, then.
            return Ok(Holds::InHand(known.key()));
        }
        for known in alike {
            let at = (known.place.offset, known.key());
            if compared.past >= Some(at) {
                continue;
            }
            let mut place = known.place.in_copy(file.place.identity);
            (place.packed_bytes, place.written_at) = (Some(0), file.place.written_at);
            let is_in = match place.is_in(content) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(self.go_on_comparing(key, compared));
                }
                is_in => is_in?,
            };
            if is_in {
                compared.found = Some((known.key(), place));
            } else if read_at(content, place.offset - 1, 1)?.is_empty() {
                match content.end() {
                    Some(end @ End::Broken { .. }) => return Ok(Holds::Broken(end)),
                    Some(End::Whole { bytes }) if has_full_prefix(known) => {
                        // Of the same content, and made before its last bytes came.
                        place.tail = BytesHash::of(&read_before(content, bytes)?);
                        place.offset = bytes;
                        compared.found = Some((known.key(), place));
                    }
                    _ => {}
                }
            }
            compared.past = Some(at);
        }
        Ok(match compared.found {
            Some((of, _)) if self.table.get(&of).is_some_and(is_in_hand) => Holds::InHand(of),
            Some((_, place)) => Holds::Known(Box::new(place)),
            None => Holds::New,
        })
    }

    fn go_on_comparing(&mut self, key: Key, compared: Compared) -> Holds {
        if let Some(file) = self.table.get_mut(&key) {
            file.compared = compared;
        }
        Holds::NotKnown
    }

    /// Whether the archive is a rotation of a followed file, and was written to after another one
    /// that is known: it had the name while the source was at work.
    fn came_after_a_known_one(&self, key: Key) -> bool {
        let Some(archive) = self.table.get(&key) else { return false };
        let Some(base) = archived_base_of(&archive.path) else { return false };
        self.table.values().any(|known| {
            known.key() != key
                && known.place.offset > 0
                && known.place.written_at < archive.place.written_at
                && names_of(&known.path).contains(&base)
        })
    }
}

/// Whether its content is still read from the file itself.
fn is_in_hand(file: &Followed) -> bool {
    file.is_followed() && file.displaced_at.is_none() && file.candidate_since().is_none()
}

fn begins_like(known: &Followed, head: &[u8]) -> bool {
    let prefix = known.place.prefix;
    known.place.offset > 0 && prefix.len > 0 && prefix.is_start_of(head)
}

fn has_full_prefix(known: &Followed) -> bool {
    known.place.prefix.len as usize == PREFIX_BYTES_MAX
}
