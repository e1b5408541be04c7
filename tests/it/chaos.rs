//! A far end that fails two of five requests in every way there is: every event arrives, and every
//! repeat has its reason on record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::chaos::{Act, Answer, Coming, Meaning};
use crate::harness::config::file_of;
use crate::harness::seed::{events, say, seed};
use crate::harness::wait::until_within;
use crate::harness::{Chaos, Config, Folder, Result, lines, number, pause};

const IN_FLIGHT_MAX: i64 = 4;

/// Only a failing run takes so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at the equation.
const SAMPLING_PAUSE: Duration = Duration::from_millis(10);

/// Of so many requests one is reset before it is read.
const UNREAD_ONE_IN: u32 = 25;

/// Of all other requests so many in a hundred fail.
const FAILING_PERCENT: u32 = 41;

/// How long a good answer takes, so that several requests are under way.
const THINKING: Duration = Duration::from_millis(5);

/// What a request can get that does not get a success, and how often beside the others.
const FAILURES: [(u32, Act); 40] = [
    (60, Act::Reset),
    (40, Act::HalfHead),
    (40, Act::Rubbish),
    (4, Act::Silence),
    (6, Act::code(200, "70002005")),
    (6, Act::code(200, "70002006")),
    (20, Act::status(302)),
    (4, Act::status(400)),
    (4, Act::code(400, "70000000")),
    (4, Act::code(400, "70001200")),
    (4, Act::code(400, "70001201")),
    (6, Act::code(400, "70002001")),
    (6, Act::code(400, "70002002")),
    (6, Act::code(400, "70002003")),
    (6, Act::code(400, "70002004")),
    (6, Act::code(400, "70002103")),
    (6, Act::code(400, "70002104")),
    (6, Act::code(400, "70002005")),
    (20, Act::code(400, "70001204")),
    (20, Act::code(409, "70001204")),
    (20, Act::status(401)),
    (20, Act::status(403)),
    (10, Act::code(403, "70002006")),
    (20, Act::status(404)),
    (20, Act::status(408)),
    (6, Act::status(413)),
    (10, Act::status(418)),
    (10, Act::status(422)),
    (10, Act::status(425)),
    (6, Act::status(429)),
    (4, wait_and_come_again(429)),
    (20, Act::status(500)),
    (20, Act::status(502)),
    (20, Act::status(503)),
    (4, wait_and_come_again(503)),
    (2, wait_and_come_again(500)),
    (20, Act::status(504)),
    (10, Act::status(599)),
    (20, half_of(200)),
    (20, half_of(503)),
];

const fn wait_and_come_again(status: u16) -> Act {
    Act::Answer(Answer {
        status,
        code: "",
        retry_after_seconds: Some(1),
        is_half: false,
        after: Duration::ZERO,
    })
}

const fn half_of(status: u16) -> Act {
    Act::Answer(Answer {
        status,
        code: "",
        retry_after_seconds: None,
        is_half: true,
        after: Duration::ZERO,
    })
}

/// The random mix.
fn mix(seed: u64) -> impl FnMut(Option<&Coming>) -> Option<Act> {
    let mut random = fastrand::Rng::with_seed(seed);
    let whole: u32 = FAILURES.iter().map(|(weight, _)| weight).sum();
    move |coming| {
        let Some(coming) = coming else {
            return (random.u32(0..UNREAD_ONE_IN) == 0).then_some(Act::ResetUnread);
        };
        if random.u32(0..100) >= FAILING_PERCENT {
            return Some(Act::success_after(THINKING));
        }
        let mut left = random.u32(0..whole);
        let drawn = FAILURES.iter().find(|(weight, _)| match left.checked_sub(*weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let (_, act) = *drawn?;
        match act {
            // Of one event this would be the end of it, and it is good.
            act if Meaning::of(act) == Meaning::Cut && coming.events < 2 => None,
            // Nothing is a duplicate of nothing.
            Act::Answer(Answer { code: "70001204", .. }) if !coming.is_known => None,
            act => Some(act),
        }
    }
}

/// Looks at the equation again and again; gives how often.
fn sample(folder: &Folder, is_over: &AtomicBool) -> Result<u64> {
    let mut samples = 0;
    while !is_over.load(Ordering::Acquire) {
        folder.status()?;
        samples += 1;
        pause(SAMPLING_PAUSE);
    }
    Ok(samples)
}

/// Does `work` while the equation is looked at; gives how often.
fn sampled(folder: &Folder, work: impl FnOnce() -> Result) -> Result<u64> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler =
            std::thread::Builder::new().spawn_scoped(scope, || sample(folder, &is_over))?;
        let worked = work();
        is_over.store(true, Ordering::Release);
        let samples = sampler.join().map_err(|_| "the sampler panicked")?;
        worked.and(samples)
    })
}

fn wait_delivered(folder: &Folder, count: u64) -> Result {
    until_within(PATIENCE, "the last delivery", || {
        pause(SAMPLING_PAUSE);
        Ok((folder.counted("delivered")? == count.cast_signed()).then_some(()))
    })
}

fn config(chaos: &Chaos, sources: &str) -> Config {
    Config {
        limits: format!(
            "events_per_request_max = 100\nrequests_in_flight_max = {IN_FLIGHT_MAX}\n\
             requests_per_minute = 1_000_000"
        ),
        request_timeout: "1500ms",
        delivery: "backoff_base = \"2ms\"\nbackoff_max = \"10ms\"\nhold_interval = \"10ms\""
            .to_owned(),
        ..Config::new(&chaos.url(), sources)
    }
}

#[test]
fn a_far_end_that_fails_in_every_way_gets_every_event() -> Result {
    let (seed, count) = (seed()?, events(100_000)?);
    let folder = Folder::new()?;
    let chaos = Chaos::start(seed, mix(seed))?;
    let (first, second) = (folder.path("first.jsonl"), folder.path("second.jsonl"));
    std::fs::write(&first, lines(0..count / 2))?;
    std::fs::write(&second, lines(count / 2..count))?;
    let sources = format!(
        "{}[meters.other]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n{}",
        file_of("app", "m", &first),
        file_of("other", "other", &second),
    );
    folder.configure(&config(&chaos, &sources))?;
    let mut agent = folder.start()?;
    let samples = sampled(&folder, || wait_delivered(&folder, count))?;
    agent.stop()?;
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/delivered")?, count.cast_signed(), "{status}");
    assert_eq!(number(&status, "/equation/read")?, count.cast_signed(), "{status}");
    let books = chaos.books();
    books.check_complete(count)?;
    books.check_repeats(&[])?;
    let receipts = folder.receipts()?;
    let twice = books.check_receipts(&receipts)?;
    let waits = books.check_waits()?;
    let in_flight = books.in_flight_max();
    assert!((2..=IN_FLIGHT_MAX).contains(&in_flight), "{in_flight}");
    say(&format!(
        "{count} events, {} requests, {} unread, {} receipts, {twice} events twice, {waits} waits, \
         {in_flight} in flight, {samples} samples, {:?}",
        books.entries.len(),
        books.resets_unread,
        receipts.len(),
        books.acts(),
    ));
    assert!(twice > 0 && waits > 0 && samples > 10, "nothing was shown");
    Ok(())
}
