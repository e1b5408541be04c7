//! A folder, a source that follows it, and a committer that remembers cursors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::chunk::{Chunk, Content};
use crate::position::Cursor;
use crate::source::file::follower::Follower;
use crate::source::file::identity::Key;
use crate::source::file::watch::Watch;
use crate::source::file::{Error, Pace, ReadFrom, Settings};
use crate::source::testing::{Bench, Event};

/// How long a condition may take before its test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything quick, except what a test sets.
pub(super) const QUICK: Pace = Pace {
    round: Duration::from_millis(2),
    rescan: Duration::from_millis(50),
    hold: Duration::from_millis(400),
    settle: Duration::from_millis(20),
    forget: Duration::from_secs(600),
    // Long: a test's writer may be held up between two writes.
    quiet: Duration::from_secs(600),
};

struct Running {
    bench: Bench,
    thread: JoinHandle<Result<(), Error>>,
}

pub(super) struct Rig {
    folder: TempDir,
    pub(super) settings: Settings,
    pub(super) pace: Pace,
    pub(super) is_blind: bool,
    running: Option<Running>,
    /// Every line that was committed, with its origin and position.
    pub(super) committed: Vec<(u64, Event)>,
    cursors: BTreeMap<(u64, Option<i64>), Cursor>,
}

