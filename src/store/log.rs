//! Whether the write-ahead log lost more than a power cut takes.
//!
//! SQLite reads its log up to the first frame whose checksum is wrong, and takes that for the end:
//! after a power cut it is. But a commit is on the disk before the next one is begun, so a cut tears
//! one commit at most; when two that are complete stand behind the tear, something else has torn it,
//! and commits are gone that were acknowledged.
//! The format is that of <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

/// What is added to the name of the database.
pub(super) const SUFFIX: &str = "-wal";

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The first four bytes; the last bit says how the words of a checksum are read.
const MAGIC: u32 = 0x377f_0682;

/// Where a log ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// The first frame that is not what was written, from 0; none: the header of the log.
    pub(super) frame: Option<u64>,
    /// Complete commits from there on: these were acknowledged.
    pub(super) commits: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame {
            Some(frame) => write!(out, "at frame {frame}"),
            None => out.write_str("in its header"),
        }
    }
}

/// What SQLite would not see in the log at `path`, when that is more than a power cut explains.
pub(super) fn damage(path: &Path) -> io::Result<Option<Damage>> {
    Ok(look(path)?.told())
}

/// Complete commits in the log at `path`, as far as SQLite would see them.
pub(super) fn commits(path: &Path) -> io::Result<i64> {
    Ok(look(path)?.commits)
}

/// What is in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    /// Complete commits before any damage.
    commits: i64,
    /// The end that SQLite sees, where something stands behind it.
    damage: Option<Damage>,
}

impl Found {
    /// The damage, when it is more than a power cut explains.
    fn told(self) -> Option<Damage> {
        self.damage.filter(|damage| damage.frame.is_none() || damage.commits > 1)
    }
}

fn look(path: &Path) -> io::Result<Found> {
    match File::open(path) {
        Ok(file) => inspect(BufReader::with_capacity(256 << 10, file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::default()),
        Err(error) => Err(error),
    }
}

fn inspect(mut log: impl Read) -> io::Result<Found> {
    let mut header = [0; HEADER_BYTES];
    let mut found = Found::default();
    if !fill(&mut log, &mut header)? {
        return Ok(found);
    }
    let is_big_endian = word(&header, 0) & 1 == 1;
    let mut sums = Sums { is_big_endian, pair: (0, 0) };
    sums.add(header.get(..24).unwrap_or_default());
    let page_bytes = word(&header, 8) as usize;
    let is_good = word(&header, 0) & !1 == MAGIC & !1
        && sums.pair == (word(&header, 24), word(&header, 28))
        && page_bytes.is_power_of_two()
        && (512..=65_536).contains(&page_bytes);
    if !is_good {
        // A header is on the disk before what follows it.
        let mut rest = Vec::new();
        log.read_to_end(&mut rest)?;
        let is_empty = rest.iter().all(|byte| *byte == 0);
        found.damage = (!is_empty).then_some(Damage { frame: None, commits: 0 });
        return Ok(found);
    }
    let salts = (word(&header, 16), word(&header, 20));
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut number = 0;
    while fill(&mut log, &mut frame)? {
        let is_of_this_log = (word(&frame, 8), word(&frame, 12)) == salts;
        if found.damage.is_none() {
            sums.add(frame.get(..8).unwrap_or_default());
            sums.add(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default());
            if !is_of_this_log || sums.pair != (word(&frame, 16), word(&frame, 20)) {
                found.damage = Some(Damage { frame: Some(number), commits: 0 });
            }
        }
        let is_commit = word(&frame, 4) != 0;
        if is_of_this_log && is_commit {
            match &mut found.damage {
                Some(damage) => damage.commits += 1,
                None => found.commits += 1,
            }
        }
        number += 1;
    }
    Ok(found)
}

/// The running checksum of a log.
struct Sums {
    is_big_endian: bool,
    pair: (u32, u32),
}

impl Sums {
    /// Adds `bytes`, of which there is a multiple of eight.
    fn add(&mut self, bytes: &[u8]) {
        let (mut first, mut second) = self.pair;
        let read = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for [even, odd] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
            first = first.wrapping_add(read(*even)).wrapping_add(second);
            second = second.wrapping_add(read(*odd)).wrapping_add(first);
        }
        self.pair = (first, second);
    }
}

/// The number in the four bytes at `at`.
fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// Fills `buffer`; false when there is not enough.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    /// The log of a database with `commits` commits of some pages each.
    fn log(commits: u32) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("db");
        let connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.execute_batch("CREATE TABLE t (body BLOB)")?;
        for _ in 1..commits {
            connection.execute("INSERT INTO t VALUES (zeroblob(9000))", [])?;
        }
        Ok(std::fs::read(directory.path().join(format!("db{SUFFIX}")))?)
    }

    fn damage_in(log: &[u8]) -> io::Result<Option<Damage>> {
        Ok(inspect(log)?.told())
    }

    #[test]
    fn complete_commits_are_counted() -> TestResult {
        let log = log(5)?;
        assert_eq!(inspect(&*log)?.commits, 5);
        assert_eq!(inspect(&log[..log.len() - 1])?.commits, 4);
        assert_eq!(inspect(&log[..HEADER_BYTES])?.commits, 0);
        Ok(())
    }

    #[test]
    fn a_log_that_ends_anywhere_is_what_a_power_cut_leaves() -> TestResult {
        let log = log(5)?;
        for end in (0..log.len()).step_by(97).chain([log.len()]) {
            assert_eq!(damage_in(&log[..end])?, None, "{end}");
            let mut torn = log[..end].to_vec();
            torn.resize(log.len(), 0);
            assert_eq!(damage_in(&torn)?, None, "{end}, then zeros");
        }
        Ok(())
    }

    #[test]
    fn a_tear_before_two_complete_commits_is_none_of_a_power_cut() -> TestResult {
        let log = log(5)?;
        let frame_bytes = FRAME_HEADER_BYTES + 4096;
        let is_commit = |frame: usize| word(&log, HEADER_BYTES + frame * frame_bytes + 4) != 0;
        let frames = (log.len() - HEADER_BYTES) / frame_bytes;
        for frame in 0..frames {
            let commits = (frame..frames).filter(|frame| is_commit(*frame)).count() as u64;
            for within in [0, 4, 17, FRAME_HEADER_BYTES, frame_bytes - 1] {
                let mut damaged = log.clone();
                damaged[HEADER_BYTES + frame * frame_bytes + within] ^= 0x10;
                // A number where there was none, or the other way round, changes what counts.
                let is_count_kept = within != 4;
                let expected = Damage { frame: Some(frame as u64), commits };
                let found = damage_in(&damaged)?;
                if is_count_kept {
                    assert_eq!(found, (commits > 1).then_some(expected), "frame {frame}, {within}");
                }
                assert!(commits <= 2 || found.is_some(), "frame {frame}, {within}");
            }
        }
        for within in [0, 9, 16, 24] {
            let mut damaged = log.clone();
            damaged[within] ^= 0x10;
            assert_eq!(damage_in(&damaged)?, Some(Damage { frame: None, commits: 0 }), "{within}");
        }
        Ok(())
    }
}
