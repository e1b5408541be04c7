//! The file of a Unix socket: made with its rights, put in place in one step, taken away at the end.
//!
//! Promises: nobody can connect before owner and mode are as configured; a file that is no socket,
//! a link included, is never touched; a socket that somebody listens on is never taken away. A
//! socket that a killed process left behind is replaced.

use std::fs::{DirBuilder, Permissions, set_permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Error;

/// Where the socket is, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// Where it is. The directory has to be there.
    pub path: PathBuf,
    /// Its rights, such as 0o660.
    pub mode: u32,
    /// A user by name or number; none: who runs the agent.
    pub owner: Option<String>,
    /// A group by name or number.
    pub group: Option<String>,
}

/// A socket's file that is ours; taken away when dropped.
#[derive(Debug)]
pub struct Owned {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Another process may have put its own there meanwhile.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // What stays is replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl SocketFile {
    /// Makes the socket by `bind` and puts it in place.
    pub(in crate::source) fn bind<T>(
        &self,
        bind: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<(T, Owned), Error> {
        let failed = |source| Error::Bind { address: self.path.display().to_string(), source };
        let owner = id_of(self.owner.as_deref(), "/etc/passwd").map_err(failed)?;
        let group = id_of(self.group.as_deref(), "/etc/group").map_err(failed)?;
        check_place(&self.path).map_err(failed)?;
        // In a directory that nobody else can enter the socket gets its rights unseen.
        let beside = format!(".meterd-{:08x}", fastrand::u32(..));
        let private = self.path.with_file_name(beside);
        DirBuilder::new().mode(0o700).create(&private).map_err(failed)?;
        let made = self.put_in_place(&private, owner, group, bind);
        // Only empty directories go; if something is left in it, it says where it came from.
        let _ = std::fs::remove_dir(&private);
        made.map_err(failed)
    }

    fn put_in_place<T>(
        &self,
        private: &Path,
        owner: Option<u32>,
        group: Option<u32>,
        bind: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<(T, Owned)> {
        let unseen = private.join("s");
        let socket = bind(&unseen)?;
        let placed = set_permissions(&unseen, Permissions::from_mode(self.mode))
            .and_then(|()| lchown(&unseen, owner, group))
            .and_then(|()| identity(&unseen))
            .and_then(|identity| std::fs::rename(&unseen, &self.path).map(|()| identity));
        match placed {
            Ok(identity) => Ok((socket, Owned { path: self.path.clone(), identity })),
            Err(error) => {
                // The error that counts is the one above.
                let _ = std::fs::remove_file(&unseen);
                Err(error)
            }
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Whether `path` is free, or has a socket that nobody listens on.
fn check_place(path: &Path) -> io::Result<()> {
    match symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let what = "there is something that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.raw_os_error() != Some(Errno::PROTOTYPE.raw_os_error()) => Err(error),
        // A datagram socket is of another type, and somebody reads from it.
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there already")),
    }
}

/// The number of a user or group: a number as it is, or a name of `file`.
fn id_of(name: Option<&str>, file: &str) -> io::Result<Option<u32>> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    let found = id_in(&std::fs::read_to_string(file)?, name);
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name:?} is not in {file}"));
    found.map(Some).ok_or_else(missing)
}

/// The third field of the line of `name`.
fn id_in(table: &str, name: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    fn file(path: PathBuf) -> SocketFile {
        SocketFile { path, mode: 0o660, owner: None, group: None }
    }

    #[test]
    fn the_socket_is_there_with_its_rights_and_goes_at_the_end() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("usage.sock");
        let (_listener, owned) =
            file(path.clone()).bind(|path| UnixListener::bind(path)).expect("bound");
        assert_eq!(symlink_metadata(&path)?.mode() & 0o777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        drop(owned);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn a_socket_that_a_killed_process_left_is_replaced() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path)?);
        let (_first, _owned) =
            file(path.clone()).bind(|path| UnixDatagram::bind(path)).expect("bound");
        let again = file(path.clone()).bind(|path| UnixListener::bind(path));
        assert!(again.is_err_and(|error| format!("{error:?}").contains("AddrInUse")));
        Ok(())
    }

    #[test]
    fn what_is_no_socket_is_never_touched() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "data")?;
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&precious, &link)?;
        for path in [&precious, &link] {
            assert!(file(path.clone()).bind(|path| UnixListener::bind(path)).is_err());
        }
        assert_eq!(std::fs::read(&precious)?, b"data");
        assert!(symlink_metadata(&link)?.is_symlink());
        Ok(())
    }

    #[test]
    fn a_socket_of_somebody_else_stays() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let (_listener, owned) =
            file(path.clone()).bind(|path| UnixListener::bind(path)).expect("bound");
        std::fs::remove_file(&path)?;
        let _other = UnixListener::bind(&path)?;
        drop(owned);
        assert!(path.exists());
        Ok(())
    }

    #[test]
    fn names_are_looked_up_and_numbers_are_not() {
        let table = "root:x:0:0::/:/bin/sh\nadm:x:4:me,you\nbad:x\n";
        assert_eq!((id_in(table, "root"), id_in(table, "adm")), (Some(0), Some(4)));
        assert_eq!((id_in(table, "bad"), id_in(table, "ad")), (None, None));
        assert!(id_of(Some("7"), "/nowhere").is_ok_and(|id| id == Some(7)));
        assert!(id_of(Some("seven"), "/nowhere").is_err());
    }
}
