//! A start with a full store, after SIGKILL in the full load: the first request goes out soon.

use std::time::{Duration, Instant};

use crate::harness::config::file;
use crate::harness::seed::is_full;
use crate::harness::sim::ReservedPort;
use crate::harness::wait::until_within;
use crate::harness::{Config, Folder, Result, Sim, lines};
use crate::scorecard::Scored;

const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// What a million events take to come and go.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_start_with_a_full_store_sends_soon() -> Result {
    let scored = Scored::begin("R1", "")?;
    let events: u64 = if is_full() { 1_000_000 } else { 100_000 };
    let (folder, port) = (Folder::new()?, ReservedPort::new()?);
    let path = folder.path("usage.jsonl");
    // More than is stored when it is killed.
    let all = events + events / 5;
    std::fs::write(&path, lines(0..all))?;
    folder.configure(&Config::new(&port.url(), file(&path)))?;
    let mut agent = folder.start()?;
    until_within(PATIENCE, "so many events in the store", || {
        Ok((folder.counted("stored")? >= events.cast_signed()).then_some(()))
    })?;
    agent.kill()?;
    let stored = folder.counted("stored")?;
    let sim = Sim::on(port)?;
    let begun = Instant::now();
    let mut agent = folder.spawn()?;
    sim.wait_requests(1)?;
    let first = begun.elapsed();
    until_within(PATIENCE, "all events", || Ok((sim.stats().distinct_ids == all).then_some(())))?;
    agent.stop()?;
    sim.check_complete(all)?;
    assert!(first < FIRST_REQUEST_WITHIN, "{first:?}");
    scored.shown(&format!(
        "{stored} events in the store, first request {} ms after the start, lost 0",
        first.as_millis()
    ))
}
