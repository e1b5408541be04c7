//! Answers that end at any byte, with a kill at any call beside it: what the agent says of a batch is
//! held against what the far end has seen.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::case::{Case, End, Way};
use crate::harness::file_fault::Kind;
use crate::harness::seed::is_full;
use crate::harness::{Error, FileFault, Result, Sim};
use crate::scorecard::Scored;

/// Positions of the short profile.
const SHORT_POSITIONS: u64 = 12;

/// How far apart the calls are at which a run is ended, from one byte to the next: coprime to their
/// number, so that all of them are tried in the end.
const CALL_STRIDE: u64 = 37;

/// Passes connections on, and ends the one that carries byte `cut_at` of all answers, once.
struct Proxy {
    address: SocketAddr,
    passed: Arc<AtomicU64>,
}

impl Proxy {
    fn start(to: SocketAddr, cut_at: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let passed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&passed);
        // It ends with the process: nothing else would end the wait for a connection.
        std::thread::Builder::new().spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else { continue };
                let count = Arc::clone(&count);
                // Whatever goes wrong ends this connection alone.
                let _ = pass(client, server, count, cut_at);
            }
        })?;
        Ok(Self { address, passed })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }
}

fn pass(client: TcpStream, server: TcpStream, passed: Arc<AtomicU64>, cut_at: u64) -> Result {
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::Builder::new().spawn(move || {
        // The other direction sees the end as well.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })?;
    std::thread::Builder::new().spawn(move || {
        let _ = answer(&client, &server, &passed, cut_at);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

fn answer(
    mut client: &TcpStream,
    mut server: &TcpStream,
    passed: &AtomicU64,
    cut_at: u64,
) -> Result {
    let mut bytes = [0; 4096];
    loop {
        let size = server.read(&mut bytes)?;
        if size == 0 {
            return Ok(());
        }
        let before = passed.fetch_add(size as u64, Ordering::AcqRel);
        let cut = cut_at.checked_sub(before).and_then(|cut| usize::try_from(cut).ok());
        match cut.filter(|cut| *cut < size) {
            Some(cut) => return Ok(client.write_all(&bytes[..cut])?),
            None => client.write_all(&bytes[..size])?,
        }
    }
}

/// What all cases together came to.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    killed: u64,
    said_unknown: u64,
    twice: u64,
}

/// Sends with the answers cut at `position` and, if told so, a kill at `call`; settles. Gives the
/// bytes of all answers.
fn send_cut(position: u64, call: Option<u64>, figures: &mut Figures) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state");
    let sim = Sim::start()?;
    let proxy = Proxy::start(sim.url().trim_start_matches("http://").parse()?, position)?;
    let url = proxy.url();
    let mut case = Case::behind(Way::Send, &state, sim, &url)?;
    // A call that is never made: the run goes to its end.
    let call = call.unwrap_or(u64::MAX >> 1);
    let end = case.run(&FileFault::once(Kind::KillBefore, call, &state))?;
    if !matches!(end, End::Code(0) | End::Killed) {
        return Err(format!("{end:?}").into());
    }
    let account = case.settle()?;
    figures.cases += 1;
    figures.killed += u64::from(end == End::Killed);
    figures.said_unknown += account.said_unknown;
    figures.twice += account.twice;
    Ok(proxy.passed())
}

#[test]
fn an_answer_that_ends_at_any_byte_is_known_or_on_record() -> Result {
    let scored = Scored::begin("D1", "")?;
    let honesty = Scored::begin("D2", "")?;
    let mut figures = Figures::default();
    let bytes = send_cut(u64::MAX >> 1, None, &mut figures)?;
    let directory = tempfile::tempdir()?;
    let calls = Case::new(Way::Send, directory.path())?.count_calls()?;
    let step = if is_full() { 1 } else { bytes / SHORT_POSITIONS };
    for position in (0..bytes).step_by(usize::try_from(step)?) {
        for call in [None, Some(position * CALL_STRIDE % calls)] {
            let tried = send_cut(position, call, &mut figures);
            tried.map_err(|error: Error| format!("byte {position}, call {call:?}: {error}"))?;
        }
    }
    let Figures { cases, killed, said_unknown, twice } = figures;
    assert!(twice > 0 && said_unknown >= twice, "{figures:?}");
    scored.shown(&format!(
        "{cases} cases, {killed} of them with a kill: lost 0, without a record 0 ({twice} batches \
         came twice)"
    ))?;
    honesty.shown(&format!(
        "{said_unknown} batches flagged: {twice} came twice, {} once (over-reported); twice and not \
         flagged (under-reported) 0",
        said_unknown - twice
    ))
}
