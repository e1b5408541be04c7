//! One writer per store, what it knows to be committed, and directories that are there after a power cut.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Error;

/// The name of the lock file in the state directory.
pub(super) const FILE_NAME: &str = "meterd.lock";

/// A lock is shorter.
const BYTES_MAX: u64 = 256;

/// Held while the process may write to the store; the kernel lets go of it when it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// What the holder before has left.
    pub(super) mark: Option<Mark>,
}

/// How far a store had come when its writer knew it last. It is written behind each commit and never
/// waited for: after a power cut it may lag behind, and it is never ahead of what is durable. So
/// a store with fewer commits has lost some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The store's own id.
    pub(super) store_id: String,
    /// Transactions over its life.
    pub(super) commits: i64,
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store_id, commits } = self;
        write!(out, "{store_id} {commits:020} {:016x}", self.checksum())
    }
}

impl Mark {
    /// The mark in the text of a lock; none: there is none, or it is not what was written.
    fn parse(lock: &str) -> Option<Self> {
        let line = lock.lines().nth(1)?;
        let [store_id, commits, _] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let mark = Self { store_id: store_id.to_owned(), commits: commits.parse().ok()? };
        (mark.to_string() == line).then_some(mark)
    }

    fn checksum(&self) -> u64 {
        let digest: [u8; 32] = Sha256::digest(format!("{} {}", self.store_id, self.commits)).into();
        u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// What the writer of the store in `directory` has left.
pub(super) fn mark(directory: &Path) -> Option<Mark> {
    let mut lock = Vec::new();
    File::open(directory.join(FILE_NAME)).ok()?.take(BYTES_MAX).read_to_end(&mut lock).ok()?;
    Mark::parse(&String::from_utf8_lossy(&lock))
}

impl Lock {
    /// Takes the lock of `directory`, or says who has it.
    pub(super) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        let failed = |source| Error::Directory { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        let is_taken = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        };
        let mut text = Vec::new();
        // Without them nothing is known of a holder.
        let _ = (&file).take(BYTES_MAX).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        if is_taken {
            let holder = match text.lines().next().map(str::parse::<u32>) {
                Some(Ok(process)) => format!(" (process {process})"),
                _ => String::new(),
            };
            return Err(Error::InUse { path, holder });
        }
        let lock = Self { file, mark: Mark::parse(&text) };
        lock.write(lock.mark.as_ref()).map_err(failed)?;
        Ok(lock)
    }

    /// Leaves word that the store has come so far.
    pub(super) fn leave(&self, mark: &Mark) {
        // What is not written says nothing, now or later.
        let _ = self.write(Some(mark));
    }

    fn write(&self, mark: Option<&Mark>) -> io::Result<()> {
        let mark = mark.map(|mark| format!("{mark}\n")).unwrap_or_default();
        let text = format!("{}\n{mark}", std::process::id());
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

/// Fails where something else stands in the place of a file of the store in `directory`: what is behind
/// a link is not ours to write to, and who opens a pipe waits for its other end.
pub(super) fn check_files(directory: &Path) -> Result<(), Error> {
    let of_database = ["", "-wal", "-shm", "-journal"].map(|end| super::FILE_NAME.to_owned() + end);
    for name in of_database.iter().map(String::as_str).chain([FILE_NAME]) {
        let path = directory.join(name);
        let source = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => continue,
            Ok(_) => {
                io::Error::other("not a regular file, and no other is taken for one of the store")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => error,
        };
        return Err(Error::Directory { path, source });
    }
    Ok(())
}

/// Whether others than this user and root may put files of theirs in the place of those in `directory`, which
/// is that of a store.
pub fn is_open_to_others(directory: &Path) -> io::Result<bool> {
    const WRITTEN_BY_OTHERS: u32 = 0o002;
    let found = directory.metadata()?;
    let owners = [0, rustix::process::geteuid().as_raw()];
    Ok(!owners.contains(&found.uid()) || found.mode() & WRITTEN_BY_OTHERS != 0)
}

/// Whether nobody has the lock of `directory`: nobody has one that is not there.
pub(super) fn is_free(directory: &Path) -> bool {
    match File::open(directory.join(FILE_NAME)) {
        Ok(file) => !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Makes `directory` and its parents, for its owner only, as durable as the files in it.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    match directory.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // What is there cannot be looked at: making it again would only hide why.
        Err(error) => return Err(error),
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    directory.parent().map_or(Ok(()), sync_directory)
}

/// Makes the file at `path` for its owner only, if it is not there. What SQLite makes beside it
/// gets the same rights.
pub(super) fn create_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(|_| ())
}

/// Makes the entries of `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}