impl Rig {
    pub(super) fn new(patterns: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = patterns.iter().map(|name| format!("{}/{name}", folder.path().display()));
        let settings = Settings {
            paths: paths.collect(),
            exclude: Vec::new(),
            read_from: ReadFrom::Beginning,
            line_bytes_max: 1 << 20,
            poll_interval: Duration::from_millis(20),
            open_files_max: 100,
            ignore_older: None,
            remove_after: None,
        };
        Self {
            folder,
            settings,
            pace: QUICK,
            is_blind: false,
            running: None,
            committed: Vec::new(),
            cursors: BTreeMap::new(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn inode(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).expect("there").ino()
    }

    pub(super) fn append(&self, name: &str, text: &str) -> File {
        let mut file = OpenOptions::new();
        let mut file = file.create(true).append(true).open(self.path(name)).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    pub(super) fn copy(&self, from: &str, to: &str) {
        // Not `fs::copy`, which may make both files share their blocks.
        let bytes = fs::read(self.path(from)).expect("read");
        fs::write(self.path(to), bytes).expect("written");
    }

    pub(super) fn truncate(&self, name: &str) {
        OpenOptions::new()
            .write(true)
            .open(self.path(name))
            .and_then(|file| file.set_len(0))
            .expect("truncated");
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    pub(super) fn start(&mut self) {
        let bench = Bench::new();
        let (context, settings, pace) = (bench.context.clone(), self.settings.clone(), self.pace);
        let cursors = self.cursors.values().cloned().collect();
        let watch = if self.is_blind { Watch::blind() } else { Watch::new() };
        let thread = thread::spawn(move || {
            Follower::new(&settings, &context, pace, watch, cursors, Path::new("/nowhere"))?.run()
        });
        self.running = Some(Running { bench, thread });
    }

    /// Stops the source and commits the first `chunks_max` of the chunks that are left, the
    /// last of them only up to its middle: the rest is lost in the crash.
    pub(super) fn crash(&mut self, chunks_max: usize) {
        let mut left = chunks_max;
        for chunk in self.end() {
            match left {
                0 => break,
                1 => self.commit(&first_half(chunk)),
                _ => self.commit(&chunk),
            }
            left -= 1;
        }
    }

    /// Stops the source and commits all that it has read.
    pub(super) fn stop(&mut self) {
        for chunk in self.end() {
            self.commit(&chunk);
        }
    }

    fn end(&mut self) -> Vec<Chunk> {
        let Running { mut bench, thread } = self.running.take().expect("running");
        bench.stopper.drain();
        thread.join().expect("no panic").expect("followed");
        bench.outlet.chunks.try_iter().collect()
    }

    fn commit(&mut self, chunk: &Chunk) {
        let mark = *chunk.file.clone().expect("a file mark");
        let key = (mark.identity.inode, mark.identity.born_nanos);
        let tail = chunk.tail_at(chunk.end);
        let (origin, offset) = (chunk.stream.origin, chunk.end);
        self.committed.extend(Event::of(chunk).into_iter().map(|event| (origin.0, event)));
        if mark.is_forgotten {
            self.cursors.remove(&key);
        } else {
            self.cursors.insert(key, Cursor { file: mark, origin, offset, tail });
        }
    }

    fn commit_next(&mut self, until: Instant) -> bool {
        let chunks = &self.running.as_ref().expect("running").bench.outlet.chunks;
        let Ok(chunk) = chunks.recv_deadline(until) else { return false };
        self.commit(&chunk);
        true
    }

    /// Commits what comes until there are `count` lines.
    pub(super) fn wait_for(&mut self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.committed.len() < count {
            assert!(self.commit_next(until), "{} of {count} lines came", self.committed.len());
        }
    }

    /// Commits what comes for so long: what must not come would have come.
    pub(super) fn watch_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.commit_next(until) {}
    }

    /// Commits what comes until a cursor satisfies `wanted`.
    pub(super) fn wait_for_cursor(&mut self, wanted: impl Fn(&Cursor) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !self.cursors.values().any(&wanted) {
            assert!(self.commit_next(until), "no such cursor came");
        }
    }

    /// Waits for, then stops with, exactly these lines in any order.
    pub(super) fn finish<T: AsRef<str>>(mut self, lines: impl IntoIterator<Item = T>) {
        let mut expected: Vec<String> =
            lines.into_iter().map(|line| line.as_ref().to_owned()).collect();
        expected.sort();
        self.wait_for(expected.len());
        self.stop();
        let mut texts: Vec<_> =
            self.committed.iter().map(|(_, event)| event.text.clone()).collect();
        texts.sort();
        assert_eq!(surplus(&expected, &texts), [""; 0], "lost");
        assert_eq!(surplus(&texts, &expected), [""; 0], "doubled");
        self.check_ids();
    }

    /// No two lines may have one id.
    pub(super) fn check_ids(&self) {
        let ids: BTreeSet<_> =
            self.committed.iter().map(|(origin, event)| (origin, event.position)).collect();
        assert_eq!(ids.len(), self.committed.len(), "an id was used twice");
    }

    /// Waits until the source holds `count` files of the folder open.
    pub(super) fn wait_for_open_files(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.open_files() != count {
            assert!(Instant::now() < until, "{} files are open", self.open_files());
            thread::yield_now();
        }
    }

    fn open_files(&self) -> usize {
        let links = fs::read_dir("/proc/self/fd").expect("listed").flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        targets.filter(|target| target.starts_with(self.folder.path())).count()
    }

    /// The files that the store knows.
    pub(super) fn known(&self) -> BTreeSet<Key> {
        self.cursors.values().map(|cursor| cursor.file.identity.into()).collect()
    }
}

/// The first of the lines that are in `more`, which is sorted, more often than in `less`.
fn surplus<'a>(more: &'a [String], less: &[String]) -> Vec<&'a str> {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for line in less {
        *left.entry(line.clone()).or_default() += 1;
    }
    let mut found = Vec::new();
    for line in more {
        match left.get_mut(line) {
            Some(count) if *count > 0 => *count -= 1,
            _ => found.push(line.as_str()),
        }
    }
    found.truncate(5);
    found
}

fn first_half(mut chunk: Chunk) -> Chunk {
    if let Content::Lines(lines) = &mut chunk.content {
        let half = lines.len() / 2;
        if let Some(end) = memchr::memchr(b'\n', &lines[half..]) {
            lines.truncate(half + end + 1);
            chunk.end = chunk.first + lines.len() as u64;
        }
    }
    chunk
}

/// The lines `name 0`, `name 1` and so on.
pub(super) fn numbered(name: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{name} {number}")).collect()
}

/// Lines as a file holds them.
pub(super) fn text_of(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
