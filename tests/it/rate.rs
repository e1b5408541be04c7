//! The requests of a minute: never more than the tenant may, and nearly as many while events wait.

use std::time::{Duration, Instant};

use crate::harness::chaos::Act;
use crate::harness::config::file;
use crate::harness::seed::{say, seed};
use crate::harness::wait::until_within;
use crate::harness::{Chaos, Config, Folder, Result, lines, pause};

const PER_MINUTE: usize = 600;
const MINUTE: Duration = Duration::from_secs(60);

/// How long requests are looked at: many windows of a minute.
const OBSERVED: Duration = Duration::from_secs(71);

/// The fewest and the most requests in a window of a minute: windows begin at each request, and at
/// fixed steps for the fewest.
fn windows(arrivals: &[Instant]) -> Option<(usize, usize)> {
    let (first, last) = (*arrivals.first()?, *arrivals.last()?);
    let within = |from: Instant| {
        let before = |end: Instant| arrivals.partition_point(|at| *at < end);
        before(from + MINUTE) - before(from)
    };
    let steps = (0..).map(|step| first + Duration::from_millis(50) * step);
    let least = steps.take_while(|from| *from + MINUTE < last).map(within).min()?;
    Some((least, arrivals.iter().map(|at| within(*at)).max()?))
}

#[test]
fn no_minute_has_more_requests_than_the_limit_and_a_backlog_uses_nearly_all() -> Result {
    let seed = seed()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Folder::new()?;
    // One in twenty fails, and is tried again after the waits of a usual configuration.
    let chaos = Chaos::start(seed, move |coming| match (coming, random.u32(0..100)) {
        (None, 0) => Some(Act::ResetUnread),
        (Some(_), 0..=1) => Some(Act::status(503)),
        (Some(_), 2) => Some(Act::Reset),
        (Some(_), 3) => Some(Act::status(500)),
        _ => None,
    })?;
    let log = folder.path("usage.jsonl");
    std::fs::write(&log, lines(0..10_000))?;
    folder.configure(&Config {
        limits: format!("requests_per_minute = {PER_MINUTE}\nevents_per_request_max = 5"),
        // The token lasts for two seconds, and asking for one counts.
        auth: "client_id = \"agent\"\nclient_secret = \"hush-hush\"".to_owned(),
        delivery: String::new(),
        ..Config::new(&chaos.url(), file(&log))
    })?;
    let mut agent = folder.start()?;
    until_within(OBSERVED * 2, "a minute of requests and more", || {
        pause(Duration::from_millis(100));
        let arrivals = chaos.books().arrivals();
        let observed = arrivals.first().zip(arrivals.last()).map(|(first, last)| *last - *first);
        Ok(observed.filter(|observed| *observed >= OBSERVED))
    })?;
    assert!(folder.counted("stored")? > 1000, "there is no backlog");
    // It would go on for as long as it has grace.
    agent.kill()?;
    let books = chaos.books();
    let (least, most) = windows(&books.arrivals()).ok_or("no request")?;
    let (tokens, unread) = (books.tokens.len(), books.unread.len());
    say(&format!(
        "{least} to {most} a minute, {tokens} tokens, {unread} unread, {:?}",
        books.acts()
    ));
    assert!(most <= PER_MINUTE, "{most} in a minute");
    assert!(least * 100 >= PER_MINUTE * 95, "only {least} in a minute");
    assert!(tokens > 20 && unread > 0, "nothing was shown");
    Ok(())
}
