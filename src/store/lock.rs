//! One writer per store, and directories that are there after a power cut.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::Error;

/// The name of the lock file in the state directory.
const FILE_NAME: &str = "meterd.lock";

/// Held while the process may write to the store; the kernel lets go of it when it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `directory`, or says who has it.
    pub(super) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        let failed = |source| Error::Directory { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The process number is a courtesy: without it the message is shorter.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(process) => format!(" (process {process})"),
                    Err(_) => String::new(),
                };
                return Err(Error::InUse { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
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

/// Whether nobody has the lock of `directory`.
pub(super) fn is_free(directory: &Path) -> bool {
    let file = File::open(directory.join(FILE_NAME));
    file.is_ok_and(|file| !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
