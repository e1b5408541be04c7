//! Odd JSON and naughty texts through each source: what is valid arrives byte for byte, and what is not
//! is a dead letter, or refused to who has sent it. The lines are those that the fuzz targets begin with.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use crate::harness::client::Post;
use crate::harness::config::{HTTP, STDIN, TCP, file};
use crate::harness::{Agent, Config, Folder, RawServer, Reply, Result, text, until};
use crate::oracle::{Judged, judge, trimmed};
use crate::scorecard::Scored;

/// A meter that asks for nothing and adds nothing.
const METER: &str = "[[meters.m.schema.fields]]\nname = \"nobody has this\"\ntype = \"any\"\n";

/// The lines, and what has to become of them.
struct Corpus {
    lines: Vec<Vec<u8>>,
    good: Vec<Vec<u8>>,
    bad: Vec<Vec<u8>>,
}

impl Corpus {
    fn read() -> Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/json");
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let bytes = std::fs::read(entry?.path())?;
            let found = bytes.split(|byte| *byte == b'\n');
            lines.extend(found.filter(|it| !it.trim_ascii().is_empty()).map(<[u8]>::to_vec));
        }
        lines.sort();
        lines.dedup();
        let is_good = |line: &&Vec<u8>| matches!(judge(line), Judged::Event);
        let (good, bad): (Vec<_>, Vec<_>) = lines.iter().partition(is_good);
        let good: Vec<Vec<u8>> = good.into_iter().map(|line| trimmed(line).to_vec()).collect();
        let bad: Vec<Vec<u8>> = bad.into_iter().cloned().collect();
        assert!(good.len() > 100 && bad.len() > 100, "{} and {}", good.len(), bad.len());
        Ok(Self { lines, good, bad })
    }

    /// All lines, each with its end.
    fn text(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| [line.as_slice(), b"\n"]).collect::<Vec<_>>().concat()
    }
}

/// A far end that takes everything, and an agent in front of it.
struct Scene {
    corpus: Corpus,
    server: RawServer,
    folder: Folder,
}

impl Scene {
    fn new(source: &str) -> Result<Self> {
        let (corpus, folder) = (Corpus::read()?, Folder::new()?);
        let server = RawServer::start(|_, _| Reply::success())?;
        let meter = METER.to_owned();
        folder.configure(&Config { meter, ..Config::new(&server.url(), source) })?;
        Ok(Self { corpus, server, folder })
    }

    /// Waits until `lines` are somewhere for good, and ends the agent in order.
    fn finish(&self, mut agent: Agent, lines: usize) -> Result {
        until(&format!("{lines} lines"), || {
            let read = self.folder.counted("read")?;
            let is_there = read == i64::try_from(lines)? && self.folder.counted("stored")? == 0;
            Ok(is_there.then_some(()))
        })?;
        agent.stop()
    }

    /// Fails unless exactly the good events arrived, in their bytes, and `bad` are dead letters.
    fn judge(&self, scored: Scored, bad: &[Vec<u8>], refused: usize) -> Result {
        let mut arrived = Vec::new();
        for request in self.server.requests() {
            let payload = request.payload()?;
            let events: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&payload)?;
            arrived.extend(events.iter().map(|event| event.get().as_bytes().to_vec()));
        }
        arrived.sort();
        let mut good = self.corpus.good.clone();
        good.sort();
        for (arrived, good) in arrived.iter().zip(&good) {
            let shown = [arrived, good].map(|it| String::from_utf8_lossy(it).into_owned());
            assert_eq!(arrived, good, "{shown:?}");
        }
        assert_eq!(arrived.len(), good.len());
        let letters = self.folder.dead_letters()?;
        for letter in &letters {
            let event = text(letter, "/event")?;
            if let Judged::Refused(Some(reason)) = judge(event.as_bytes()) {
                assert_eq!(text(letter, "/reason")?, reason.name(), "{event}");
            }
        }
        let letters = letters.iter().map(|letter| text(letter, "/event").map(str::to_owned));
        let mut letters: Vec<String> = letters.collect::<Result<_>>()?;
        let without_end = |line: &Vec<u8>| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            String::from_utf8_lossy(line).into_owned()
        };
        let mut bad: Vec<String> = bad.iter().map(without_end).collect();
        letters.sort();
        bad.sort();
        assert_eq!(letters, bad);
        let (arrived, letters) = (arrived.len(), letters.len());
        let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        scored.shown(&format!(
            "{arrived} arrived byte for byte, {letters} dead letters{refused}, lost 0"
        ))
    }
}

