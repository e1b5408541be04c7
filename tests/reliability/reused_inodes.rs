//! A new file with the inode number and the first lines of one that was deleted: it is read from its
//! beginning, whether or not the file system knows when a file was born.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::harness::config::file;
use crate::harness::disk::{Disk, Kind};
use crate::harness::seed::{is_full, seed};
use crate::harness::{Config, Folder, Result, Sim, event_id, fail, lines};
use crate::scorecard::Scored;

/// How often the device gets another number.
const MOUNTS: u64 = 5;

/// Files that are replaced while the agent is down.
const FILES: u64 = 10;

/// The lines that each generation of each file begins with: more than is remembered of a file's begin.
const HEAD: u64 = 12;

/// The files, and what they were given.
struct Application {
    directory: PathBuf,
    random: fastrand::Rng,
    /// The next event that no file has.
    next: u64,
    /// Files that were begun, all generations.
    begun: u64,
    /// Of these, with the inode number of the one before.
    reused: u64,
}

impl Application {
    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("usage-{number}.jsonl"))
    }

    /// Deletes file `number`, begins it anew with the first lines of all, and writes some more.
    fn begin_anew(&mut self, number: u64) -> Result {
        let path = self.path(number);
        let before = inode(&path);
        if before.is_some() {
            std::fs::remove_file(&path)?;
        }
        // A generation without a line of its own could not be told from the begin of another one.
        let more = self.random.u64(1..60);
        let text = lines(0..HEAD) + &lines(self.next..self.next + more);
        self.next += more;
        std::fs::write(&path, text)?;
        self.begun += 1;
        self.reused += u64::from(before.is_some() && inode(&path) == before);
        Ok(())
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Fails unless each first line came once for each file, and all others once.
fn check(events: &HashMap<String, u64>, application: &Application) -> Result<u64> {
    let mut wrong = 0;
    for number in 0..application.next {
        let wanted = if number < HEAD { application.begun } else { 1 };
        let found = events.get(&event_id(number)).copied().unwrap_or(0);
        wrong += u64::from(found != wanted);
    }
    if wrong > 0 || events.len() as u64 != application.next {
        return fail(format!(
            "{wrong} of {} events did not come as often as written",
            application.next
        ));
    }
    Ok(wrong)
}

fn reuse(kind: Kind, part: &'static str) -> Result {
    let scored = Scored::begin("F2", part)?;
    let disk = match Disk::new(kind) {
        Ok(disk) => disk,
        Err(error) => {
            scored.skipped(&error);
            return Ok(());
        }
    };
    let restarts = if is_full() { 100 } else { 5 };
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&Config::new(&sim.url(), file(&disk.path().join("usage*.jsonl"))))?;
    let mut application = Application {
        directory: disk.path(),
        random: fastrand::Rng::with_seed(seed()?),
        next: HEAD,
        begun: 0,
        reused: 0,
    };
    for _ in 0..=restarts {
        for number in 0..FILES {
            application.begin_anew(number)?;
        }
        let mut agent = folder.start()?;
        let all = application.begun * HEAD + application.next - HEAD;
        folder.wait_counted("delivered", all.cast_signed())?;
        agent.stop()?;
    }
    let Application { reused, begun, .. } = application;
    let wrong = check(&sim.events(), &application)?;
    if reused * 10 < (begun - FILES) * 9 {
        return fail(format!("only {reused} of {begun} files had the inode number of another one"));
    }
    scored.shown(&format!(
        "{reused} inode numbers used again in {restarts} restarts, {wrong} reads at a wrong offset, lost 0"
    ))
}

#[test]
fn an_inode_number_that_is_used_again_is_a_new_file() -> Result {
    reuse(Kind::Ext4, "with birth times")
}

#[test]
fn an_inode_number_that_is_used_again_is_a_new_file_where_births_are_not_known() -> Result {
    reuse(Kind::Ext4Unborn, "without birth times")
}

/// Device numbers come with the order of mounts; where a birth is not known, they tell files apart.
#[test]
fn a_file_on_a_device_of_another_number_is_read_on_where_births_are_not_known() -> Result {
    let scored = Scored::begin("F2", "another device")?;
    let mut disk = match Disk::new(Kind::Ext4Unborn) {
        Ok(disk) => disk,
        Err(error) => {
            scored.skipped(&error);
            return Ok(());
        }
    };
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&Config::new(&sim.url(), file(&disk.path().join("usage-?.jsonl"))))?;
    let mut written = 0;
    for mount in 0..=MOUNTS {
        if mount > 0 {
            // Renamed to what no pattern means, with lines that were not read.
            let path = disk.path().join("usage-0.jsonl");
            std::fs::rename(path, disk.path().join(format!("usage-0.jsonl.{mount}")))?;
            disk.renumber()?;
        }
        let mut agent = folder.start()?;
        for number in 0..FILES {
            append(&disk.path().join(format!("usage-{number}.jsonl")), &mut written)?;
        }
        folder.wait_counted("delivered", i64::try_from(written)?)?;
        agent.stop()?;
        append(&disk.path().join("usage-0.jsonl"), &mut written)?;
    }
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", i64::try_from(written)?)?;
    agent.stop()?;
    sim.check_exactly_once(written)?;
    send_on_another_device(&mut disk)?;
    scored.shown(&format!(
        "{MOUNTS} mounts under other numbers, {written} lines: lost 0, read twice 0"
    ))
}

/// `meterd send` reads on as well what it has read before.
fn send_on_another_device(disk: &mut Disk) -> Result {
    let (folder, sim, mut written) = (Folder::new()?, Sim::start()?, 0);
    folder.configure(&Config::new(&sim.url(), ""))?;
    let path = disk.path().join("sent.jsonl");
    for _ in 0..2 {
        append(&path, &mut written)?;
        let output = folder.command(&["send", "--meter", "m", &path.display().to_string()])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        disk.renumber()?;
    }
    sim.check_exactly_once(written)
}

/// Appends some lines that no file has.
fn append(path: &Path, written: &mut u64) -> Result {
    const LINES: u64 = 10;
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    file.write_all(lines(*written..*written + LINES).as_bytes())?;
    *written += LINES;
    Ok(())
}
