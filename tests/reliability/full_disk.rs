//! A disk that has no room, no inodes, or takes no writes: nothing is lost, and work goes on as soon as
//! it can.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::config::file;
use crate::harness::disk::{Disk, Kind};
use crate::harness::events::bulky_event;
use crate::harness::{Agent, Config, Folder, Result, Sim, fail, until};
use crate::scorecard::Scored;

const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Events of one writing.
const EVENTS: u64 = 500;

/// With so much in each that does not compress.
const EVENT_BYTES: usize = 4000;

/// An agent with its store on a disk that is at fault, and a log elsewhere.
struct Case {
    folder: Folder,
    sim: Sim,
    disk: Disk,
    log: PathBuf,
    written: u64,
}

impl Case {
    fn new() -> Result<Self> {
        let (folder, sim) = (Folder::new()?, Sim::start()?);
        let disk = Disk::new(Kind::Ext4Small)?;
        let log = folder.path("usage.jsonl");
        File::create(&log)?;
        let config = Config::new(&sim.url(), file(&log));
        std::fs::write(folder.config(), config.text(&disk.path().join("state")))?;
        Ok(Self { folder, sim, disk, log, written: 0 })
    }

    fn write(&mut self) -> Result {
        let mut log = File::options().append(true).open(&self.log)?;
        for number in self.written..self.written + EVENTS {
            log.write_all((bulky_event(number, EVENT_BYTES) + "\n").as_bytes())?;
        }
        self.written += EVENTS;
        Ok(())
    }

    /// Waits until everything was delivered that was written; how long it took since `begun`.
    fn back(&self, begun: Instant) -> Result<Duration> {
        self.sim.wait_events(self.written)?;
        let back = begun.elapsed();
        if back > BACK_WITHIN {
            return fail(format!("{back:?} until all was there"));
        }
        Ok(back)
    }

    fn end(self, agent: &mut Agent) -> Result {
        agent.stop()?;
        self.sim.check_exactly_once(self.written)
    }
}

/// Gives the case, or leaves the part without a figure where there is no disk.
fn begin(part: &'static str) -> Result<Option<(Scored, Case)>> {
    let scored = Scored::begin("L8", part)?;
    match Case::new() {
        Ok(case) => Ok(Some((scored, case))),
        Err(error) => {
            scored.skipped(&error);
            Ok(None)
        }
    }
}

/// Takes all the room that is left.
fn fill(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("ballast");
    let mut ballast = File::create(&path)?;
    for bytes in [1 << 20, 1 << 12] {
        let piece = vec![1; bytes];
        loop {
            match ballast.write_all(&piece).and_then(|()| ballast.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(path)
}

/// Takes all the inodes that are left, for files in `directory`.
fn crowd(directory: &Path) -> Result {
    std::fs::create_dir_all(directory)?;
    for number in 0.. {
        match File::create_new(directory.join(number.to_string())) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[test]
fn a_full_disk_makes_sources_wait_and_work_goes_on_when_there_is_room() -> Result {
    let Some((scored, mut case)) = begin("no room")? else { return Ok(()) };
    let mut agent = case.folder.start()?;
    case.write()?;
    case.back(Instant::now())?;
    // Receipts cannot make room.
    case.sim.replace_faults(&["status=503"])?;
    let ballast = fill(&case.disk.path())?;
    case.write()?;
    agent.wait_logged("failed to commit, trying again")?;
    // It goes on trying.
    let tried = agent.processor_ticks()?;
    until("a further try", || Ok((agent.processor_ticks()? > tried).then_some(())))?;
    assert!(agent.is_running()?);
    case.sim.replace_faults(&[])?;
    std::fs::remove_file(ballast)?;
    let back = case.back(Instant::now())?;
    case.end(&mut agent)?;
    scored.shown(&format!(
        "lost 0, doubled 0; all there {:.1} s after it had room",
        back.as_secs_f64()
    ))
}

#[test]
fn a_disk_without_inodes_stops_no_agent_that_has_its_files_and_others_say_so() -> Result {
    let Some((scored, mut case)) = begin("no inodes")? else { return Ok(()) };
    let mut agent = case.folder.start()?;
    case.write()?;
    case.back(Instant::now())?;
    let crowded = case.disk.path().join("crowd");
    crowd(&crowded)?;
    case.write()?;
    case.back(Instant::now())?;
    // One that has no files yet.
    let (other, sim) = (Folder::new()?, Sim::start()?);
    let config = Config::new(&sim.url(), file(&case.log));
    std::fs::write(other.config(), config.text(&case.disk.path().join("other")))?;
    let mut refused = other.spawn()?;
    let code = refused.wait()?.code();
    assert!(matches!(code, Some(73 | 74)), "{code:?} {}", refused.log()?);
    assert!(refused.log()?.contains("No space left on device"), "{}", refused.log()?);
    std::fs::remove_dir_all(crowded)?;
    let begun = Instant::now();
    let mut started = other.start()?;
    sim.wait_events(case.written)?;
    let back = begun.elapsed();
    assert!(back <= BACK_WITHIN, "{back:?}");
    started.stop()?;
    sim.check_exactly_once(case.written)?;
    case.end(&mut agent)?;
    scored.shown(&format!(
        "lost 0, doubled 0; an agent that has its files goes on, a new one ends with code {}; all there \
         {:.1} s after there were some",
        code.unwrap_or_default(),
        back.as_secs_f64()
    ))
}

#[test]
fn a_disk_that_takes_no_writes_any_more_loses_nothing() -> Result {
    let Some((scored, mut case)) = begin("read-only")? else { return Ok(()) };
    let mut agent = case.folder.start()?;
    case.write()?;
    case.back(Instant::now())?;
    if let Err(error) = case.disk.go_read_only() {
        scored.skipped(&error);
        return Ok(());
    }
    case.write()?;
    agent.wait_logged("failed to commit, trying again")?;
    // It cannot store what it learned; it has to end all the same.
    agent.stop_or_kill()?;
    case.disk.mount_again()?;
    let begun = Instant::now();
    let mut agent = case.folder.start()?;
    let back = case.back(begun)?;
    agent.stop()?;
    case.sim.check_complete(case.written)?;
    let repeated = case.sim.check_repeats(&case.folder.receipts()?)?;
    scored.shown(&format!(
        "lost 0, without a record 0 ({} requests repeated); all there {:.1} s after it was mounted again",
        repeated.requests,
        back.as_secs_f64()
    ))
}
