//! The program ended before each of its calls that change a file: nothing is lost, and what is sent
//! twice is on record. By SIGKILL alone, and with the power of the disk cut after it: what was
//! written and not synced is gone then.
//!
//! A few calls run with every test run. `METERD_IT_FULL=1 cargo test --release --test it
//! every_call:: -- --nocapture` takes every one, on ext4 and xfs.

use std::path::Path;

use crate::harness::disk::{Cut, Disk, Kind};
use crate::harness::seed::{is_full, say};
use crate::harness::{Config, Error, Fatal, Folder, Result, Sim, lines};

const EVENTS: u64 = 300;

/// Calls that are tried of those that there are, without the long profile.
const SHORT_CALLS: u64 = 14;

/// More calls than the program makes for this.
const CALLS_MAX: u64 = 2000;

/// What became of all calls.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    repeated_requests: u64,
}

/// Sends a file with the store in `state` and ends the program before its call `call`, then does
/// `between` and sends again. None: the program made no such call.
fn send_twice(
    state: &Path,
    call: u64,
    between: &dyn Fn() -> Result,
    figures: &mut Figures,
) -> Result<Option<()>> {
    let folder = Folder::new()?;
    // Slow answers, so that there is something under way.
    let sim = Sim::with_faults(&["slow=3ms"])?;
    folder.configure(&Config {
        limits: "events_per_request_max = 60\nrequests_in_flight_max = 2".to_owned(),
        ..Config::new(&sim.url(), "")
    })?;
    let path = folder.path("usage.jsonl");
    std::fs::write(&path, lines(0..EVENTS))?;
    let (path, state) = (path.display().to_string(), state.display().to_string());
    let send = ["send", "--meter", "m", "--state-dir", &state, &path];
    if !Fatal::at(call).run(&folder, &send)? {
        return Ok(None);
    }
    between()?;
    let output = folder.command(&send)?;
    if output.status.code() != Some(0) {
        return Err(format!("call {call}: {output:?}").into());
    }
    let named = |error: Error| -> Error { format!("call {call}: {error}").into() };
    sim.check_complete(EVENTS).map_err(named)?;
    let receipts = folder.json(&["receipts", "list", "--json", "--state-dir", &state])?;
    let receipts = receipts.as_array().ok_or("no receipts")?;
    let repeated = sim.check_repeats(receipts).map_err(named)?;
    let stats = sim.stats();
    assert_eq!(stats.events_accepted - EVENTS, repeated.events, "call {call}: {stats:?}");
    let checked = folder.command(&["store", "check", "--state-dir", &state])?;
    assert!(checked.status.success(), "call {call}: {checked:?}");
    figures.cases += 1;
    figures.repeated_requests += repeated.requests;
    Ok(Some(()))
}

/// Tries calls, each with a store of its own below `under`.
fn try_calls(under: &Path, what: &str, between: &dyn Fn() -> Result) -> Result {
    let mut figures = Figures::default();
    let mut call = 0;
    let mut step = if is_full() { 1 } else { CALLS_MAX };
    if step > 1 {
        // As many as there are, by halving: the number of calls varies a little.
        while step > 1 {
            step /= 2;
            let state = under.join(format!("{what}-{step}"));
            if send_twice(&state, call + step, between, &mut figures)?.is_some() {
                call += step;
            }
            let _ = std::fs::remove_dir_all(state);
        }
        (step, call) = ((call / SHORT_CALLS).max(1), 0);
    }
    while call < CALLS_MAX {
        let state = under.join(format!("{what}-at-{call}"));
        if send_twice(&state, call, between, &mut figures)?.is_none() {
            break;
        }
        std::fs::remove_dir_all(state)?;
        call += step;
    }
    let Figures { cases, repeated_requests } = figures;
    say(&format!(
        "{what}: {cases} calls, 0 lost, {repeated_requests} requests repeated, all on record"
    ));
    assert!(cases >= SHORT_CALLS, "{cases} calls");
    Ok(())
}

#[test]
fn a_kill_before_any_call_loses_nothing() -> Result {
    let directory = tempfile::tempdir()?;
    try_calls(directory.path(), "killed", &|| Ok(()))
}

#[test]
fn a_power_cut_before_any_call_loses_nothing() -> Result {
    let kinds: &[Kind] = if is_full() { &[Kind::Ext4, Kind::Xfs] } else { &[Kind::Ext4] };
    for kind in kinds {
        let disk = match Disk::new(*kind) {
            Ok(disk) => disk,
            Err(error) => {
                say(&format!("SKIPPED: no disk of which the power could be cut: {error}"));
                continue;
            }
        };
        for cut in [Cut::LogWritten, Cut::LogLost] {
            let what = format!("{kind:?}-{cut:?}");
            try_calls(&disk.path(), &what, &|| disk.cut(cut))?;
        }
    }
    Ok(())
}
