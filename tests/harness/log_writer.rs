//! An application that writes events to a log which is rotated under its hands.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Result, event, lines};

/// The writer of one log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    directory: PathBuf,
    file: File,
    /// The number of the next event.
    pub(crate) next: u64,
    /// The number of the first event that the present file holds whole.
    pub(crate) first_in_file: u64,
    rotations: u32,
}

impl LogWriter {
    /// Begins the log `usage.jsonl` in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let file = open(directory)?;
        let directory = directory.to_owned();
        Ok(Self { directory, file, next: 0, first_in_file: 0, rotations: 0 })
    }

    /// Writes `count` whole lines.
    pub(crate) fn write(&mut self, count: u64) -> Result {
        self.file.write_all(lines(self.next..self.next + count).as_bytes())?;
        self.next += count;
        Ok(())
    }

    /// Writes lines that are not counted, at once.
    pub(crate) fn write_text(&mut self, text: &str) -> Result {
        Ok(self.file.write_all(text.as_bytes())?)
    }

    /// Writes one line in two parts, cut at `cut` in thousandths, with `between` in the middle.
    pub(crate) fn write_in_parts(&mut self, cut: usize, between: impl FnOnce()) -> Result {
        let line = format!("{}\n", event(self.next));
        let (start, rest) = line.split_at(line.len() * cut.min(999) / 1000);
        self.file.write_all(start.as_bytes())?;
        between();
        self.file.write_all(rest.as_bytes())?;
        self.next += 1;
        Ok(())
    }

    /// Renames the log, ends the line under way in the renamed file as a real writer does, and begins a
    /// new one.
    pub(crate) fn rename(&mut self, is_matched: bool) -> Result {
        let archive = self.next_archive(is_matched);
        let line = format!("{}\n", event(self.next));
        let (start, rest) = line.split_at(line.len() / 2);
        self.file.write_all(start.as_bytes())?;
        std::fs::rename(self.directory.join(NAME), archive)?;
        self.file.write_all(rest.as_bytes())?;
        self.next += 1;
        self.first_in_file = self.next;
        self.file = open(&self.directory)?;
        Ok(())
    }

    /// Copies the log and truncates it, with nothing written in between.
    pub(crate) fn copy_and_truncate(&mut self, is_matched: bool) -> Result {
        let archive = self.next_archive(is_matched);
        std::fs::copy(self.directory.join(NAME), archive)?;
        self.file.set_len(0)?;
        self.first_in_file = self.next;
        Ok(())
    }

    /// Where the log goes this time: to a name that `usage*.jsonl` matches or not.
    fn next_archive(&mut self, is_matched: bool) -> PathBuf {
        self.rotations += 1;
        let number = self.rotations;
        self.directory.join(if is_matched {
            format!("usage-{number}.jsonl")
        } else {
            format!("usage.jsonl.{number}")
        })
    }
}

const NAME: &str = "usage.jsonl";

fn open(directory: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(directory.join(NAME))?)
}
