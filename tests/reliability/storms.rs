//! A far end that refuses everything for a time: it is left alone for as long as it asked, and has the
//! whole rate soon after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::harness::chaos::{Act, Answer};
use crate::harness::config::file;
use crate::harness::seed::is_full;
use crate::harness::{Chaos, Config, Folder, Result, fail, lines, pause, until};
use crate::scorecard::Scored;

/// Few, so that it is a small machine that makes them in time.
const PER_MINUTE: u64 = 1800;

/// In one request.
const EVENTS: u64 = 5;

/// What of the rate is full: the pace leaves two in a hundred, arrivals differ by some.
const FULL_SHARE: f64 = 0.9;

/// Over so long a rate is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A storm, and what an answer in it asks for.
#[derive(Debug, Clone, Copy)]
struct Storm {
    status: u16,
    retry_after_seconds: Option<u64>,
    /// The full rate is wanted so soon after the last refusal.
    full_within: Duration,
    lasts: Duration,
}

impl Storm {
    /// One that asks for a wait, or one that does not.
    fn new(status: u16, asks: bool) -> Self {
        let wait = if is_full() { 10 } else { 2 };
        Self {
            status,
            retry_after_seconds: asks.then_some(wait),
            full_within: Duration::from_secs(2 * wait),
            // Who comes back at once is refused again.
            lasts: Duration::from_secs(wait) + LOOK,
        }
    }

    fn act(self) -> Act {
        let Self { status, retry_after_seconds, .. } = self;
        let after = Duration::ZERO;
        Act::Answer(Answer { status, code: "", retry_after_seconds, is_half: false, after })
    }
}

/// The first time from which on there were enough requests for the whole rate.
fn is_full_from(arrivals: &[Instant], from: Instant) -> Option<Instant> {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let wanted = PER_MINUTE as f64 / 60.0 * LOOK.as_secs_f64() * FULL_SHARE;
    let within = |from: Instant| {
        let before = |end: Instant| arrivals.partition_point(|at| *at < end);
        before(from + LOOK) - before(from)
    };
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let is_enough = |at: &Instant| within(*at) as f64 >= wanted;
    arrivals.iter().copied().filter(|at| *at >= from).find(is_enough)
}

fn weather(storm: Storm, part: &'static str) -> Result {
    let scored = Scored::begin("N2", part)?;
    let folder = Folder::new()?;
    let until_when: Arc<Mutex<Option<Instant>>> = Arc::default();
    let looked_at = Arc::clone(&until_when);
    let chaos = Chaos::start(0, move |coming| {
        let storms_until = *looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        (coming.is_some() && storms_until.is_some_and(|end| Instant::now() < end))
            .then(|| storm.act())
    })?;
    let log = folder.path("usage.jsonl");
    let lasts = (storm.lasts + storm.full_within * 2).as_secs() + 30;
    std::fs::write(&log, lines(0..lasts * PER_MINUTE / 60 * EVENTS))?;
    folder.configure(&Config {
        limits: format!("requests_per_minute = {PER_MINUTE}\nevents_per_request_max = {EVENTS}"),
        ..Config::new(&chaos.url(), file(&log))
    })?;
    let mut agent = folder.start()?;
    let begun = Instant::now();
    until("the full rate", || Ok(is_full_from(&chaos.books().arrivals(), begun)))?;
    let end = Instant::now() + storm.lasts;
    *until_when.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    pause(storm.lasts);
    let mut last = None;
    let full = until("the full rate again", || {
        let books = chaos.books();
        let refused = books.entries.iter().filter(|entry| entry.act == storm.act());
        last = refused.map(|entry| entry.ended).max();
        Ok(last.and_then(|last| is_full_from(&books.arrivals(), last)))
    })?;
    assert!(folder.counted("stored")? > 0, "there is no backlog");
    // It would go on for as long as it has grace.
    agent.kill()?;
    let books = chaos.books();
    let recovery = full - last.ok_or("no storm")?;
    let (requests, over) = (books.arrivals().len() as u64, books.in_waits());
    let refused = books.entries.iter().filter(|entry| entry.act == storm.act()).count();
    if over * 100 > requests {
        return fail(format!("{over} of {requests} requests came in a wait"));
    }
    if recovery > storm.full_within {
        return fail(format!("{recovery:?} until the full rate"));
    }
    let waits = storm.retry_after_seconds;
    scored.shown(&format!(
        "{requests} requests, {refused} refused, {over} in a wait; full rate {:.1} s after the last \
         refusal{}",
        recovery.as_secs_f64(),
        waits.map_or_else(String::new, |seconds| format!(" (Retry-After {seconds} s)"))
    ))
}

#[test]
fn a_storm_of_429_is_waited_out_and_has_the_full_rate_behind_it() -> Result {
    weather(Storm::new(429, true), "429")
}

#[test]
fn a_storm_of_503_is_waited_out_and_has_the_full_rate_behind_it() -> Result {
    weather(Storm::new(503, true), "503")
}

#[test]
fn a_storm_of_500_that_asks_for_nothing_has_the_full_rate_behind_it() -> Result {
    weather(Storm::new(500, false), "500")
}
