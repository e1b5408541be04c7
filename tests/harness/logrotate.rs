//! The real `logrotate`, and an application whose log it rotates.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{Result, fail, lines, pause};

/// The name of the log.
const NAME: &str = "usage.jsonl";

/// What makes a log's writer open it anew.
const REOPEN: &str = "reopen";

/// How a log is rotated: lines of `logrotate`'s configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pub(crate) directives: &'static str,
    /// The name of what compresses, if anything does.
    pub(crate) compressor: Option<&'static str>,
    /// Whether the writer goes on in the old file for a while.
    pub(crate) keeps_old: bool,
}

/// `logrotate` with its configuration and state.
#[derive(Debug)]
pub(crate) struct Logrotate {
    directory: PathBuf,
}

impl Logrotate {
    /// Rotates the log in `directory`/logs, which must be no one else's to write to.
    pub(crate) fn new(directory: &Path, mode: &Mode) -> Result<Self> {
        let logs = directory.join("logs");
        let compress = mode.compressor.map_or(String::new(), |compressor| {
            let ending = if compressor == "gzip" { "gz" } else { compressor };
            let ending = if compressor == "zstd" { "zst" } else { ending };
            format!("compress\ncompresscmd /usr/bin/{compressor}\ncompressext .{ending}\ncompressoptions -1\n")
        });
        let wait = if mode.keeps_old { "" } else { "while [ -e $flag ]; do sleep 0.01; done" };
        let script = if mode.directives.contains("copytruncate") {
            String::new()
        } else {
            let flag = logs.join(REOPEN);
            format!("postrotate\nflag={}\ntouch $flag\n{wait}\nendscript\n", flag.display())
        };
        let text = format!(
            "{}/{NAME} {{\nrotate 1000\n{}\n{compress}{script}}}\n",
            logs.display(),
            mode.directives
        );
        std::fs::write(directory.join("logrotate.conf"), text)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Rotates now.
    pub(crate) fn rotate(&self) -> Result {
        let mut command = Command::new("logrotate");
        command.arg("-f").arg("-s").arg(self.directory.join("logrotate.state"));
        let output = command.arg(self.directory.join("logrotate.conf")).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() && said.is_empty() {
            return Ok(());
        }
        fail(format!("logrotate: {}: {said}", output.status))
    }
}

/// An application that writes numbered events until it is told to stop.
#[derive(Debug)]
pub(crate) struct Application {
    logs: PathBuf,
    keeps_old: bool,
    next: AtomicU64,
    is_over: AtomicBool,
    /// Held for each write.
    writing: Mutex<()>,
}

impl Application {
    pub(crate) fn new(directory: &Path, mode: &Mode) -> Self {
        Self {
            logs: directory.join("logs"),
            keeps_old: mode.keeps_old,
            next: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            writing: Mutex::new(()),
        }
    }

    /// How many lines were written.
    pub(crate) fn written(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Ends it after `lines` lines.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Keeps it from writing for as long as the guard lives.
    pub(crate) fn hold(&self) -> Result<MutexGuard<'_, ()>> {
        self.writing.lock().map_err(|_| "the writer panicked".into())
    }

    /// Writes at least `count` lines, and goes on until it is told to end.
    pub(crate) fn run(&self, count: u64) -> Result {
        let burst = (count / 400).max(1);
        let mut file = open(&self.logs)?;
        // How many bursts go to the old file yet.
        let mut left = None;
        loop {
            let is_over = self.is_over.load(Ordering::Acquire);
            if left.is_none() && self.logs.join(REOPEN).exists() {
                left = Some(if self.keeps_old { fastrand::u32(0..20) } else { 0 });
            }
            if left == Some(0) || (left.is_some() && is_over) {
                file = open(&self.logs)?;
                std::fs::remove_file(self.logs.join(REOPEN))?;
                left = None;
            }
            left = left.map(|left| left - 1);
            let next = self.written();
            if is_over && next >= count {
                return Ok(());
            }
            if next < count || !is_over {
                let writing = self.hold()?;
                let most = if next < count { burst * 2 } else { 2 };
                let next = next..next + fastrand::u64(1..=most);
                file.write_all(lines(next.clone()).as_bytes())?;
                self.next.store(next.end, Ordering::Release);
                drop(writing);
            }
            pause(Duration::from_millis(fastrand::u64(0..20)));
        }
    }
}

fn open(logs: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(logs.join(NAME))?)
}
