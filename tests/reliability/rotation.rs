//! The real `logrotate` in each of its modes against a live writer, with the agent up, down during
//! rotations, and killed and started at random: every line is counted.
//!
//! A short profile runs with every test run; the full one writes 100,000 lines for each combination.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::harness::config::file;
use crate::harness::logrotate::{Application, Logrotate, Mode};
use crate::harness::seed::{is_full, say};
use crate::harness::{Agent, Config, Folder, Result, Sim, number, pause, until};
use crate::scorecard::Scored;

const CREATE: Mode =
    Mode { name: "create", directives: "create 0644", compressor: None, keeps_old: true };

const DATEEXT: Mode = Mode {
    name: "dateext",
    directives: "create 0644\ndateext\ndateformat -%Y%m%d-%H%M%S",
    compressor: None,
    keeps_old: true,
};

const COPY: Mode =
    Mode { name: "copytruncate", directives: "copytruncate", compressor: None, keeps_old: false };

/// Compressed at the next rotation: the writer may be late.
const DELAYED: Mode = Mode {
    name: "delaycompress",
    directives: "create 0644\ndelaycompress",
    compressor: Some("gzip"),
    keeps_old: true,
};

/// Compressed at once: the writer must not be late.
const AT_ONCE: Mode = Mode {
    name: "create, compress",
    directives: "create 0644",
    compressor: Some("gzip"),
    keeps_old: false,
};

const COPY_COMPRESSED: Mode = Mode {
    name: "copytruncate, compress",
    directives: "copytruncate",
    compressor: Some("gzip"),
    keeps_old: false,
};

/// What happens to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Up,
    DownDuringRotations,
    KilledAtRandom,
}

/// How much is written.
struct Profile {
    lines: u64,
    rotations: u64,
}

fn profile() -> Profile {
    if is_full() {
        Profile { lines: 100_000, rotations: 8 }
    } else {
        Profile { lines: 1_000, rotations: 3 }
    }
}

/// Every life of the agent, with patterns that mean rotated files and with one that does not.
fn matrix(mode: &Mode, part: &'static str) -> Result {
    let scored = Scored::begin("F1", part)?;
    let mut sums = Sums::default();
    for (life, pattern) in [
        (Life::Up, "usage.jsonl*"),
        (Life::DownDuringRotations, "usage.jsonl"),
        (Life::KilledAtRandom, "usage.jsonl*"),
    ] {
        rotate(mode, life, pattern, &mut sums)?;
    }
    if is_full() {
        rotate(mode, Life::Up, "usage.jsonl", &mut sums)?;
        rotate(mode, Life::DownDuringRotations, "usage.jsonl*", &mut sums)?;
        rotate(mode, Life::KilledAtRandom, "usage.jsonl", &mut sums)?;
    }
    let Sums { cases, lines, repeated } = sums;
    scored.shown(&format!(
        "{cases} cases, {lines} lines: 0 lost, 0 read twice ({repeated} sent twice after SIGKILL, on record)"
    ))
}

/// Of all lives of one mode.
#[derive(Debug, Default)]
struct Sums {
    cases: u64,
    lines: u64,
    repeated: u64,
}

#[test]
fn create() -> Result {
    matrix(&CREATE, "create")
}

#[test]
fn dateext() -> Result {
    matrix(&DATEEXT, "dateext")
}

#[test]
fn copytruncate() -> Result {
    matrix(&COPY, "copytruncate")
}

#[test]
fn delaycompress() -> Result {
    matrix(&DELAYED, "delaycompress")
}

#[test]
fn delaycompress_with_zstd() -> Result {
    matrix(&Mode { compressor: Some("zstd"), ..DELAYED }, "delaycompress, zstd")
}

#[test]
fn delaycompress_with_xz() -> Result {
    matrix(&Mode { compressor: Some("xz"), ..DELAYED }, "delaycompress, xz")
}

#[test]
fn compress_at_once() -> Result {
    matrix(&AT_ONCE, "compress")
}

#[test]
fn copytruncate_and_compress() -> Result {
    matrix(&COPY_COMPRESSED, "copytruncate, compress")
}

