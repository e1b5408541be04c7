//! A far end that fails two of five requests in every way there is: every event arrives, and every
//! repeat has its reason on record.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::chaos::{Act, Answer, Coming, Meaning};
use crate::harness::config::file_of;
use crate::harness::seed::{events, say, seed};
use crate::harness::wait::until_within;
use crate::harness::{Chaos, Config, Folder, Result, lines, number, pause};

const IN_FLIGHT_MAX: u64 = 4;

/// How often the agent is killed, about once a second.
const KILLS: usize = 10;

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
fn mix(seed: u64) -> impl FnMut(Option<&Coming<'_>>) -> Option<Act> {
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

/// Looks at the equation again and again.
fn sample(folder: &Folder, is_over: &AtomicBool) -> Result {
    let mut samples = 0;
    while !is_over.load(Ordering::Acquire) {
        folder.status()?;
        samples += 1;
        pause(SAMPLING_PAUSE);
    }
    assert!(samples > 10, "{samples} samples");
    Ok(())
}

/// Does `work` while the equation is looked at.
fn sampled(folder: &Folder, work: impl FnOnce() -> Result) -> Result {
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

/// Two meters, each with a file: where they are, and the sections.
fn two_meters(folder: &Folder) -> ([PathBuf; 2], String) {
    let files = [folder.path("first.jsonl"), folder.path("second.jsonl")];
    let sources = format!(
        "{}[meters.other]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n{}",
        file_of("app", "m", &files[0]),
        file_of("other", "other", &files[1]),
    );
    (files, sources)
}

/// Everything has to be right when all `count` events are delivered; gives the figures.
fn check(folder: &Folder, chaos: &Chaos, count: u64, kills: &[Instant]) -> Result<Figures> {
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/read")?, count.cast_signed(), "{status}");
    assert_eq!(number(&status, "/equation/delivered")?, count.cast_signed(), "{status}");
    let receipts = folder.receipts()?;
    let books = chaos.books();
    books.check_complete(count)?;
    let figures = Figures {
        requests: books.arrivals().len(),
        receipts: receipts.len(),
        cut_off: books.check_repeats(kills)?,
        twice: books.check_receipts(&receipts)?,
        waits: books.check_waits(kills)?,
        in_flight: books.in_flight_max(kills),
    };
    say(&format!("{count} events, {} kills, {figures:?}, {:?}", kills.len(), books.acts()));
    assert!((2..=IN_FLIGHT_MAX).contains(&figures.in_flight), "{figures:?}");
    assert!(figures.cut_off <= kills.len() as u64 * IN_FLIGHT_MAX, "{figures:?}");
    assert!(figures.twice > 0, "nothing was shown");
    Ok(figures)
}

/// What a run came to.
#[derive(Debug)]
#[expect(dead_code, reason = "printed, for who looks at a run")]
struct Figures {
    requests: usize,
    receipts: usize,
    /// Requests for what had been taken, because a kill came before the receipt.
    cut_off: u64,
    /// Events accepted twice.
    twice: u64,
    waits: u64,
    in_flight: u64,
}

#[test]
fn a_far_end_that_fails_in_every_way_gets_every_event() -> Result {
    let (seed, count) = (seed()?, events(100_000)?);
    let folder = Folder::new()?;
    let chaos = Chaos::start(seed, mix(seed))?;
    let ([first, second], sources) = two_meters(&folder);
    std::fs::write(first, lines(0..count / 2))?;
    std::fs::write(second, lines(count / 2..count))?;
    folder.configure(&config(&chaos, &sources))?;
    let mut agent = folder.start()?;
    sampled(&folder, || wait_delivered(&folder, count))?;
    agent.stop()?;
    let figures = check(&folder, &chaos, count, &[])?;
    assert!(figures.waits > 0, "nothing was shown");
    Ok(())
}

#[test]
fn a_killed_agent_and_a_far_end_that_fails_lose_nothing_together() -> Result {
    let seed = seed()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Folder::new()?;
    let chaos = Chaos::start(seed, mix(seed))?;
    let (files, sources) = two_meters(&folder);
    folder.configure(&config(&chaos, &sources))?;
    let mut agent = folder.start()?;
    let mut log = Log::create(&files)?;
    let mut kills = Vec::new();
    sampled(&folder, || {
        while kills.len() < KILLS {
            let kill_at = Instant::now() + Duration::from_millis(random.u64(500..1500));
            while Instant::now() < kill_at {
                log.write_ahead_of(&chaos)?;
                pause(SAMPLING_PAUSE);
            }
            agent.kill()?;
            // The far end sees to what the agent left it.
            pause(Duration::from_millis(50));
            kills.push(Instant::now());
            agent = folder.start()?;
        }
        wait_delivered(&folder, log.next)
    })?;
    agent.stop()?;
    check(&folder, &chaos, log.next, &kills)?;
    Ok(())
}

/// A file for each meter.
struct Log {
    files: [File; 2],
    /// The number of the next event.
    next: u64,
}

impl Log {
    fn create([first, second]: &[PathBuf; 2]) -> Result<Self> {
        Ok(Self { files: [File::create(first)?, File::create(second)?], next: 0 })
    }

    /// Writes more when the far end has nearly all: something is to be under way at each kill.
    fn write_ahead_of(&mut self, chaos: &Chaos) -> Result {
        const AHEAD: u64 = 4000;
        const STEP: u64 = 500;
        if chaos.books().distinct() + AHEAD > self.next {
            for file in &mut self.files {
                file.write_all(lines(self.next..self.next + STEP).as_bytes())?;
                self.next += STEP;
            }
        }
        Ok(())
    }
}
