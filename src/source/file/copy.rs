//! Rotation by copy and truncation: the copy's lines are those of the file it was made of.
//!
//! A program copies the log to another file and then truncates the log. The copy has another
//! inode, so it looks like a new file; its first lines were read already, and its last lines
//! perhaps not. The rule, in two halves:
//!
//! * When a known file turns out to be truncated, its directory is searched for another file
//!   whose content is the known file's as far as it was read ([`find`]). Reading goes on there
//!   with the same origin and offsets, so no line is lost and none has a second id.
//! * A new file that the patterns mean and that so far is a copy of a known one is not read for
//!   some seconds ([`likeness`]). If the known one is truncated meanwhile, the first half
//!   takes it as the copy; if not, it is a file of its own.
//!
//! What remains, and cannot be closed from outside: lines that are written to the log after the
//! last bytes were copied and before it is truncated, and were not read in that moment, are in
//! neither file. A copy that is moved away or compressed before the truncation is noticed is not
//! found, nor is one in another directory or one of a content that was never read, unless the
//! patterns mean it. A copy that stays complete for longer than the hold before its original is
//! truncated has been read as a file of its own. The number of bytes that are known to have been
//! there and cannot be found is logged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use crate::position::{BytesHash, FileIdentity, PREFIX_BYTES_MAX};
use crate::source::file::bytes::{ReadAt, end_of_lines, read_at, read_before};
use crate::source::file::content::FileContent;
use crate::source::file::followed::{Followed, Standing, written_at};
use crate::source::file::identity::{Key, identity_of};
use crate::source::file::place::{HEAD_BYTES_MAX, Place};

/// How many of a new file's last bytes are compared with the file that it may be a copy of.
const END_BYTES_MAX: usize = 4096;

/// How often a directory is listed before a truncated file has no copy in it.
const LISTINGS_MAX: usize = 3;

/// The copy of a file that was truncated.
#[derive(Debug)]
pub(super) struct Copy {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where reading goes on in it.
    pub(super) place: Place,
    /// Open for reading.
    pub(super) file: FileContent,
    /// Its size.
    pub(super) len: u64,
}

/// Looks for the copy of what `original` held before it was truncated. Where several files
/// fit, the largest holds the most lines.
pub(super) fn find(original: &Followed, table: &BTreeMap<Key, Followed>) -> Option<Copy> {
    if original.place.offset == 0 {
        // Nothing was read, so nothing tells a copy from any other file.
        return None;
    }
    // A rotation that renames older copies meanwhile hides one from a single listing.
    (0..LISTINGS_MAX)
        .find_map(|_| find_among(&paths_near(original, table), original, table))
        .or_else(|| table.values().find_map(|new| examine_open(new, original).ok().flatten()))
}

/// A new file that is open and has no name any more: it was compressed or deleted meanwhile.
fn examine_open(new: &Followed, original: &Followed) -> io::Result<Option<Copy>> {
    let Some(FileContent::Plain(file)) = new.file.as_ref().filter(|_| is_candidate(new)) else {
        return Ok(None);
    };
    let file = FileContent::Plain(file.try_clone()?);
    holding(new.path.clone(), file, original)
}

/// The regular files beside `original`, and the new ones that were found elsewhere.
fn paths_near(original: &Followed, table: &BTreeMap<Key, Followed>) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    if let Some(Ok(entries)) = original.path.parent().map(fs::read_dir) {
        let is_file = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        paths.extend(entries.flatten().filter(is_file).map(|entry| entry.path()));
    }
    let waiting = table.values().filter(|file| is_candidate(file));
    paths.extend(waiting.map(|file| file.path.clone()));
    paths
}

fn find_among(
    paths: &BTreeSet<PathBuf>,
    original: &Followed,
    table: &BTreeMap<Key, Followed>,
) -> Option<Copy> {
    let copies = paths.iter().filter_map(|path| examine(path, original, table).ok().flatten());
    copies.max_by_key(|copy| copy.len)
}

/// The file at `path` if it holds what was read of `original` and is read for nobody else.
fn examine(
    path: &Path,
    original: &Followed,
    table: &BTreeMap<Key, Followed>,
) -> io::Result<Option<Copy>> {
    let metadata = fs::symlink_metadata(path)?;
    let identity = identity_of(&metadata);
    let is_free = |key: Key| table.get(&key).is_none_or(is_candidate);
    let is_short = metadata.len() < original.place.offset;
    if (is_short && !has_full_prefix(original)) || !is_free(identity.into()) {
        return Ok(None);
    }
    let file = FileContent::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || Key::from(identity_of(&metadata)) != Key::from(identity) {
        return Ok(None);
    }
    holding(path.to_owned(), file, original)
}

/// The file if it holds what was read of `original`. Lines may have come, and been read, between
/// the copy and the truncation: a shorter one that begins alike holds what was read before.
fn holding(path: PathBuf, file: FileContent, original: &Followed) -> io::Result<Option<Copy>> {
    let FileContent::Plain(content) = &file else { return Ok(None) };
    let metadata = content.metadata()?;
    let len = metadata.len();
    if !has_full_prefix(original) && !original.may_be_older_than(written_at(&metadata)) {
        // So few bytes are those of any file of the kind, such as its header.
        return Ok(None);
    }
    let mut place = original.place.in_copy(identity_of(&metadata));
    if len < place.offset {
        if !has_full_prefix(original) {
            return Ok(None);
        }
        place.offset = end_of_lines(content)?;
        place.tail = BytesHash::of(&read_before(content, place.offset)?);
    }
    let holds = place.offset > 0 && place.is_in(&file)?;
    Ok(holds.then_some(Copy { path, place, file, len }))
}

