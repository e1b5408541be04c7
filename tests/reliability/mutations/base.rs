//! The stores that are damaged, and the damage.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::Connection;

use crate::harness::config::{TCP, file};
use crate::harness::{Config, Error, Folder, Result, Sim, lines, number};

/// Events of the file that are delivered before, each with a receipt.
pub(super) const DELIVERED: u64 = 200;

/// Those and the ones that wait in the store.
pub(super) const STORED: u64 = 400;

/// Those and the ones that are written behind the damage: they show where a cursor is.
pub(super) const WRITTEN: u64 = 450;

/// The first event of the connection: nobody can read these again.
pub(super) const SENT_FROM: u64 = 10_000;

/// From here on they wait in the store.
pub(super) const SENT_DELIVERED: u64 = 10_100;

/// Behind the last one. Each is acknowledged.
pub(super) const SENT: u64 = 10_200;

/// Lines of the file that are no events.
pub(super) const BAD: u64 = 3;

const PAGE_BYTES: usize = 16_384;

/// First bytes of pages with rows or keys.
const TREES: [u8; 4] = [2, 5, 10, 13];

/// The meter of the connection.
const SECOND_METER: &str = "[meters.n]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n";

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flip,
    Truncate,
    ZeroTail,
}

/// What is done to which file, and where.
#[derive(Debug, Clone)]
pub(super) struct Mutation {
    pub(super) kind: Kind,
    pub(super) name: String,
    at: usize,
    bit: u8,
}

impl fmt::Display for Mutation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {} {} {}", self.kind, self.name, self.at, self.bit)
    }
}

impl FromStr for Mutation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let [kind, name, at, bit] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("not KIND FILE BYTE BIT: {text:?}").into());
        };
        let kinds = [Kind::Flip, Kind::Truncate, Kind::ZeroTail];
        let kind = kinds.into_iter().find(|known| format!("{known:?}") == kind);
        let kind = kind.ok_or("a kind is Flip, Truncate or ZeroTail")?;
        Ok(Self { kind, name: name.to_owned(), at: at.parse()?, bit: bit.parse()? })
    }
}

impl Mutation {
    pub(super) fn apply(&self, state: &Path) -> Result {
        let path = state.join(&self.name);
        let mut bytes = fs::read(&path)?;
        match self.kind {
            Kind::Flip => {
                if let Some(byte) = bytes.get_mut(self.at) {
                    *byte ^= 1 << self.bit;
                }
            }
            Kind::Truncate => bytes.truncate(self.at),
            Kind::ZeroTail => bytes.get_mut(self.at..).unwrap_or_default().fill(0),
        }
        Ok(fs::write(path, bytes)?)
    }
}

/// A store as a run has left it.
pub(super) struct Base {
    pub(super) folder: Folder,
    pub(super) log: PathBuf,
    log_bytes: u64,
    kept: PathBuf,
    /// Pages of cursors, and of what says where they are; from 0.
    cursors: BTreeSet<usize>,
}

impl Base {
    /// One whose agent was killed, so that all lies in its log, or has ended in order.
    pub(super) fn new(is_killed: bool) -> Result<Self> {
        let (folder, sim) = (Folder::new()?, Sim::start()?);
        let log = folder.path("usage.jsonl");
        fs::write(&log, lines(0..DELIVERED))?;
        folder.configure(&config(&sim, &log))?;
        let mut agent = folder.start()?;
        send(agent.tcp_address()?, SENT_FROM..SENT_DELIVERED)?;
        let delivered = DELIVERED + SENT_DELIVERED - SENT_FROM;
        folder.wait_counted("delivered", delivered.cast_signed())?;
        sim.replace_faults(&["status=503"])?;
        append(&log, &(bad() + &lines(DELIVERED..STORED)))?;
        send(agent.tcp_address()?, SENT_DELIVERED..SENT)?;
        let stored = STORED - DELIVERED + SENT - SENT_DELIVERED;
        folder.wait_counted("stored", stored.cast_signed())?;
        if is_killed {
            agent.kill()?;
        } else {
            agent.stop()?;
        }
        fs::rename(folder.state(), folder.path("kept"))?;
        Self::of(folder)
    }

    /// The one that was kept in the folder at `path`, which has to be on the file system of
    /// temporary files: a cursor knows its file by its inode.
    pub(super) fn again(path: &Path) -> Result<Self> {
        let folder = Folder::new()?;
        fs::hard_link(path.join("usage.jsonl"), folder.path("usage.jsonl"))?;
        copy_all(&path.join("kept"), &folder.directory("kept")?)?;
        Self::of(folder)
    }

