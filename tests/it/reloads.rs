//! Hundreds of reloads under full load: nothing is lost, nothing is doubled, and the daemon does not
//! grow.
//!
//! A short profile runs with every test run. `METERD_IT_FULL=1 cargo test --release --test it
//! reloads:: -- --nocapture` reloads 1,000 times and prints what came of it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::config::{TCP, file, file_of};
use crate::harness::seed::is_full;
use crate::harness::wait::until_within;
use crate::harness::{Agent, Config, Folder, Result, Sim, event, number, pause};

/// Which part of the reloads comes before the daemon is measured for the first time: what it needs
/// under load is there by then.
const WARM_UP_SHARE: u64 = 5;

/// So many events may be under way before the writers wait.
const AHEAD_MAX: u64 = 20_000;

/// Events that a writer writes at once.
const BURST: u64 = 200;

const WRITERS: u64 = 3;

/// Connections to the far end, which are kept for a while.
const IN_FLIGHT_MAX: usize = 8;

/// Descriptors of the store that SQLite may keep for later.
const OF_STORE_SPARE: usize = 4;

/// How long anything may take: with every processor busy some things take long.
const PATIENCE: Duration = Duration::from_secs(300);

fn reloads() -> u64 {
    if is_full() { 1000 } else { 60 }
}

/// Whether writers write, and what they have written.
#[derive(Debug, Default)]
struct Load {
    written: AtomicU64,
    has_ended: AtomicBool,
}

impl Load {
    /// Every third event, from `first` on, to `out`; gives how many. Waits for nothing but for the
    /// far end to come after.
    fn write(&self, first: u64, mut out: impl Write, sim: &Sim) -> Result<u64> {
        let mut count = 0;
        while !self.has_ended.load(Ordering::Relaxed) {
            if self.written.load(Ordering::Relaxed) > sim.stats().distinct_ids + AHEAD_MAX {
                pause(Duration::from_millis(5));
                continue;
            }
            let burst: String = (count..count + BURST)
                .map(|number| event(number * WRITERS + first) + "\n")
                .collect();
            out.write_all(burst.as_bytes())?;
            count += BURST;
            self.written.fetch_add(BURST, Ordering::Relaxed);
        }
        Ok(count)
    }
}

/// What a process holds.
#[derive(Debug)]
struct Size {
    /// Memory without files that are mapped, such as the index of the store's log.
    anonymous_bytes: u64,
    sockets: usize,
    /// Of the store: SQLite keeps some for later that it cannot close while another connection has a
    /// lock.
    of_store: usize,
    /// All others.
    descriptors: usize,
    threads: usize,
}

impl Size {
    fn of(agent: &Agent) -> Result<Self> {
        let process = format!("/proc/{}", agent.id());
        let tasks = std::fs::read_dir(format!("{process}/task"))?.flatten();
        // Those of the runtime come and go with what is asked of the disk.
        let is_stage = |name: String| name.trim() != "runtime";
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")));
        let open = std::fs::read_dir(format!("{process}/fd"))?.flatten();
        let open = open.filter_map(|open| std::fs::read_link(open.path()).ok());
        let open: Vec<String> = open.map(|open| open.to_string_lossy().into_owned()).collect();
        let count = |is_one: fn(&str) -> bool| open.iter().filter(|open| is_one(open)).count();
        let (sockets, of_store) =
            (count(|open| open.starts_with("socket:")), count(|open| open.contains("meterd.db")));
        Ok(Self {
            anonymous_bytes: agent.memory("RssAnon")?,
            sockets,
            of_store,
            descriptors: open.len() - sockets - of_store,
            threads: names.flatten().filter(|name| is_stage(name.clone())).count(),
        })
    }
}

fn open(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}

/// Two configurations that differ in everything that a reload can change, but for the listener.
fn configurations(url: &str, folder: &Folder) -> [String; 2] {
    let (app, extra) = (folder.path("app.jsonl"), folder.path("extra.jsonl"));
    let first = Config::new(url, format!("{}{TCP}ack = true\n", file(&app)));
    let second = Config {
        meter: "event_id_field = \"EventId\"\nunknown_fields = \"keep\"\nevent_age_max = \"3650d\"\n\
                [meters.m.schema]\nfields = [{ name = \"UsageDate\", type = \"datetime\", required = true }]"
            .to_owned(),
        limits: "events_per_request_max = 700\nrequests_in_flight_max = 5".to_owned(),
        store: "bytes_max = \"5GiB\"".to_owned(),
        sources: format!(
            "{}line_bytes_max = \"64KiB\"\n{TCP}ack = true\n\
             [meters.other]\nglobal_id = \"g1\"\nevent_id_field = \"EventId\"\n{}",
            file(&app),
            file_of("extra", "other", &extra),
        ),
        ..first.clone()
    };
    [first, second].map(|config| config.text(&folder.state()))
}

