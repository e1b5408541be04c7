//! Waits until there is a reason to look at files: the kernel's word, a stop, or the time.
//!
//! The kernel's word (inotify) is only a hint that saves waiting. Everything that it can leave
//! out - a full queue, a network file system, a limit on watches - is found by looking.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::statfs;
use rustix::io::retry_on_intr;

use crate::source::file::discover::Directories;
use crate::stop::Stop;

/// Kinds of file systems whose files nobody else writes to, from `linux/magic.h`: ext2 to ext4,
/// XFS, Btrfs, F2FS, tmpfs.
const LOCAL: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// What happened while waiting.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    /// Files came, went or changed their names.
    pub(super) rescan: bool,
    /// Files with these names were written to.
    pub(super) touched: HashSet<OsString>,
}

impl Signals {
    /// Adds what `later` tells.
    pub(super) fn merge(&mut self, later: Self) {
        self.rescan |= later.rescan;
        self.touched.extend(later.touched);
    }
}

/// The kernel's word on some directories.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    /// All that was to be watched is, on file systems of this machine: the kernel tells of every write.
    is_whole: bool,
    has_complained: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        if let Err(errno) = &inotify {
            let error = io::Error::from(*errno);
            tracing::warn!(%error, "no inotify: changes are found by looking");
        }
        Self { inotify: inotify.ok(), is_whole: false, has_complained: false }
    }

    /// A watch that the kernel never tells anything.
    #[cfg(test)]
    pub(super) fn blind() -> Self {
        Self { inotify: None, is_whole: false, has_complained: true }
    }

    /// Whether the kernel tells of nearly everything; what it never tells of are writes through a
    /// mapping of memory, or under a second name of a file in another directory.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Watches `directories`, also those that it watches already: one that was made anew has
    /// lost its watch.
    pub(super) fn cover(&mut self, directories: &Directories) {
        let names = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let contents = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE;
        self.is_whole = self.inotify.is_some();
        self.add(&directories.holding, names | itself | contents);
        self.add(&directories.above, WatchFlags::CREATE | WatchFlags::MOVED_TO | itself);
    }

    fn add(&mut self, directories: &BTreeSet<PathBuf>, flags: WatchFlags) {
        let Some(inotify) = &self.inotify else { return };
        for directory in directories {
            self.is_whole &= is_local(directory);
            let added = inotify::add_watch(inotify, directory, flags);
            self.is_whole &= added.is_ok();
            if let Err(errno) = added
                && !std::mem::replace(&mut self.has_complained, true)
            {
                let error = io::Error::from(errno);
                let directory = directory.display().to_string();
                let directory = directory.escape_debug();
                tracing::warn!(%directory, %error, "cannot watch: changes are found by looking");
            }
        }
    }

    /// Waits for a change, a stop, or until `time` is over.
    pub(super) fn wait(&self, stop: &Stop, time: Duration) -> io::Result<Signals> {
        let mut fds = vec![PollFd::from_borrowed_fd(stop.wake_fd(), PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
        }
        wait_for(&mut fds, time)?;
        Ok(self.signals())
    }

    /// Waits for a stop, or until `time` is over, whatever the kernel says meanwhile: the
    /// pause that makes one look of many writes.
    pub(super) fn pause(stop: &Stop, time: Duration) -> io::Result<()> {
        wait_for(&mut [PollFd::from_borrowed_fd(stop.wake_fd(), PollFlags::IN)], time)
    }

    /// What the kernel has said since the last time.
    fn signals(&self) -> Signals {
        let mut signals = Signals::default();
        let Some(inotify) = &self.inotify else { return signals };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(inotify, &mut space);
        // Ends with `EAGAIN` once all is read; what else may fail is found by looking.
        while let Ok(event) = reader.next() {
            let written = ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE;
            match event.file_name() {
                Some(name) if event.events().intersects(written) => {
                    signals.touched.insert(OsStr::from_bytes(name.to_bytes()).to_owned());
                }
                _ => signals.rescan = true,
            }
        }
        signals
    }
}

/// Whether all writes to files in `directory` pass the kernel of this machine.
fn is_local(directory: &Path) -> bool {
    // An unknown kind is looked at as often as one on another machine.
    statfs(directory)
        .is_ok_and(|found| LOCAL.iter().any(|kind| i128::from(*kind) == i128::from(found.f_type)))
}

fn wait_for(fds: &mut [PollFd<'_>], time: Duration) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    retry_on_intr(|| poll(fds, Some(&time)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stopper;
    use std::fs;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn names_and_writes_are_told_apart() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let stop = Stopper::new()?;
        let mut watch = Watch::new();
        let holding = BTreeSet::from([folder.path().to_owned()]);
        watch.cover(&Directories { holding, above: BTreeSet::new() });
        fs::write(folder.path().join("a"), "")?;
        assert!(watch.wait(&stop.signal(), LONG)?.rescan);
        fs::write(folder.path().join("a"), "more")?;
        let touched = HashSet::from(["a".into()]);
        assert_eq!(watch.wait(&stop.signal(), LONG)?, Signals { rescan: false, touched });
        fs::remove_file(folder.path().join("a"))?;
        assert!(watch.wait(&stop.signal(), LONG)?.rescan);
        Ok(())
    }

    #[test]
    fn a_directory_without_a_watch_or_of_another_kind_makes_it_less_than_whole() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let check = |mut watch: Watch, directory: &Path, expected| {
            let holding = BTreeSet::from([directory.to_owned()]);
            watch.cover(&Directories { holding, above: BTreeSet::new() });
            assert_eq!(watch.is_whole(), expected, "{}", directory.display());
        };
        check(Watch::new(), folder.path(), is_local(folder.path()));
        check(Watch::new(), Path::new("/dev/shm"), true);
        check(Watch::new(), &folder.path().join("gone"), false);
        check(Watch::new(), Path::new("/proc"), false);
        check(Watch::blind(), folder.path(), false);
        Ok(())
    }

    #[test]
    fn a_stop_ends_every_wait() -> io::Result<()> {
        let mut stopper = Stopper::new()?;
        stopper.drain();
        let stop = stopper.signal();
        assert_eq!(Watch::new().wait(&stop, LONG)?, Signals::default());
        Watch::blind().wait(&stop, LONG)?;
        Watch::pause(&stop, LONG)
    }
}
