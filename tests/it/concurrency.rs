//! Requests under way follow what the far end bears.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::chaos::Act;
use crate::harness::config::file;
use crate::harness::seed::say;
use crate::harness::{Chaos, Config, Folder, Result, lines, until};

const IN_FLIGHT_MAX: usize = 8;

/// So many at one time the far end bears.
const BEARABLE: usize = 2;

/// What each request beyond that costs all. Far more than what a busy machine adds to an answer.
const SURPLUS: Duration = Duration::from_millis(400);

/// Requests after which the number under way has settled, and those that are looked at then.
const SETTLING: usize = 100;
const SETTLED: usize = 60;

#[test]
fn less_is_under_way_while_that_makes_answers_slow_and_all_again_afterwards() -> Result {
    let folder = Folder::new()?;
    let (is_well, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (well, seen) = (Arc::clone(&is_well), Arc::clone(&most));
    let chaos = Chaos::start(0, move |coming| {
        let under_way = coming?.under_way;
        seen.fetch_max(under_way, Ordering::Relaxed);
        let is_well = well.load(Ordering::Relaxed);
        let surplus = if is_well { 0 } else { under_way.saturating_sub(BEARABLE) };
        let slower = SURPLUS.saturating_mul(u32::try_from(surplus).ok()?);
        Some(Act::success_after(Duration::from_millis(20) + slower))
    })?;
    let log = folder.path("usage.jsonl");
    std::fs::write(&log, lines(0..40_000))?;
    folder.configure(&Config {
        limits: format!(
            "requests_in_flight_max = {IN_FLIGHT_MAX}\nevents_per_request_max = 10\n\
             requests_per_minute = 1_000_000"
        ),
        ..Config::new(&chaos.url(), file(&log))
    })?;
    let mut agent = folder.start()?;
    let wait_requests = |count: usize| {
        until(&format!("{count} requests"), || {
            Ok((chaos.books().entries.len() >= count).then_some(()))
        })
    };
    wait_requests(SETTLING)?;
    let at_first = most.swap(0, Ordering::Relaxed);
    wait_requests(SETTLING + SETTLED)?;
    let settled = most.swap(0, Ordering::Relaxed);
    is_well.store(true, Ordering::Relaxed);
    until("all under way again", || {
        Ok((most.load(Ordering::Relaxed) == IN_FLIGHT_MAX).then_some(()))
    })?;
    say(&format!("{at_first} under way at first, then {settled}, then all again"));
    assert!(settled <= BEARABLE + 3 && settled < at_first, "{at_first}, then {settled}");
    assert!(folder.counted("stored")? > 0, "there is no backlog");
    agent.kill()
}
