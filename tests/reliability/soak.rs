//! Hours in minutes: events come in by a file that is rotated, a connection and requests, and every few
//! seconds something goes wrong. One seed gives the course of it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::Post;
use crate::harness::config::file;
use crate::harness::log_writer::LogWriter;
use crate::harness::seed::{is_full, say, seed};
use crate::harness::wait::until_within;
use crate::harness::{Agent, Config, Folder, Result, Sim, event_id, fail, lines, number, pause};
use crate::scorecard::Scored;

/// Where the numbers of events that come by a connection begin, and of those in requests.
const CONNECTION: u64 = 40_000_000;
const REQUESTS: u64 = 70_000_000;

/// Events in a piece that is acknowledged, or in a request.
const PIECE: u64 = 20;

/// What a process may hold more than in the first quarter of the time.
const GROWTH_MAX: u64 = 16 << 20;

/// Only a failing run takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Events that somebody sends, in pieces, each of which is said to be stored or not.
#[derive(Debug, Default)]
struct Said {
    next: u64,
    stored: Vec<u64>,
}

impl Said {
    /// Sends pieces until it is over; one of which nothing is heard may have come or not, and is not
    /// sent again.
    fn send(first: u64, is_over: &AtomicBool, mut send: impl FnMut(&str) -> Result) -> Self {
        let mut said = Self { next: first, stored: Vec::new() };
        while !is_over.load(Ordering::Acquire) {
            let piece = said.next..said.next + PIECE;
            said.next = piece.end;
            if send(&lines(piece.clone())).is_ok() {
                said.stored.extend(piece);
            }
            pause(Duration::from_millis(25));
        }
        said
    }
}

/// Sends over one connection as long as it holds.
struct Acknowledged {
    address: SocketAddr,
    connection: Option<(TcpStream, BufReader<TcpStream>, u64)>,
}

impl Acknowledged {
    fn send(&mut self, piece: &str) -> Result {
        let (mut stream, mut reader, durable) = if let Some(held) = self.connection.take() {
            held
        } else {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            (stream.try_clone()?, BufReader::new(stream), 0)
        };
        stream.write_all(piece.as_bytes())?;
        let (mut told, wanted) = (durable, durable + PIECE);
        while told < wanted {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return fail("the connection ended");
            }
            told = number(&serde_json::from_str(&line)?, "/durable")?.cast_unsigned();
        }
        self.connection = Some((stream, reader, told));
        Ok(())
    }
}

/// Writes to the log, and rotates it now and then.
fn write(mut log: LogWriter, seed: u64, is_over: &AtomicBool) -> Result<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    while !is_over.load(Ordering::Acquire) {
        log.write(random.u64(1..60))?;
        if random.u8(..) < 4 {
            log.rename(true)?;
        }
        pause(Duration::from_millis(25));
    }
    Ok(log.next)
}

/// What a process has held at most.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: u64,
    descriptors: usize,
}

impl Held {
    fn look(&mut self, agent: &Agent) -> Result {
        self.bytes = self.bytes.max(agent.resident_bytes()?);
        let open = std::fs::read_dir(format!("/proc/{}/fd", agent.id()))?.count();
        self.descriptors = self.descriptors.max(open);
        Ok(())
    }
}

/// Has something go wrong; gives the agent that runs then.
fn trouble(
    random: &mut fastrand::Rng,
    mut agent: Agent,
    folder: &Folder,
    sim: &Sim,
    config: &Config,
) -> Result<Agent> {
    let far_end = |faults: &[&str], time: u64| -> Result {
        sim.replace_faults(faults)?;
        pause(Duration::from_millis(time));
        sim.replace_faults(&["slow=2ms"])
    };
    let time = random.u64(200..1500);
    match random.u8(0..8) {
        0 | 1 => {
            agent.kill()?;
            pause(Duration::from_millis(random.u64(0..300)));
            return folder.start();
        }
        2 => {
            agent.stop()?;
            return folder.start();
        }
        3 => {
            let linger = random.u64(5..50);
            let delivery = format!("{}\n# {linger}", config.delivery);
            folder.configure(&Config { delivery, ..config.clone() })?;
            agent.signal(Signal::HUP)?;
        }
        4 => far_end(&["status=500:0.5"], time)?,
        5 => far_end(&["status=429,retry-after=1:0.3"], time)?,
        6 => far_end(&["reset-after:0.2", "half-answer:0.3", "gateway=504:0.2"], time)?,
        _ => far_end(&["reset-before:0.5", "hang=3s:0.2"], time)?,
    }
    Ok(agent)
}