/// Has the configurations take turns, `reloads` times; ends with the second one.
fn take_turns(agent: &Agent, folder: &Folder, texts: &[String; 2], reloads: u64) -> Result {
    let count =
        || Ok::<_, crate::harness::Error>(agent.log()?.matches("configuration reloaded").count());
    for turn in 0..reloads {
        let before = count()?;
        std::fs::write(folder.config(), &texts[usize::from(turn % 2 == 1)])?;
        agent.signal(Signal::HUP)?;
        until_within(PATIENCE, "a reload", || Ok((count()? > before).then_some(())))?;
    }
    Ok(())
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures of the full profile are the result")]
fn nothing_is_lost_or_doubled_and_nothing_grows() -> Result {
    let reloads = reloads();
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let texts = configurations(&sim.url(), &folder);
    std::fs::write(folder.config(), &texts[1])?;
    let mut agent = folder.start()?;
    let began = Instant::now();
    let address = agent.listening("net")?;
    let stream = TcpStream::connect(address)?;
    let acks = stream.try_clone()?;
    let mut sizes = Vec::new();
    let mut counts = [0; 3];
    // Two times: what it holds at rest behind some reloads, and behind all.
    for turns in [reloads / WARM_UP_SHARE, reloads] {
        let load = Load::default();
        let starts = counts;
        let (app, extra) = (open(&folder.path("app.jsonl"))?, open(&folder.path("extra.jsonl"))?);
        let outs: [Box<dyn Write + Send>; 3] =
            [Box::new(app), Box::new(extra), Box::new(stream.try_clone()?)];
        counts = std::thread::scope(|scope| -> Result<[u64; 3]> {
            let mut writers = Vec::new();
            for (index, out) in (0_u64..).zip(outs) {
                let (load, sim) = (&load, &sim);
                let first = starts[usize::try_from(index)?] * WRITERS + index;
                let writer = std::thread::Builder::new();
                writers.push(writer.spawn_scoped(scope, move || load.write(first, out, sim))?);
            }
            let turned = take_turns(&agent, &folder, &texts, turns);
            load.has_ended.store(true, Ordering::Relaxed);
            let mut counts = starts;
            for (count, writer) in counts.iter_mut().zip(writers) {
                *count += writer.join().map_err(|_| "a writer panicked")??;
            }
            turned.map(|()| counts)
        })?;
        let written: u64 = counts.iter().sum();
        until_within(PATIENCE, "all that was written", || {
            pause(Duration::from_millis(50));
            Ok((sim.stats().distinct_ids >= written).then_some(()))
        })?;
        sizes.push(at_rest(&agent, sizes.last())?);
    }
    let [first, last] = sizes.as_slice() else { return Err("not two sizes".into()) };
    let elapsed = began.elapsed();
    let events: u64 = counts.iter().sum();
    eprintln!("{reloads} reloads, {events} events in {elapsed:?}: {first:?}, then {last:?}");
    // Under load the buffers of the intake (16 MiB) and those of requests come to be used, one by one.
    let grown = last.anonymous_bytes.saturating_sub(first.anonymous_bytes);
    assert!(grown < 48 << 20, "{first:?}, then {last:?}");
    assert_eq!(agent.times_logged("listening")?, 1);
    // Every line of the connection was acknowledged, through all reloads.
    let wanted = format!("{{\"durable\":{}}}", counts[2]);
    let mut acks = BufReader::new(acks).lines();
    acks.find(|ack| ack.as_ref().map_or(true, |ack| *ack == wanted)).ok_or("no last ack")??;
    agent.stop()?;
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/read")?, events.cast_signed());
    assert_eq!(number(&status, "/equation/delivered")?, events.cast_signed());
    check_once(&sim, counts)
}

/// What the daemon holds once it has nothing to do and holds no more than `before`.
fn at_rest(agent: &Agent, before: Option<&Size>) -> Result<Size> {
    let mut last = None;
    let waited = until_within(Duration::from_secs(60), "the daemon to let go", || {
        let size = Size::of(agent)?;
        let is_small = before.is_none_or(|before| {
            size.sockets <= before.sockets + IN_FLIGHT_MAX
                && size.of_store <= before.of_store + OF_STORE_SPARE
                && size.descriptors <= before.descriptors
                && size.threads <= before.threads
        });
        last = Some(size);
        Ok(is_small.then_some(()))
    });
    waited.map_err(|error| format!("{error}: {before:?}, then {last:?}"))?;
    last.ok_or_else(|| "it was not measured".into())
}

/// Fails unless exactly what was written is there, each event once.
fn check_once(sim: &Sim, counts: [u64; 3]) -> Result {
    let events = sim.events();
    let twice = events.values().filter(|times| **times > 1).count();
    let missing: Vec<u64> = (0_u64..)
        .zip(counts)
        .flat_map(|(index, count)| (0..count).map(move |number| number * WRITERS + index))
        .filter(|number| !events.contains_key(&crate::harness::event_id(*number)))
        .take(5)
        .collect();
    let total: u64 = counts.iter().sum();
    if twice == 0 && missing.is_empty() && events.len() as u64 == total {
        return Ok(());
    }
    Err(format!("{} of {total} events, {twice} twice, missing {missing:?}", events.len()).into())
}
