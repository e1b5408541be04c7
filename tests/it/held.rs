//! A meter that is held costs the others nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::chaos::Act;
use crate::harness::config::file_of;
use crate::harness::seed::{events, say};
use crate::harness::wait::until_within;
use crate::harness::{Chaos, Config, Folder, Result, lines, pause};

const HOLD_INTERVAL: Duration = Duration::from_millis(300);
const HELD: u64 = 1000;

#[test]
fn a_held_meter_is_tried_slowly_while_another_delivers_and_all_of_it_comes_afterwards() -> Result {
    let count = events(100_000)?;
    let folder = Folder::new()?;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let chaos = Chaos::start(0, move |coming| {
        let is_held = coming?.meter == "g1" && !well.load(Ordering::Relaxed);
        is_held.then_some(Act::status(403))
    })?;
    let (held, other) = (folder.path("held.jsonl"), folder.path("other.jsonl"));
    std::fs::write(&held, lines(count..count + HELD))?;
    std::fs::write(&other, lines(0..count))?;
    let sources = format!(
        "{}[meters.other]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n{}",
        file_of("app", "m", &held),
        file_of("other", "other", &other),
    );
    folder.configure(&Config {
        limits: "events_per_request_max = 100\nrequests_per_minute = 1_000_000".to_owned(),
        delivery: format!("hold_interval = \"{}ms\"", HOLD_INTERVAL.as_millis()),
        ..Config::new(&chaos.url(), sources)
    })?;
    let begin = Instant::now();
    let mut agent = folder.start()?;
    let wait_delivered = |wanted: u64| {
        until_within(Duration::from_secs(200), &format!("{wanted} delivered"), || {
            pause(Duration::from_millis(20));
            Ok((folder.counted("delivered")? == wanted.cast_signed()).then_some(()))
        })
    };
    wait_delivered(count)?;
    folder.wait_state("held")?;
    let tries = |meter: &str| chaos.books().entries.iter().filter(|e| e.meter == meter).count();
    let (tries_of_held, tries_of_other, took) = (tries("g1"), tries("g2"), begin.elapsed());
    // Those that were under way together at first, and one an interval.
    let allowed = 8 + took.as_millis() / HOLD_INTERVAL.as_millis() + 1;
    say(&format!(
        "{took:?}: {tries_of_held} tries of the held meter, {tries_of_other} of the other"
    ));
    assert!(tries_of_held >= 2 && tries_of_held as u128 <= allowed, "{tries_of_held} in {took:?}");
    assert_eq!(tries_of_other, folder.receipts()?.len(), "one request a batch");
    assert_eq!(agent.log()?.matches("meter held: a person is needed").count(), 1);
    is_well.store(true, Ordering::Relaxed);
    wait_delivered(count + HELD)?;
    agent.stop()?;
    let books = chaos.books();
    books.check_complete(count + HELD)?;
    assert_eq!(books.check_receipts(&folder.receipts()?)?, 0, "events twice");
    books.check_repeats(&[]).map(|_| ())
}
