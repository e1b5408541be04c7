//! One case: events come in by some way, something goes wrong in the first run, the second one has to
//! make up for it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::harness::agent::Input;
use crate::harness::client::Post;
use crate::harness::config::{HTTP, STDIN, TCP, file};
use crate::harness::{
    Agent, Config, FileFault, Folder, Result, Sim, fail, file_fault, lines, number, pause, text,
    until,
};

/// How many there are in each case.
pub(crate) const EVENTS: u64 = 300;

/// In how many pieces they come, where somebody sends them.
const PIECES: u64 = 5;

const PIECE: u64 = EVENTS / PIECES;

/// A sender that is not answered for so long would say so.
const PATIENCE: Duration = Duration::from_secs(60);

/// How events come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `meterd send` of a file.
    Send,
    /// A file that the daemon follows.
    File,
    /// The daemon's standard input.
    Stdin,
    /// A connection whose lines are acknowledged.
    Tcp,
    /// Requests that are answered.
    Http,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this exit code.
    Code(i32),
    Killed,
}

/// What came of a case in which nothing was lost and each repeat is on record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// Requests beyond the first of each batch.
    pub(crate) repeated: u64,
    /// Batches of which a receipt says that an outcome is not known.
    pub(crate) said_unknown: u64,
    /// Batches that came twice.
    pub(crate) twice: u64,
}

/// A store, a far end and events that come in by one way.
pub(crate) struct Case {
    folder: Folder,
    pub(crate) sim: Sim,
    way: Way,
    state: PathBuf,
    /// Events, the first ones, that were acknowledged or will be read again: they have to arrive.
    owed: u64,
}

impl Case {
    /// One with its store in `state`.
    pub(crate) fn new(way: Way, state: &Path) -> Result<Self> {
        // Slow answers, so that there is something under way.
        let sim = Sim::with_faults(&["slow=3ms"])?;
        let url = sim.url();
        Self::behind(way, state, sim, &url)
    }

    /// One whose far end is reached at `url`.
    pub(crate) fn behind(way: Way, state: &Path, sim: Sim, url: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let path = folder.path("usage.jsonl");
        std::fs::write(&path, lines(0..EVENTS))?;
        let sources = match way {
            Way::Send => String::new(),
            Way::File => file(&path),
            Way::Stdin => STDIN.to_owned(),
            Way::Tcp => format!("{TCP}ack = true\n"),
            Way::Http => HTTP.to_owned(),
        };
        let config = Config {
            limits: "events_per_request_max = 60\nrequests_in_flight_max = 2".to_owned(),
            ..Config::new(url, sources)
        };
        std::fs::write(folder.config(), config.text(state))?;
        let owed = if matches!(way, Way::Send | Way::File) { EVENTS } else { 0 };
        Ok(Self { folder, sim, way, state: state.to_owned(), owed })
    }

    /// Runs with `fault` until everything is delivered or the program has ended.
    pub(crate) fn run(&mut self, fault: &FileFault) -> Result<End> {
        self.run_prepared(|command| fault.arm(command))
    }

    /// Runs without a fault; how many calls were made on files of the store.
    pub(crate) fn count_calls(&mut self) -> Result<u64> {
        let (state, into) = (self.state.clone(), self.folder.path("calls"));
        let end = self.run_prepared(|command| file_fault::count(command, &state, &into))?;
        assert_eq!(end, End::Code(0));
        Ok(std::fs::read_to_string(self.folder.path("calls"))?.parse()?)
    }

    fn run_prepared(&mut self, prepare: impl FnOnce(&mut Command) -> Result) -> Result<End> {
        if self.way == Way::Send {
            let mut command = self.send();
            prepare(&mut command)?;
            return Ok(end(command.output()?.status));
        }
        let input = if self.way == Way::Stdin { Input::Pipe } else { Input::None };
        let folder = self.folder.as_ref();
        let mut agent = Agent::spawn_prepared(&self.folder.config(), folder, input, prepare)?;
        self.feed(&mut agent)?;
        until("the end, or all of it delivered", || {
            let is_done = self.way != Way::Stdin && self.sim.stats().distinct_ids == EVENTS;
            Ok((is_done || !agent.is_running()?).then_some(()))
        })?;
        if agent.is_running()? {
            agent.signal(rustix::process::Signal::TERM)?;
        }
        let end = end(agent.wait()?);
        if self.way == Way::Stdin && self.state.join("meterd.db").exists() {
            // Nobody is told, but what the equation counts is owed. A store that was ended while it
            // was made has none.
            self.owed = self.folder.counted("read").map_or(0, i64::cast_unsigned);
        }
        Ok(end)
    }

