//! Follows files for ever.
//!
//! A file is known by what it is, not by its name: inode number, birth time, first bytes, and
//! the bytes before the cursor. It is followed through renames until it is read to its end;
//! truncation begins a new generation of it, and the copy made before a truncation is read as
//! the same stream. What was not committed is read again at the next start, with the same ids.
//!
//! Lines without an end wait for it. Nothing is ever written, locked or renamed here, and an
//! error on one file never ends the source.
//!
//! * `identity`: which file is which; `place`: how far it was read, and the reading
//! * `discover`: what the patterns mean; `watch`: the kernel's word on changes
//! * `followed`: one file and its turn; `follower`: all of them; `follower/attention`: which of them a
//!   round is about; `copy`: rotation by copying
//! * `missed`: files that were rotated away before they were seen
//! * `content`: what is in an open file; `archive`: in a compressed one; `follower/archives`: whose
//!   content that is
//!
//! Memory is one buffer of 256 KiB and some 500 bytes for each file known.

mod archive;
pub(in crate::source) mod bytes;
pub(in crate::source) mod content;
mod copy;
mod discover;
mod followed;
mod follower;
pub(in crate::source) mod identity;
mod missed;
pub(in crate::source) mod place;
mod watch;

pub(in crate::source) use archive::End;
pub(in crate::source) use followed::{label_of, learn_header, stream_of};

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::position::Cursor;
use crate::source::Context;
use follower::Follower;
use identity::{Key, identity_of};
use watch::Watch;

/// Where reading begins in a file that was never seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// At its first byte.
    #[default]
    Beginning,
    /// At its end: what was there before is not read. Holds for the files that are there when a
    /// source starts that has no cursor yet; later ones are read from their beginning.
    End,
}

/// The settings of a file source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Glob patterns of the files to follow.
    pub paths: Vec<String>,
    /// Glob patterns of files to leave out.
    pub exclude: Vec<String>,
    /// Where reading begins in files never seen before.
    pub read_from: ReadFrom,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
    /// How often files are looked at when the kernel says nothing.
    pub poll_interval: Duration,
    /// How many files are held open at most while nothing is written to them.
    pub open_files_max: usize,
    /// A file never seen before is left alone while it was not written to for so long.
    pub ignore_older: Option<Duration>,
    /// How long after its last write a file is deleted, once all of it is delivered.
    pub remove_after: Option<Duration>,
}

impl Settings {
    /// The directories below which its files are or will be, as far as the patterns tell.
    pub fn starts(&self) -> Result<Vec<PathBuf>, Error> {
        discover::starts(&self.paths)
    }

    /// The directories where its files are now, links followed.
    pub fn present(&self) -> Result<BTreeSet<PathBuf>, Error> {
        discover::present(&self.paths, &self.exclude)
    }
}

/// Why files cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pattern has no meaning.
    #[error("{pattern:?} is not a pattern")]
    Pattern {
        /// The configured pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: glob::PatternError,
    },
    /// A relative pattern counts from a directory that is gone.
    #[error("cannot find the working directory")]
    Directory(#[source] io::Error),
    /// The system refused to wait for changes.
    #[error("cannot wait for changes of files")]
    Wait(#[source] io::Error),
    /// The stages behind the source ended before it did.
    #[error("the intake closed while files were followed")]
    Closed,
}

/// How long the parts of following take.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// From one round to the next, so that a busy writer does not cost a wake-up per line.
    round: Duration,
    /// From one search for files to the next while the kernel says nothing.
    rescan: Duration,
    /// How long a new file that may be a copy waits for the truncation of the other.
    hold: Duration,
    /// How long an archive must not have grown before it is looked into.
    settle: Duration,
    /// How long after its last write a file that is gone is still known, should its archive come.
    forget: Duration,
    /// How long a file that was rotated away or deleted is still looked at after its last change:
    /// a writer may keep it open for a while.
    quiet: Duration,
}

const PACE: Pace = Pace {
    round: Duration::from_millis(50),
    rescan: Duration::from_secs(5),
    hold: Duration::from_secs(10),
    settle: Duration::from_secs(1),
    forget: Duration::from_secs(30 * 24 * 60 * 60),
    quiet: Duration::from_secs(60),
};

/// Follows the files of the source until the agent stops. Blocks: call it on a thread.
///
/// `cursors` are all that the store holds for this source.
///
/// `store` is where its directory is: what is delivered is asked there.
pub fn run(
    settings: &Settings,
    context: &Context,
    cursors: Vec<Cursor>,
    store: &Path,
) -> Result<(), Error> {
    Follower::new(settings, context, PACE, Watch::new(), cursors, store)?.run()
}

/// Bytes of the files behind `cursors`, as far as they can be seen. A file that moved to a name
/// that is not known yet is not counted; of an archive that is read, all that it has on disk.
pub fn lag_bytes(cursors: &[Cursor]) -> u64 {
    let lag = |cursor: &Cursor| {
        let metadata = std::fs::metadata(&cursor.file.path).ok()?;
        let is_it = Key::from(identity_of(&metadata)) == Key::from(cursor.file.identity);
        let behind = match cursor.file.packed_bytes {
            Some(bytes) if bytes == metadata.len() => 0,
            Some(_) => metadata.len(),
            None => metadata.len().saturating_sub(cursor.offset),
        };
        is_it.then_some(behind)
    };
    cursors.iter().filter_map(lag).sum()
}

#[cfg(test)]
mod tests;
