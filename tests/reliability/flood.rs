//! 64 MiB of memory, and everybody who would like to have more: nothing is killed, and a good peer is
//! served meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::client::Post;
use crate::harness::config::{HTTP, TCP};
use crate::harness::memory::MemoryLimit;
use crate::harness::seed::is_full;
use crate::harness::{
    Agent, Config, Folder, RawServer, Reply, Result, Sim, event, lines, number, pause, until,
};
use crate::scorecard::Scored;

const MEMORY_BYTES: u64 = 64 << 20;

const MIB: usize = 1 << 20;

/// How long a good peer waits at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of what everything is made that has no end.
static STUFF: [u8; 64 * 1024] = [b'a'; 64 * 1024];

/// How much of each there is.
#[derive(Debug, Clone, Copy)]
struct Flood {
    connections: usize,
    /// Of a line, a string and what a bomb becomes.
    bytes: usize,
}

impl Flood {
    fn new() -> Self {
        if is_full() {
            Self { connections: 10_000, bytes: 1024 * MIB }
        } else {
            Self { connections: 500, bytes: 48 * MIB }
        }
    }
}

fn limited(folder: &Folder, limit: &MemoryLimit) -> Result<Agent> {
    let mut agent = Agent::spawn_after(&limit.enter(), &folder.config(), folder.as_ref())?;
    agent.wait_ready()?;
    Ok(agent)
}

/// `bytes` of stuff, as gzip.
fn bomb(bytes: usize) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..bytes / STUFF.len() {
        encoder.write_all(&STUFF)?;
    }
    Ok(encoder.finish()?)
}

/// Writes `head` and `bytes` of stuff, for as long as somebody takes it.
fn pour(address: SocketAddr, head: &[u8], bytes: usize) -> Result {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if stream.write_all(head).is_err() {
        return Ok(());
    }
    for _ in 0..bytes / STUFF.len() {
        if stream.write_all(&STUFF).is_err() {
            return Ok(());
        }
    }
    // The end of the string, the event and the line.
    let _ = stream.write_all(b"\"}\n");
    Ok(())
}

/// Many connections at one time, each with the begin of a line.
fn crowd(address: SocketAddr, connections: usize, is_over: &AtomicBool) -> Result {
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(br#"{"CustomerId":"C-1","UsageIdentifier":"#)?;
        held.push(stream);
    }
    while !is_over.load(Ordering::Acquire) {
        pause(Duration::from_millis(50));
    }
    Ok(())
}

fn explode(address: SocketAddr, bomb: &[u8]) -> Result {
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n".to_owned();
    let answer = Post { address, path: "/usage/bulk/g1", headers, body: bomb }.send()?;
    // Too large, or no room at present.
    assert!([413, 503].contains(&answer.status), "{answer:?}");
    Ok(())
}

/// Sends an event over each of two ways and waits until it is stored, until all others are through;
/// gives how many, and the longest wait.
fn good_peer(addresses: [SocketAddr; 2], is_over: &AtomicBool) -> Result<(u64, Duration)> {
    let [tcp, http] = addresses;
    let mut stream = TcpStream::connect(tcp)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut acknowledgements = BufReader::new(stream.try_clone()?).lines();
    let (mut sent, mut longest) = (0, Duration::ZERO);
    while sent < 40 || !is_over.load(Ordering::Acquire) {
        let begun = Instant::now();
        stream.write_all(format!("{}\n", event(sent)).as_bytes())?;
        let line = acknowledgements.next().ok_or("the connection ended")??;
        let durable = number(&serde_json::from_str(&line)?, "/durable")?;
        assert_eq!(durable.cast_unsigned(), sent / 2 + 1);
        longest = longest.max(begun.elapsed());
        let begun = Instant::now();
        let body = event(sent + 1);
        let headers = "content-type: application/json\r\n".to_owned();
        let post = Post { address: http, path: "/usage/bulk/g1", headers, body: body.as_bytes() };
        // 503 asks to come again.
        until("the request to be taken", || {
            let status = post.send()?.status;
            assert!([200, 503].contains(&status), "{status}");
            Ok((status == 200).then_some(()))
        })?;
        longest = longest.max(begun.elapsed());
        sent += 2;
    }
    Ok((sent, longest))
}

