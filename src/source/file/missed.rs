//! Files that came and were rotated away before anybody saw them.
//!
//! While the agent is down, or busy, a log can be rotated more than once. The file that was known
//! is found again by its inode, and the one that has the name now by the pattern; those between
//! have a name that no pattern means, such as `usage.jsonl.2`, and nobody knows them. They are
//! found by the rule in [`find`]; without birth times of files it finds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::position::{FileIdentity, PREFIX_BYTES_MAX};
use crate::source::file::bytes::read_at;
use crate::source::file::content::open;
use crate::source::file::discover::{Directories, Patterns};
use crate::source::file::followed::{Followed, written_at};
use crate::source::file::identity::{Key, identity_of};

/// The endings of compressed files.
const ENDINGS: [&str; 4] = ["gz", "zst", "zstd", "xz"];

/// A file that was missed.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) identity: FileIdentity,
    pub(super) path: PathBuf,
}

/// Finds files in `directories` that had a name of the patterns while the source was at work.
///
/// Such a file has that name with a rotation's suffix now. It is younger than some file that is
/// known under the name, so it came after the source began. It is older than the file that has
/// the name now, so it did have the name; or it was written to after another rotation of the name
/// that is known, and so is the copy of what came between that and a further truncation. And it
/// does not begin as a known file does, as a copy made by hand would.
pub(super) fn find(
    patterns: &Patterns,
    directories: &Directories,
    table: &BTreeMap<Key, Followed>,
) -> Vec<Missed> {
    let mut missed = Vec::new();
    let births = births(table);
    if births.is_empty() {
        return missed;
    }
    for directory in &directories.holding {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Some(base) = base_of(&path) else { continue };
            let Some(began) = births.get(&base) else { continue };
            if patterns.matches(&base) && !patterns.means(&path) {
                // A file that cannot be looked at now is found by the next search.
                missed.extend(examine(&path, &base, *began, table).ok().flatten());
            }
        }
    }
    missed.sort_by_key(|missed| missed.identity.born_nanos);
    missed
}

/// When the oldest known file of each name was born, by the name without a rotation's suffix.
fn births(table: &BTreeMap<Key, Followed>) -> BTreeMap<PathBuf, i64> {
    let mut births = BTreeMap::new();
    for file in table.values().filter(|file| file.place.offset > 0) {
        let Some(born) = file.place.identity.born_nanos else { continue };
        for name in names_of(&file.path) {
            let oldest = births.entry(name).or_insert(born);
            *oldest = born.min(*oldest);
        }
    }
    births
}

/// The names that the file at `path` may have had before it was rotated and compressed.
pub(super) fn names_of(path: &Path) -> BTreeSet<PathBuf> {
    [Some(path.to_owned()), base_of(path), archived_base_of(path)].into_iter().flatten().collect()
}

/// The path of an archive without its ending and what a rotation adds; none of other files.
pub(super) fn archived_base_of(path: &Path) -> Option<PathBuf> {
    let ending = path.extension()?;
    let rotated = path.with_extension("");
    ENDINGS.iter().any(|known| ending == *known).then(|| base_of(&rotated).unwrap_or(rotated))
}

/// The path without what a rotation adds: `.1`, `-20261121`, `.2026-11-21_06`.
fn base_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let is_suffix = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-' | '_');
    let base = name.trim_end_matches(is_suffix);
    let suffix = name.get(base.len()..)?;
    let begins =
        suffix.starts_with(['.', '-', '_']) && suffix.ends_with(|last: char| last.is_ascii_digit());
    (begins && !base.is_empty()).then(|| path.with_file_name(base))
}

fn examine(
    path: &Path,
    base: &Path,
    began: i64,
    table: &BTreeMap<Key, Followed>,
) -> io::Result<Option<Missed>> {
    let metadata = fs::symlink_metadata(path)?;
    let identity = identity_of(&metadata);
    let Some(born) = identity.born_nanos else { return Ok(None) };
    if !metadata.is_file() || born <= began || table.contains_key(&identity.into()) {
        return Ok(None);
    }
    let named = match open(base) {
        Ok(file) => Some((identity_of(&file.metadata()?).born_nanos, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let had_the_name = named.as_ref().is_none_or(|(named, _)| named.is_some_and(|at| at > born));
    let head = read_at(&open(path)?, 0, PREFIX_BYTES_MAX)?;
    if !had_the_name {
        let written_at = written_at(&metadata);
        let is_later = table.values().any(|known| {
            let is_rotated =
                known.place.offset > 0 && base_of(&known.path).as_deref() == Some(base);
            is_rotated && known.place.written_at < written_at
        });
        // It may be a copy under way.
        let now = named.map(|(_, file)| read_at(&file, 0, head.len())).transpose()?;
        if !is_later || now.as_ref() == Some(&head) {
            return Ok(None);
        }
    }
    let is_copy = table.values().any(|known| {
        let prefix = known.place.prefix;
        prefix.len > 0 && prefix.is_start_of(&head)
    });
    Ok((!is_copy && !head.is_empty()).then(|| Missed { identity, path: path.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffixes_of_rotations_are_taken_off() {
        let base = |name: &str| base_of(Path::new(name)).map(|base| base.display().to_string());
        for rotated in
            ["/l/u.jsonl.1", "/l/u.jsonl-20261121", "/l/u.jsonl.2026-11-21_06", "/l/u.jsonl.10"]
        {
            assert_eq!(base(rotated).as_deref(), Some("/l/u.jsonl"), "{rotated}");
        }
        for other in
            ["/l/u.jsonl", "/l/u.jsonl.tmp", "/l/u.jsonl.1.gz", "/l/u.jsonl.", "/l/.1", "/l/u2"]
        {
            assert_eq!(base(other), None, "{other}");
        }
    }
}