#[test]
fn files() -> Result {
    let scored = Scored::begin("J1", "file")?;
    let folder = Folder::new()?;
    let scene = Scene::new(&file(&folder.path("*.jsonl")))?;
    std::fs::write(folder.path("a.jsonl"), scene.corpus.text())?;
    let agent = scene.folder.start()?;
    scene.finish(agent, scene.corpus.lines.len())?;
    scene.judge(scored, &scene.corpus.bad, 0)
}

#[test]
fn standard_input() -> Result {
    let scored = Scored::begin("J1", "stdin")?;
    let scene = Scene::new(STDIN)?;
    let mut agent = scene.folder.start_with_pipe()?;
    agent.write(&scene.corpus.text())?;
    agent.close_stdin();
    agent.wait_success()?;
    scene.judge(scored, &scene.corpus.bad, 0)
}

#[test]
fn tcp() -> Result {
    let scored = Scored::begin("J1", "tcp")?;
    let scene = Scene::new(TCP)?;
    let mut agent = scene.folder.start()?;
    TcpStream::connect(agent.tcp_address()?)?.write_all(&scene.corpus.text())?;
    scene.finish(agent, scene.corpus.lines.len())?;
    scene.judge(scored, &scene.corpus.bad, 0)
}

fn unix(place: &Path, more: &str) -> String {
    let place = place.display();
    format!("[sources.local]\ntype = \"unix\"\nmeter = \"m\"\npath = \"{place}\"\n{more}\n")
}

#[test]
fn unix_streams() -> Result {
    let scored = Scored::begin("J1", "unix stream")?;
    let folder = Folder::new()?;
    let place = folder.path("usage.sock");
    let scene = Scene::new(&unix(&place, ""))?;
    let agent = scene.folder.start()?;
    UnixStream::connect(&place)?.write_all(&scene.corpus.text())?;
    scene.finish(agent, scene.corpus.lines.len())?;
    scene.judge(scored, &scene.corpus.bad, 0)
}

#[test]
fn unix_datagrams() -> Result {
    let scored = Scored::begin("J1", "unix datagram")?;
    let folder = Folder::new()?;
    let place = folder.path("usage.sock");
    let scene = Scene::new(&unix(&place, "socket = \"datagram\""))?;
    let agent = scene.folder.start()?;
    let sender = UnixDatagram::unbound()?;
    for line in &scene.corpus.lines {
        sender.send_to(line, &place)?;
    }
    scene.finish(agent, scene.corpus.lines.len())?;
    scene.judge(scored, &scene.corpus.bad, 0)
}

/// Posts each of `bodies`, and fails unless all answers have `status`.
fn post_all(agent: &mut Agent, kind: &str, bodies: &[Vec<u8>], status: u16) -> Result {
    let address = agent.tcp_address()?;
    for body in bodies {
        let headers = format!("content-type: {kind}\r\n");
        let answer = Post { address, path: "/usage/bulk/g1", headers, body }.send()?;
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(body));
    }
    Ok(())
}

#[test]
fn http_lines() -> Result {
    let scored = Scored::begin("J1", "http lines")?;
    let scene = Scene::new(HTTP)?;
    let mut agent = scene.folder.start()?;
    let Corpus { good, bad, .. } = &scene.corpus;
    let kind = "application/x-ndjson";
    post_all(&mut agent, kind, &[good.join(&b'\n')], 200)?;
    post_all(&mut agent, kind, bad, 400)?;
    scene.finish(agent, good.len())?;
    scene.judge(scored, &[], bad.len())
}

#[test]
fn http_events() -> Result {
    let scored = Scored::begin("J1", "http events")?;
    let scene = Scene::new(HTTP)?;
    let mut agent = scene.folder.start()?;
    let Corpus { good, bad, .. } = &scene.corpus;
    post_all(&mut agent, "application/json", good, 200)?;
    post_all(&mut agent, "application/json", bad, 400)?;
    scene.finish(agent, good.len())?;
    scene.judge(scored, &[], bad.len())
}

#[test]
fn sent_files() -> Result {
    let scored = Scored::begin("J1", "send")?;
    let scene = Scene::new("")?;
    std::fs::write(scene.folder.path("a.jsonl"), scene.corpus.text())?;
    let output = scene.folder.command(&["send", "--meter", "m", "a.jsonl"])?;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    scene.judge(scored, &scene.corpus.bad, 0)
}