    fn of(folder: Folder) -> Result<Self> {
        let (log, kept) = (folder.path("usage.jsonl"), folder.path("kept"));
        let log_bytes = (lines(0..STORED).len() + bad().len()) as u64;
        // A look at it makes files of its own.
        let copy = folder.directory("copy")?;
        copy_all(&kept, &copy)?;
        let connection = Connection::open(copy.join("meterd.db"))?;
        let pages = "SELECT pageno - 1 FROM dbstat WHERE name IN ('cursors', 'sqlite_schema')";
        let cursors = connection
            .prepare(pages)?
            .query_map([], |row| Ok(row.get::<_, u32>(0)? as usize))?
            .collect::<std::result::Result<_, _>>()?;
        fs::remove_dir_all(copy)?;
        Ok(Self { folder, log, log_bytes, kept, cursors })
    }

    /// Puts everything back to where it was.
    pub(super) fn restore(&self) -> Result {
        for name in ["state", "damaged", "new"] {
            let path = self.folder.path(name);
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
        }
        copy_all(&self.kept, &self.folder.directory("state")?)?;
        Ok(OpenOptions::new().write(true).open(&self.log)?.set_len(self.log_bytes)?)
    }

    /// Something to be done to one of its files.
    pub(super) fn draw(&self, kind: Kind, random: &mut fastrand::Rng) -> Result<Mutation> {
        let names = ["meterd.db", "meterd.db", "meterd.db-wal", "meterd.db-wal", "meterd.db-shm"];
        let name = match random.usize(0..names.len() * 4) {
            0 => "meterd.lock",
            drawn => names[drawn % names.len()],
        };
        let is_there = self.kept.join(name).exists();
        let name = if is_there { name } else { "meterd.db" }.to_owned();
        let bytes = fs::read(self.kept.join(&name))?;
        let at = match kind {
            // Rows that are not bodies are few, and all the rest hangs on them.
            Kind::Flip if name == "meterd.db" && random.u8(0..4) > 0 => in_a_tree(&bytes, random),
            _ => random.usize(0..bytes.len().max(1)),
        };
        Ok(Mutation { kind, name, at, bit: random.u8(0..8) })
    }

    /// Whether `mutation` takes a cursor or a part of the log: only then may lines be read again.
    pub(super) fn may_read_again(&self, mutation: &Mutation) -> bool {
        let page = mutation.at / PAGE_BYTES;
        let is_touched = |cursor: &usize| match mutation.kind {
            Kind::Flip => *cursor == page,
            Kind::Truncate | Kind::ZeroTail => *cursor >= page,
        };
        match mutation.name.as_str() {
            "meterd.db-wal" => true,
            "meterd.db" => self.cursors.iter().any(is_touched),
            _ => false,
        }
    }
}

/// The configuration of both sources for the far end `sim`.
pub(super) fn config(sim: &Sim, log: &Path) -> Config {
    let limits = "events_per_request_max = 25".to_owned();
    let tcp = TCP.replace("\"m\"", "\"n\"");
    let sources = format!("{SECOND_METER}{}{tcp}ack = true\n", file(log));
    Config { limits, ..Config::new(&sim.url(), sources) }
}

/// Sends `events` over a connection; each is acknowledged.
fn send(address: SocketAddr, events: std::ops::Range<u64>) -> Result {
    let mut stream = TcpStream::connect(address)?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let count = events.end - events.start;
    stream.write_all(lines(events).as_bytes())?;
    let mut durable = 0;
    while durable < count {
        let answer = answers.next().ok_or("the connection ended")??;
        durable = number(&serde_json::from_str(&answer)?, "/durable")?.cast_unsigned();
    }
    Ok(())
}

fn bad() -> String {
    "no event\n".repeat(usize::try_from(BAD).unwrap_or_default())
}

pub(super) fn append(log: &Path, text: &str) -> Result {
    Ok(OpenOptions::new().append(true).open(log)?.write_all(text.as_bytes())?)
}

fn copy_all(from: &Path, to: &Path) -> Result {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A place in a page with rows or keys, where there is something.
fn in_a_tree(bytes: &[u8], random: &mut fastrand::Rng) -> usize {
    let is_tree = |page: &usize| bytes.get(page * PAGE_BYTES).is_some_and(|b| TREES.contains(b));
    let mut trees: Vec<usize> = (1..bytes.len() / PAGE_BYTES).filter(is_tree).collect();
    trees.push(0);
    let page = trees[random.usize(0..trees.len())] * PAGE_BYTES;
    let is_used = |at: &usize| bytes.get(*at).is_some_and(|byte| *byte != 0);
    let used: Vec<usize> = (page..page + PAGE_BYTES).filter(is_used).collect();
    used.get(random.usize(0..used.len().max(1))).copied().unwrap_or(page)
}
