//! The program ended at each of its calls that change a file of the store: nothing is lost, and what
//! is sent twice is on record. By SIGKILL alone, and with the power of the disk cut after it: what was
//! written and not synced is gone then.

use std::path::Path;

use crate::case::{Case, End, Way};
use crate::harness::disk::{Cut, Disk, Kind as FileSystem};
use crate::harness::file_fault::Kind;
use crate::harness::seed::is_full;
use crate::harness::{Error, FileFault, Result};
use crate::scorecard::Scored;

/// Calls that are tried of those that there are, without the long profile.
const SHORT_CALLS: u64 = 6;

/// More calls than the program makes for this.
const CALLS_MAX: u64 = 2000;

/// What became of all calls.
#[derive(Debug, Default)]
struct Figures {
    points: u64,
    repeated: u64,
}

impl Figures {
    fn shown(&self, scored: Scored) -> Result {
        let Self { points, repeated } = self;
        assert!(*points >= SHORT_CALLS, "{points} points");
        scored.shown(&format!(
            "{points} points, lost 0, without a record 0 ({repeated} requests repeated)"
        ))
    }
}

/// What is tried at each call.
#[derive(Clone, Copy)]
struct Trial<'t> {
    way: Way,
    kind: Kind,
    /// Whether the run that is ended finds what another one left that was ended in the middle.
    is_recovery: bool,
    /// What is done between the end of a run and the next one.
    between: &'t dyn Fn() -> Result,
}

impl Trial<'_> {
    /// Tries every call, each with a store of its own below `under`; a few in the short profile.
    fn run(self, under: &Path, figures: &mut Figures) -> Result {
        let state = under.join(format!("{:?}-{:?}-counted", self.way, self.kind));
        let calls = Case::new(self.way, &state)?.count_calls()?;
        std::fs::remove_dir_all(state)?;
        let step = if is_full() { 1 } else { (calls / SHORT_CALLS).max(1) };
        for call in (0..CALLS_MAX).step_by(usize::try_from(step)?) {
            let state = under.join(format!("{:?}-{:?}-{call}", self.way, self.kind));
            let tried = self.at(call, calls / 2, &state, figures);
            let named = |error: Error| format!("{:?} {:?} {call}: {error}", self.way, self.kind);
            let is_reached = tried.map_err(named)?;
            std::fs::remove_dir_all(state)?;
            if !is_reached {
                return Ok(());
            }
        }
        Err("more calls than there should be".into())
    }

    /// Ends a run at `call` and settles; whether there was such a call.
    fn at(self, call: u64, middle: u64, state: &Path, figures: &mut Figures) -> Result<bool> {
        let mut case = Case::new(self.way, state)?;
        if self.is_recovery {
            case.run(&FileFault::once(Kind::KillBefore, middle, state))?;
            (self.between)()?;
        }
        let end = case.run(&FileFault::once(self.kind, call, state))?;
        (self.between)()?;
        figures.repeated += case.settle()?.repeated;
        match end {
            End::Killed => {
                figures.points += 1;
                Ok(true)
            }
            End::Code(0) => Ok(false),
            End::Code(code) => Err(format!("exit code {code}").into()),
        }
    }
}

fn killed(way: Way, part: &'static str) -> Result {
    let scored = Scored::begin("L1", part)?;
    let directory = tempfile::tempdir()?;
    let mut figures = Figures::default();
    for kind in [Kind::KillBefore, Kind::KillAfter] {
        let is_recovery = part == "recovery";
        let trial = Trial { way, kind, is_recovery, between: &|| Ok(()) };
        trial.run(directory.path(), &mut figures)?;
    }
    figures.shown(scored)
}

#[test]
fn a_kill_at_any_call_of_send_loses_nothing() -> Result {
    killed(Way::Send, "send")
}

#[test]
fn a_kill_at_any_call_of_the_daemon_loses_nothing_of_a_file() -> Result {
    killed(Way::File, "file")
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_pipe_that_was_counted() -> Result {
    killed(Way::Stdin, "stdin")
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_connection_that_was_acknowledged() -> Result {
    killed(Way::Tcp, "tcp")
}

#[test]
fn a_kill_at_any_call_loses_no_request_that_was_answered() -> Result {
    killed(Way::Http, "http")
}

#[test]
fn a_kill_at_any_call_of_a_run_after_a_kill_loses_nothing() -> Result {
    killed(Way::Send, "recovery")
}

/// Cuts the power of a disk of its own at each call.
fn cut(file_system: FileSystem, cut: Cut, part: &'static str) -> Result {
    let scored = Scored::begin("L2", part)?;
    let disk = match Disk::new(file_system) {
        Ok(disk) => disk,
        Err(error) => {
            scored.skipped(&error);
            return Ok(());
        }
    };
    let mut figures = Figures::default();
    let ways: &[(Way, bool)] = if is_full() {
        &[(Way::Send, false), (Way::File, false), (Way::Tcp, false), (Way::Send, true)]
    } else {
        &[(Way::Send, false)]
    };
    for (way, is_recovery) in ways.iter().copied() {
        let between = || disk.cut(cut);
        let trial = Trial { way, kind: Kind::KillBefore, is_recovery, between: &between };
        trial.run(&disk.path(), &mut figures)?;
    }
    figures.shown(scored)
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_on_ext4() -> Result {
    cut(FileSystem::Ext4, Cut::LogWritten, "ext4, log written")
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_on_ext4_without_its_log() -> Result {
    cut(FileSystem::Ext4, Cut::LogLost, "ext4, log lost")
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_on_xfs() -> Result {
    cut(FileSystem::Xfs, Cut::LogWritten, "xfs, log written")
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_on_xfs_without_its_log() -> Result {
    cut(FileSystem::Xfs, Cut::LogLost, "xfs, log lost")
}
