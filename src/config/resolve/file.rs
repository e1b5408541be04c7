//! Files that a configuration names: whether they can be read, and by whom.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::problem::Notes;
use super::Surroundings;

/// Where `file` is; that it cannot be read is a problem.
pub(super) fn readable(
    key: &str,
    file: &Path,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> PathBuf {
    let path = around.locate(file);
    notes.file(key, &path);
    if let Err(error) = open(&path) {
        notes.problem(key, format!("{}: {error}", path.display()), "a readable file");
    }
    path
}

/// The text of the file at `path`, of at most `bytes_max` bytes.
pub(super) fn text(key: &str, path: &Path, bytes_max: u64, notes: &Notes) -> Option<String> {
    notes.file(key, path);
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        notes.problem(key, format!("{}: {error}", path.display()), "a readable file");
        return None;
    }
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > bytes_max) {
        let expected = format!("at most {}", crate::units::ByteSize(bytes_max));
        notes.problem(key, format!("{}: a larger file", path.display()), expected);
        return None;
    }
    let text = String::from_utf8(bytes).ok();
    if text.is_none() {
        notes.problem(key, format!("{}: not UTF-8", path.display()), "a text file in UTF-8");
    }
    text
}

/// Warns when everybody on this host may read the secret at `path`.
pub(super) fn warn_if_readable_by_others(key: &str, path: &Path, notes: &Notes) {
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o004 != 0) {
        let message =
            format!("{} can be read by everybody on this host: chmod o-r", path.display());
        notes.warning(key, message);
    }
}

/// Only a regular file: opening a pipe would wait for whoever writes to it.
fn open(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(std::io::Error::other("not a regular file"))
    }
}
