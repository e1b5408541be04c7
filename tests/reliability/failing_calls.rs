//! Calls that fail: the device has an error, there is no space, half is written. Nothing is
//! acknowledged that is not durable, and the agent goes on by itself when it can.

use std::path::Path;

use crate::case::{Case, End, Way};
use crate::harness::file_fault::Kind;
use crate::harness::seed::is_full;
use crate::harness::{Error, FileFault, Result};
use crate::scorecard::Scored;

/// Calls that are tried of those that there are, without the long profile.
const SHORT_CALLS: u64 = 4;

/// How many calls in a row find no space, until there is some again.
const FULL_FOR: u64 = 6;

/// What became of all calls.
#[derive(Debug, Default)]
struct Figures {
    points: u64,
    /// Runs that ended by the fault: a start that fails, or SIGKILL.
    ended: u64,
    repeated: u64,
}

fn fail_at(way: Way, fault: &FileFault, state: &Path, figures: &mut Figures) -> Result {
    let mut case = Case::new(way, state)?;
    let end = case.run(fault)?;
    let is_expected = match end {
        End::Code(0) => true,
        End::Killed => fault.kind.is_fatal(),
        // The store cannot be made, or cannot be used.
        End::Code(code) => matches!(code, 73 | 74) && !fault.kind.is_fatal(),
    };
    if !is_expected {
        return Err(format!("{end:?}: {}", case.warnings()?).into());
    }
    figures.points += 1;
    figures.ended += u64::from(end != End::Code(0));
    figures.repeated += case.settle()?.repeated;
    Ok(())
}

fn every_call_fails(kind: Kind, times: u64, part: &'static str) -> Result {
    let scored = Scored::begin("L6", part)?;
    let directory = tempfile::tempdir()?;
    let mut figures = Figures::default();
    for way in [Way::File, Way::Tcp, Way::Http] {
        let state = directory.path().join("counted");
        let calls = Case::new(way, &state)?.count_calls()?;
        std::fs::remove_dir_all(state)?;
        let step = if is_full() { 1 } else { (calls / SHORT_CALLS).max(1) };
        for call in (0..calls).step_by(usize::try_from(step)?) {
            let state = directory.path().join(format!("{way:?}-{call}"));
            let fault = FileFault { times, ..FileFault::once(kind, call, &state) };
            let tried = fail_at(way, &fault, &state, &mut figures);
            tried.map_err(|error: Error| format!("{way:?} {kind:?} {call}: {error}"))?;
            std::fs::remove_dir_all(state)?;
        }
    }
    let Figures { points, ended, repeated } = figures;
    let went_on = points - ended;
    let end = if kind.is_fatal() { "were ended by SIGKILL" } else { "ended with code 73 or 74" };
    scored.shown(&format!(
        "{points} points, lost 0, without a record 0 ({repeated} repeated); {went_on} went on by \
         themselves, {ended} {end} and went on in the next run"
    ))
}

#[test]
fn a_device_error_in_any_call_loses_nothing() -> Result {
    every_call_fails(Kind::Eio, 1, "EIO")
}

#[test]
fn no_space_in_any_call_loses_nothing() -> Result {
    every_call_fails(Kind::Enospc, FULL_FOR, "ENOSPC")
}

#[test]
fn a_short_write_in_any_call_loses_nothing() -> Result {
    every_call_fails(Kind::Short, 1, "short write")
}

#[test]
fn a_torn_write_in_any_call_loses_nothing() -> Result {
    every_call_fails(Kind::Torn, 1, "torn write")
}