fn rotate(mode: &Mode, life: Life, pattern: &str, sums: &mut Sums) -> Result {
    let Profile { lines, rotations } = profile();
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    folder.configure(&Config::new(&sim.url(), file(&logs.join(pattern))))?;
    let logrotate = Logrotate::new(folder.as_ref(), mode)?;
    let application = Application::new(folder.as_ref(), mode);
    let run = Run { folder: &folder, sim: &sim, mode, life, logrotate, application: &application };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().spawn_scoped(scope, || application.run(lines))?;
        let rotated = run.rotate_again_and_again(rotations);
        application.end();
        let written = writer.join().map_err(|_| "the writer panicked")?;
        rotated.and(written)
    })?;
    let written = application.written();
    let restarts = run.settle(written)?;
    let repeats = sim.stats().events_accepted - written;
    sums.cases += 1;
    sums.lines += written;
    sums.repeated += repeats;
    say(&format!(
        "{:24} {:20} {pattern:14} {written:7} lines {rotations:2} rotations {restarts} archives: \
         0 lost, 0 read twice, {repeats} sent twice after kills, {:.0} s",
        format!("{} {}", mode.name, mode.compressor.unwrap_or_default()),
        format!("{life:?}"),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

struct Run<'r> {
    folder: &'r Folder,
    sim: &'r Sim,
    mode: &'r Mode,
    life: Life,
    logrotate: Logrotate,
    application: &'r Application,
}

impl Run<'_> {
    fn rotate_again_and_again(&self, rotations: u64) -> Result {
        let mut agent = self.folder.start()?;
        until("the log to be known", || Ok(self.sim.has_event(0).then_some(())))?;
        match self.life {
            Life::Up => {
                (0..rotations).try_for_each(|_| self.rotate_live())?;
                agent.stop()
            }
            Life::DownDuringRotations => {
                for rotation in 0..rotations {
                    if rotation % 2 == 0 {
                        agent.stop()?;
                    } else {
                        agent.kill()?;
                    }
                    // Sometimes the one that was followed is not the last one.
                    for _ in 0..=rotation % 2 {
                        self.rotate_live()?;
                    }
                    agent = self.folder.start()?;
                    let first = self.application.written();
                    until("the new log to be known", || {
                        Ok(self.sim.has_event(first).then_some(()))
                    })?;
                }
                agent.stop()
            }
            Life::KilledAtRandom => {
                let is_over = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let killer = std::thread::Builder::new()
                        .spawn_scoped(scope, || kill_until(self.folder, agent, &is_over))?;
                    let rotated = (0..rotations).try_for_each(|_| self.rotate_live());
                    is_over.store(true, Ordering::Release);
                    let killed = killer.join().map_err(|_| "the killer panicked")?;
                    rotated.and(killed)
                })
            }
        }
    }

    /// Rotates after some more lines, and not twice in the second that `dateext` tells apart.
    fn rotate_live(&self) -> Result {
        let lines = self.application.written();
        until("more lines", || Ok((self.application.written() > lines + 5).then_some(())))?;
        pause(Duration::from_millis(if self.mode.name == "dateext" { 1010 } else { 300 }));
        // Lines that come between the copy and the truncation are in neither file.
        let _held = match self.mode.directives {
            "copytruncate" => Some(self.application.hold()?),
            _ => None,
        };
        self.logrotate.rotate()
    }

    /// Waits until everything is delivered and every archive is read, and settles the account.
    fn settle(&self, written: u64) -> Result<usize> {
        let mut agent = self.folder.start()?;
        let delivered = self.folder.wait_counted("delivered", written.cast_signed());
        if delivered.is_err() {
            // Says which are missing.
            say(&format!("{} {:?}", self.mode.name, self.life));
            say(&self.folder.warnings()?);
            say(&agent.log()?);
            self.sim.check_complete(written)?;
        }
        delivered?;
        agent.stop()?;
        // Files that were compressed under a running agent are compared once they are quiet, or
        // after a restart.
        let mut agent = self.folder.start()?;
        let archives = self.wait_for_archives()?;
        agent.stop()?;
        self.sim.check_complete(written)?;
        let status = self.folder.status()?;
        assert_eq!(number(&status, "/equation/read")?, written.cast_signed(), "{status}");
        assert_eq!(number(&status, "/equation/dead_lettered")?, 0, "{status}");
        assert_eq!(self.sim.stats().repeats_altered, 0);
        if self.life == Life::Up {
            self.sim.check_exactly_once(written)?;
        }
        Ok(archives)
    }

    /// Waits until the store knows of every archive that it was read to its end.
    fn wait_for_archives(&self) -> Result<usize> {
        let ended = "SELECT count(*) FROM cursors WHERE inode = ?1 AND packed_bytes = ?2";
        let store = Connection::open(self.folder.state().join("meterd.db"))?;
        let mut archives = Vec::new();
        for entry in std::fs::read_dir(self.folder.path("logs"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if [".gz", ".zst", ".xz"].iter().any(|ending| name.ends_with(ending)) {
                archives.push((name, entry.metadata()?));
            }
        }
        for (name, data) in &archives {
            until(&format!("{name} to be read"), || {
                let keys = (data.ino().cast_signed(), data.len().cast_signed());
                let rows: i64 = store.query_row(ended, keys, |row| row.get(0))?;
                Ok((rows > 0).then_some(()))
            })?;
        }
        Ok(archives.len())
    }
}

fn kill_until(folder: &Folder, mut agent: Agent, is_over: &AtomicBool) -> Result {
    while !is_over.load(Ordering::Acquire) {
        pause(Duration::from_millis(fastrand::u64(20..900)));
        if fastrand::bool() {
            agent.kill()?;
        } else {
            agent.stop_or_kill()?;
        }
        agent = folder.spawn()?;
    }
    agent.kill()
}