#[test]
fn a_flood_is_borne_with_little_memory_and_a_good_peer_is_served() -> Result {
    let scored = Scored::begin("M1", "in")?;
    let limit = match MemoryLimit::new(MEMORY_BYTES) {
        Ok(limit) => limit,
        Err(error) => {
            scored.skipped(&error);
            return Ok(());
        }
    };
    let Flood { connections, bytes } = Flood::new();
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let crowded = TCP.replace("[sources.net]", "[sources.crowd]");
    let sources = format!("{TCP}ack = true\n{crowded}connections_max = {connections}\n{HTTP}");
    // What docs/operations.md says of little memory.
    folder.configure(&Config {
        limits: "payload_bytes_max = \"1MiB\"".to_owned(),
        agent: "intake_bytes_max = \"4MiB\"".to_owned(),
        ..Config::new(&sim.url(), sources)
    })?;
    let mut agent = limited(&folder, &limit)?;
    let [tcp, crowded, http] = ["net", "crowd", "http"].map(|name| agent.listening(name));
    let (tcp, crowded, http) = (tcp?, crowded?, http?);
    let bomb = bomb(bytes)?;
    let chunked = "POST /usage/bulk/g1 HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let chunked = format!("{chunked}content-length: {}\r\n\r\n{{\"CustomerId\":\"", bytes + 18);
    let is_over = AtomicBool::new(false);
    let (served, longest) = std::thread::scope(|scope| -> Result<_> {
        let peer = scope.spawn(|| good_peer([tcp, http], &is_over));
        let crowd = scope.spawn(|| crowd(crowded, connections, &is_over));
        let floods = [
            scope.spawn(|| pour(tcp, b"", bytes)),
            scope.spawn(|| pour(tcp, br#"{"CustomerId":""#, bytes)),
            scope.spawn(|| pour(http, chunked.as_bytes(), bytes)),
            scope.spawn(|| explode(http, &bomb)),
            scope.spawn(|| explode(http, &bomb)),
        ];
        let floods = floods.map(|flood| flood.join().map_err(|_| "a flood panicked"));
        let crowd_is_there = until("the crowd to be there", || {
            Ok((crowd.is_finished() || agent.open_files()? >= connections).then_some(()))
        });
        is_over.store(true, Ordering::Release);
        crowd_is_there?;
        crowd.join().map_err(|_| "the crowd panicked")??;
        floods.into_iter().try_for_each(|flood| flood?)?;
        peer.join().map_err(|_| "the good peer panicked")?
    })?;
    assert_eq!(limit.kills()?, 0);
    assert!(agent.is_running()?);
    sim.wait_events(served)?;
    agent.stop()?;
    sim.check_exactly_once(served)?;
    scored.shown(&format!(
        "{connections} connections, a line, a string and two bombs of {} MiB: no kill; a good peer had \
         {served} events stored meanwhile, the slowest in {:.1} s",
        bytes / MIB,
        longest.as_secs_f64()
    ))
}

/// A far end whose answers are bombs, to events and to questions about a meter.
fn bombard(bytes: usize) -> Result<RawServer> {
    let bomb = bomb(bytes)?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let packed = format!("{head}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    let packed = [packed.as_bytes(), &bomb].concat();
    let plain = format!("{head}content-length: {bytes}\r\n\r\n");
    let plain = [plain.into_bytes(), vec![b'a'; bytes]].concat();
    RawServer::start(move |number, _| {
        Reply::BytesThenClose(if number % 2 == 0 { packed.clone() } else { plain.clone() })
    })
}

#[test]
fn answers_without_an_end_are_borne_with_little_memory() -> Result {
    let scored = Scored::begin("M1", "answers")?;
    let limit = match MemoryLimit::new(MEMORY_BYTES) {
        Ok(limit) => limit,
        Err(error) => {
            scored.skipped(&error);
            return Ok(());
        }
    };
    let Flood { bytes, .. } = Flood::new();
    let folder = Folder::new()?;
    let server = bombard(bytes.min(512 * MIB))?;
    let asks = "[meters.asks]\nglobal_id = \"g2\"\nid = 97\n\
                schema = { from = \"export\", refresh = \"100ms\" }\n";
    folder.configure(&Config {
        // As above.
        limits: "payload_bytes_max = \"1MiB\"\nevents_per_request_max = 5".to_owned(),
        agent: "intake_bytes_max = \"4MiB\"".to_owned(),
        ..Config::new(&server.url(), format!("{TCP}{asks}"))
    })?;
    let mut agent = limited(&folder, &limit)?;
    let mut stream = TcpStream::connect(agent.listening("net")?)?;
    stream.write_all(lines(0..100).as_bytes())?;
    drop(stream);
    // The status was read, and says that they were taken.
    folder.wait_counted("delivered", 100)?;
    let asked = || server.requests().iter().filter(|one| one.line.contains("export")).count();
    until("a few questions", || {
        assert!(agent.is_running()?, "killed {}: {}", limit.kills()?, agent.log()?);
        Ok((asked() >= 6).then_some(()))
    })?;
    assert_eq!(limit.kills()?, 0);
    agent.stop()?;
    scored.shown(&format!(
        "{} answers of {} MiB, every other one a bomb: no kill, 100 events delivered",
        server.requests().len(),
        bytes.min(512 * MIB) / MIB
    ))
}