/// A port that nobody has now.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[test]
fn nothing_is_lost_nor_grows_while_something_goes_wrong_all_the_time() -> Result {
    let scored = Scored::begin("R2", "")?;
    let seed = seed()?;
    let lasts = Duration::from_secs(if is_full() { 600 } else { 12 });
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["slow=2ms"])?;
    let logs = folder.directory("logs")?;
    let (connection, requests) = (free_port()?, free_port()?);
    let sources = format!(
        "{}[sources.net]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"{connection}\"\nack = true\n\
         [sources.http]\ntype = \"http\"\nlisten = \"{requests}\"\nlinger_max = \"5ms\"\n",
        file(&logs.join("usage*.jsonl"))
    );
    let config = Config { request_timeout: "1s", ..Config::new(&sim.url(), sources) };
    folder.configure(&config)?;
    let log = LogWriter::new(&logs)?;
    let is_over = AtomicBool::new(false);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut first, mut all, mut troubles) = (Held::default(), Held::default(), 0_u64);
    let (agent, written, connected, requested) = std::thread::scope(|scope| -> Result<_> {
        let spawn = || std::thread::Builder::new();
        let mut agent = folder.start()?;
        let mut peer = Acknowledged { address: connection, connection: None };
        let is_over = &is_over;
        let writer = spawn().spawn_scoped(scope, move || write(log, seed ^ 1, is_over))?;
        let sender = spawn().spawn_scoped(scope, move || {
            Said::send(CONNECTION, is_over, |piece| peer.send(piece))
        })?;
        let poster = spawn().spawn_scoped(scope, || {
            Said::send(REQUESTS, is_over, |piece| {
                let headers = "content-type: application/x-ndjson\r\n".to_owned();
                let path = "/meters/streaming/ingestion/g1";
                let post = Post { address: requests, path, headers, body: piece.as_bytes() };
                let status = post.send()?.status;
                if status == 200 { Ok(()) } else { fail(format!("status {status}")) }
            })
        })?;
        let began = Instant::now();
        let course = (|| -> Result<Agent> {
            while began.elapsed() < lasts {
                pause(Duration::from_millis(random.u64(300..2500)));
                all.look(&agent)?;
                if began.elapsed() < lasts / 4 {
                    first.look(&agent)?;
                }
                agent = trouble(&mut random, agent, &folder, &sim, &config)?;
                troubles += 1;
            }
            Ok(agent)
        })();
        is_over.store(true, Ordering::Release);
        let written = writer.join().map_err(|_| "the writer panicked")??;
        let connected = sender.join().map_err(|_| "the sender panicked")?;
        let requested = poster.join().map_err(|_| "the poster panicked")?;
        Ok((course?, written, connected, requested))
    })?;
    settle(&folder, &sim, agent, written, &[connected, requested])?;
    let grown = all.bytes.saturating_sub(first.bytes);
    assert!(!is_full() || grown < GROWTH_MAX, "{first:?} {all:?}");
    let stats = sim.stats();
    let repeated = stats.events_accepted - stats.distinct_ids;
    scored.shown(&format!(
        "seed {seed}: {} s, {troubles} troubles, {} events: lost 0, without a record 0 ({repeated} events \
         repeated); at most {} MiB and {} descriptors, {} and {} in the first quarter",
        lasts.as_secs(),
        stats.distinct_ids,
        all.bytes >> 20,
        all.descriptors,
        first.bytes >> 20,
        first.descriptors,
    ))
}

/// Waits until nothing is left and compares: what was said to be stored and what is in files is there,
/// nothing else but pieces of which nothing was heard, and repeats are on record.
fn settle(folder: &Folder, sim: &Sim, mut agent: Agent, written: u64, said: &[Said]) -> Result {
    sim.replace_faults(&[])?;
    let owed = (0..written).chain(said.iter().flat_map(|said| said.stored.iter().copied()));
    let owed: Vec<String> = owed.map(event_id).collect();
    let settled = until_within(PATIENCE, "all that is owed, and nothing to be left", || {
        let there = sim.stats().distinct_ids >= owed.len() as u64;
        Ok((there && folder.counted("stored")? == 0).then_some(()))
    });
    if settled.is_err() {
        say(&folder.warnings()?);
    }
    let events = sim.events();
    let missing: Vec<_> = owed.iter().filter(|id| !events.contains_key(*id)).collect();
    if !missing.is_empty() {
        return fail(format!("{} are missing, such as {}", missing.len(), missing[0]));
    }
    settled?;
    agent.stop()?;
    let sent = written + said.iter().map(|said| said.next).sum::<u64>() - CONNECTION - REQUESTS;
    assert!(sim.stats().distinct_ids <= sent, "{} of {sent}", sim.stats().distinct_ids);
    assert!(said.iter().all(|said| !said.stored.is_empty()), "somebody was never heard");
    let repeated = sim.check_repeats(&folder.receipts()?)?;
    let stats = sim.stats();
    assert_eq!(stats.events_accepted - stats.distinct_ids, repeated.events, "{stats:?}");
    assert_eq!(folder.counted("dead_lettered")?, 0);
    Ok(())
}