fn has_full_prefix(original: &Followed) -> bool {
    original.place.prefix.len as usize == PREFIX_BYTES_MAX
}

/// How a new file looks beside those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// It is none of them.
    None,
    /// It may be a copy of one, finished or under way.
    Perhaps,
    /// So far it is a copy of one, and too long to be one by chance.
    Copy,
}

/// Whether the new file `candidate`, whose size is `len`, may be a copy of a known one, finished
/// or under way. Known files that begin otherwise are looked at only if they are among
/// `unsettled`.
pub(super) fn likeness(
    candidate: &FileContent,
    identity: FileIdentity,
    len: u64,
    table: &BTreeMap<Key, Followed>,
    unsettled: &HashSet<Key>,
) -> io::Result<Likeness> {
    let head = read_at(candidate, 0, HEAD_BYTES_MAX)?;
    let new = New { file: candidate, head, len };
    let age = |identity: FileIdentity| (identity.born_nanos, identity.inode);
    let known = table.values().filter(|known| {
        // Of two new files only the later one can be the copy.
        let is_earlier = !is_candidate(known) || age(known.place.identity) < age(identity);
        known.is_followed() && is_earlier && known.key() != Key::from(identity)
    });
    let mut likeness = Likeness::None;
    for known in known {
        if likeness < Likeness::Copy
            && (begins_alike(&new, known) || unsettled.contains(&known.key()))
        {
            likeness = likeness.max(likeness_to(&new, known)?);
        }
    }
    Ok(likeness)
}

/// Whether the content of `known` may be another than when it was read: what it begins with says
/// nothing, then. Of new files nothing was read.
pub(super) fn is_unsettled(known: &Followed) -> bool {
    match known.metadata() {
        Ok(Some(metadata)) => {
            let is_read = !known.place.head.is_empty() && known.is_as_seen(&metadata);
            metadata.len() > 0 && !is_read
        }
        // Not there under its name: it may have been truncated and then renamed.
        _ => true,
    }
}

fn begins_alike(new: &New<'_>, known: &Followed) -> bool {
    let both = known.place.head.len().min(new.head.len());
    both > 0 && known.place.head.get(..both) == new.head.get(..both)
}

struct New<'a> {
    file: &'a FileContent,
    head: Vec<u8>,
    len: u64,
}

/// What `known` holds now counts as well as what was read of it: it may have been truncated and
/// written to since, and the new file be a copy of that.
fn likeness_to(new: &New<'_>, known: &Followed) -> io::Result<Likeness> {
    if known.is_packed() {
        let holds = known.place.in_copy(known.place.identity).is_in(new.file)?;
        return Ok(if holds { likeness_of(new) } else { Likeness::None });
    }
    // It is looked for, and known no longer when it is not found.
    let Ok(Some(_)) = known.metadata() else { return Ok(Likeness::Perhaps) };
    let reopened;
    let original = if let Some(file) = &known.file {
        file
    } else {
        let Ok(file) = FileContent::open(&known.path) else { return Ok(Likeness::Perhaps) };
        if Key::from(identity_of(&file.metadata()?)) != known.key() {
            return Ok(Likeness::Perhaps);
        }
        reopened = file;
        &reopened
    };
    // In this order: a difference counts only if the known file is whole after it was found.
    // One that is not was truncated, and its own turn decides whose copy this is.
    if is_start_of(new.file, new.len, original)? {
        return Ok(likeness_of(new));
    }
    let is_perhaps = begins_alike(new, known) && !is_whole(known, original)?;
    Ok(if is_perhaps { Likeness::Perhaps } else { Likeness::None })
}

/// Of a new file that is a copy so far.
fn likeness_of(new: &New<'_>) -> Likeness {
    if new.len >= PREFIX_BYTES_MAX as u64 { Likeness::Copy } else { Likeness::Perhaps }
}

/// Whether the first and the last bytes of `candidate` are in `original` at the same offsets.
fn is_start_of(candidate: &impl ReadAt, len: u64, original: &impl ReadAt) -> io::Result<bool> {
    let end_at = len.saturating_sub(END_BYTES_MAX as u64);
    for (offset, bytes_max) in [(0, PREFIX_BYTES_MAX), (end_at, END_BYTES_MAX)] {
        let rest = usize::try_from(len - offset).unwrap_or(usize::MAX);
        let bytes = bytes_max.min(rest);
        if read_at(candidate, offset, bytes)? != read_at(original, offset, bytes)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_whole(known: &Followed, file: &FileContent) -> io::Result<bool> {
    Ok(file.metadata()?.len() >= known.place.offset && known.place.clone().is_in(file)?)
}

fn is_candidate(file: &Followed) -> bool {
    matches!(file.standing, Standing::Candidate { .. })
}
