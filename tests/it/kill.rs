//! SIGKILL at random instants: every event arrives, and every repeat is on record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::log_writer::LogWriter;
use crate::harness::seed::{say, seed};
use crate::harness::{Config, Folder, Result, Sim, config, number, pause};

const REQUESTS_IN_FLIGHT_MAX: u64 = 4;

/// How the log is rotated: the second argument asks for a name that the pattern matches.
type Rotate = fn(&mut LogWriter, bool) -> Result;

/// Writes bursts, lines in parts and rotates until told to stop; gives the number of events.
fn write(
    mut log: LogWriter,
    rotate: Rotate,
    sim: &Sim,
    seed: u64,
    is_over: &AtomicBool,
) -> Result<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rounds_in_file = 0;
    while !is_over.load(Ordering::Acquire) {
        log.write(random.u64(1..150))?;
        let gap = Duration::from_millis(random.u64(1..20));
        log.write_in_parts(random.usize(0..1000), || pause(gap))?;
        rounds_in_file += 1;
        if rounds_in_file >= 25 {
            // A file that no agent ever knew cannot be followed to a name that nothing matches.
            let is_known = sim.has_event(log.first_in_file);
            rotate(&mut log, !is_known || random.bool())?;
            rounds_in_file = 0;
        }
        pause(Duration::from_millis(random.u64(1..20)));
    }
    Ok(log.next)
}

#[test]
fn a_killed_agent_loses_nothing_and_repeats_only_what_was_under_way() -> Result {
    run(LogWriter::rename, 32)
}

#[test]
fn a_killed_agent_reads_on_in_the_copy_of_a_log_that_was_truncated() -> Result {
    run(LogWriter::copy_and_truncate, 16)
}

/// Kills the agent `kills` times while a log is written and rotated, and settles the account.
fn run(rotate: Rotate, kills: u64) -> Result {
    let seed = seed()?;
    let folder = Folder::new()?;
    // Slow answers, so that there is something under way at every kill.
    let sim = Sim::with_faults(&["slow=15ms"])?;
    let logs = folder.directory("logs")?;
    folder.configure(&Config {
        limits: format!(
            "events_per_request_max = 60\nrequests_in_flight_max = {REQUESTS_IN_FLIGHT_MAX}"
        ),
        ..Config::new(&sim.url(), config::file(&logs.join("usage*.jsonl")))
    })?;
    let log = LogWriter::new(&logs)?;
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .spawn_scoped(scope, || write(log, rotate, &sim, seed.wrapping_add(1), &is_over))?;
        let killed = kill_again_and_again(&folder, seed, kills);
        is_over.store(true, Ordering::Release);
        let written = writer.join().map_err(|_| "the writer panicked")?;
        killed.and(written)
    })?;
    let mut agent = folder.start()?;
    let delivered = folder.wait_counted("delivered", written.cast_signed());
    if delivered.is_err() {
        // Says which are missing.
        say(&folder.warnings()?);
        sim.check_complete(written)?;
    }
    delivered?;
    agent.stop()?;
    sim.check_complete(written)?;
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/read")?, written.cast_signed(), "{status}");
    assert_eq!(number(&status, "/equation/dead_lettered")?, 0, "{status}");
    check_repeats(&folder, &sim, written, kills)
}

fn kill_again_and_again(folder: &Folder, seed: u64, kills: u64) -> Result {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..kills {
        let mut agent = folder.spawn()?;
        // Sometimes during the start, sometimes well into the work.
        pause(Duration::from_millis(random.u64(5..500)));
        if !agent.is_running()? {
            return Err(format!("the agent ended by itself: {}", agent.log()?).into());
        }
        agent.kill()?;
        if folder.state().join("meterd.db").exists() {
            // The equation has to hold at any instant. A store that was killed while it was
            // created has none yet.
            let output = folder.command(&["status", "--json"])?;
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let words = ["there is no store", "no such table", "another program", "up to date"];
            if !output.status.success() && !words.iter().any(|word| errors.contains(word)) {
                // No panic: the writer would never hear that it is over.
                return Err(errors.into());
            }
        }
    }
    Ok(())
}

/// Repeats are at most as many as were under way at kills.
fn check_repeats(folder: &Folder, sim: &Sim, written: u64, kills: u64) -> Result {
    let repeated = sim.check_repeats(&folder.receipts()?)?;
    assert!(repeated.requests <= kills * REQUESTS_IN_FLIGHT_MAX, "{repeated:?}");
    assert_eq!(sim.stats().events_accepted - written, repeated.events, "{repeated:?}");
    say(&format!("{written} events, {kills} kills, {} repeats", repeated.requests));
    Ok(())
}