    /// Says what there is to say, until nobody listens.
    fn feed(&mut self, agent: &mut Agent) -> Result {
        match self.way {
            Way::Send | Way::File => {}
            Way::Stdin => {
                let mut pipe = agent.take_stdin()?;
                for piece in pieces() {
                    if pipe.write_all(piece.as_bytes()).is_err() {
                        break;
                    }
                    // So that it is not one piece for who reads it.
                    pause(Duration::from_millis(3));
                }
            }
            Way::Tcp => {
                let Some(address) = listening(agent)? else { return Ok(()) };
                self.owed = acknowledged(address).unwrap_or_else(|told| told);
            }
            Way::Http => {
                let Some(address) = listening(agent)? else { return Ok(()) };
                for piece in pieces() {
                    let path = "/meters/streaming/ingestion/g1";
                    let headers = "content-type: application/x-ndjson\r\n".to_owned();
                    let post = Post { address, path, headers, body: piece.as_bytes() };
                    if !post.send().is_ok_and(|answer| answer.status == 200) {
                        break;
                    }
                    self.owed += PIECE;
                }
            }
        }
        Ok(())
    }

    /// Runs without a fault until nothing is left, and settles the account: what is owed arrived,
    /// in the order in which it was said, and each repeat is on record.
    pub(crate) fn settle(&self) -> Result<Account> {
        if self.way == Way::Send {
            let output = self.send().output()?;
            if output.status.code() != Some(0) {
                return fail(format!("{output:?}"));
            }
        } else {
            let mut agent = self.folder.spawn()?;
            if self.way == Way::Stdin {
                agent.wait_success()?;
            } else {
                agent.wait_ready()?;
                let wanted = self.owed.cast_signed();
                until("nothing to be left", || {
                    let status = self.folder.status()?;
                    let is_there = number(&status, "/equation/delivered")? >= wanted;
                    Ok((is_there && number(&status, "/equation/stored")? == 0).then_some(()))
                })?;
                agent.stop()?;
            }
        }
        let stats = self.sim.stats();
        let there = stats.distinct_ids;
        if there < self.owed || there > EVENTS {
            return fail(format!("{there} events, {} are owed", self.owed));
        }
        self.sim.check_complete(there)?;
        assert_eq!(self.folder.counted("delivered")?.cast_unsigned(), there);
        let receipts = self.folder.receipts()?;
        let repeated = self.sim.check_repeats(&receipts)?;
        assert_eq!(stats.events_accepted - there, repeated.events, "{stats:?}");
        let checked = self.folder.command(&["store", "check"])?;
        if !checked.status.success() {
            return fail(format!("{checked:?}"));
        }
        let is_unknown = |receipt: &&Value| {
            number(receipt, "/outcome_unknown_attempts").is_ok_and(|attempts| attempts > 0)
        };
        let said_unknown = receipts.iter().filter(is_unknown).count() as u64;
        Ok(Account { repeated: repeated.requests, said_unknown, twice: stats.repeats.len() as u64 })
    }

    /// What all runs of the daemon warned of.
    pub(crate) fn warnings(&self) -> Result<String> {
        self.folder.warnings()
    }

    fn send(&self) -> Command {
        let path = self.folder.path("usage.jsonl").display().to_string();
        self.folder.prepare(&["send", "--meter", "m", &path])
    }
}

fn end(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Code(code),
        None if status.signal() == Some(9) => End::Killed,
        // As a shell tells it.
        None => End::Code(128 + status.signal().unwrap_or(0)),
    }
}

fn pieces() -> impl Iterator<Item = String> {
    (0..PIECES).map(|piece| lines(piece * PIECE..(piece + 1) * PIECE))
}

/// Where the source listens; none: the program has ended.
fn listening(agent: &mut Agent) -> Result<Option<SocketAddr>> {
    until("the source to listen", || {
        if let Some(record) = agent.logged("listening")? {
            return Ok(Some(Some(text(&record, "/address")?.parse()?)));
        }
        Ok((!agent.is_running()?).then_some(None))
    })
}

/// Sends piece by piece over a connection, each after the last one is durable; how many lines are.
/// The error is that number, too, when the connection ended before.
fn acknowledged(address: SocketAddr) -> std::result::Result<u64, u64> {
    let mut told = 0;
    let mut converse = || -> Result {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut acknowledgements = BufReader::new(stream.try_clone()?).lines();
        let mut sent = 0;
        for piece in pieces() {
            stream.write_all(piece.as_bytes())?;
            sent += PIECE;
            while told < sent {
                let line = acknowledgements.next().ok_or("the connection ended")??;
                told = number(&serde_json::from_str(&line)?, "/durable")?.cast_unsigned();
            }
        }
        Ok(stream.shutdown(Shutdown::Both)?)
    };
    let ended = converse();
    ended.map(|()| told).map_err(|_| told)
}
