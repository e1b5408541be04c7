//! A full store: sources wait, nothing is evicted, and everything arrives in the end.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::config::{self, STDIN, TCP};
use crate::harness::events::bulky_event;
use crate::harness::sim::ReservedPort;
use crate::harness::wait::write_until_blocked;
use crate::harness::{Agent, Config, Folder, Result, Sim, number, until};

const STORE_BYTES_MAX: i64 = 2_000_000;

fn config(port: &ReservedPort, sources: String) -> Config {
    Config {
        agent: "intake_bytes_max = \"1MiB\"".to_owned(),
        limits: "payload_bytes_max = \"128KiB\"".to_owned(),
        store: format!("bytes_max = {STORE_BYTES_MAX}"),
        ..Config::new(&port.url(), sources)
    }
}

/// About 25 MB.
fn bulky_lines(count: u64) -> String {
    (0..count).fold(String::new(), |text, number| text + &bulky_event(number, 2000) + "\n")
}

fn wait_full(folder: &Folder, agent: &mut Agent) -> Result<Value> {
    agent.wait_logged("the store is full, sources wait")?;
    folder.status()
}

fn check_full(status: &Value) -> Result {
    let bytes = number(status, "/store/bytes")?;
    assert!(bytes <= STORE_BYTES_MAX + 400_000, "{status}");
    assert!(bytes >= STORE_BYTES_MAX / 2, "{status}");
    assert_eq!(number(status, "/equation/delivered")?, 0, "{status}");
    assert_eq!(number(status, "/equation/dead_lettered")?, 0, "{status}");
    Ok(())
}

#[test]
fn a_full_store_makes_files_wait() -> Result {
    const EVENTS: u64 = 5000;
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    let file = folder.path("usage.jsonl");
    std::fs::write(&file, bulky_lines(EVENTS))?;
    folder.configure(&config(&port, config::file(&file)))?;
    let mut agent = folder.start()?;
    let status = wait_full(&folder, &mut agent)?;
    check_full(&status)?;
    let read = number(&status, "/equation/read")?;
    assert!(read < EVENTS.cast_signed() / 2, "{status}");
    // A stop of a full agent is an ordinary stop: what is not stored is read again.
    agent.stop()?;
    let mut agent = folder.start()?;
    check_full(&wait_full(&folder, &mut agent)?)?;

    let sim = Sim::on(port)?;
    folder.wait_counted("delivered", EVENTS.cast_signed())?;
    agent.stop()?;
    assert_eq!(folder.counted("read")?, EVENTS.cast_signed());
    sim.check_exactly_once(EVENTS)
}

#[test]
fn a_full_store_makes_tcp_senders_wait() -> Result {
    const EVENTS: u64 = 12_000;
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    folder.configure(&config(&port, TCP.to_owned()))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let text = bulky_lines(EVENTS);
    let written = write_until_blocked(&mut stream, text.as_bytes())?;
    assert!(written < text.len(), "nothing made the sender wait");
    check_full(&wait_full(&folder, &mut agent)?)?;

    let sim = Sim::on(port)?;
    stream.set_write_timeout(None)?;
    stream.write_all(text.as_bytes().get(written..).unwrap_or_default())?;
    drop(stream);
    folder.wait_counted("delivered", EVENTS.cast_signed())?;
    until("the store to be empty", || Ok((folder.counted("stored")? == 0).then_some(())))?;
    agent.stop()?;
    sim.check_exactly_once(EVENTS)
}

/// A pipe cannot be read again: what was taken from it is stored, whatever the limit says.
#[test]
fn a_stop_with_a_full_store_keeps_what_was_taken_from_a_pipe() -> Result {
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    let mut config = config(&port, STDIN.to_owned());
    config.shutdown_grace = "2s";
    folder.configure(&config)?;
    let mut agent = folder.start_with_pipe()?;
    let mut stdin = agent.take_stdin()?;
    let writer =
        std::thread::Builder::new().spawn(move || stdin.write_all(bulky_lines(3000).as_bytes()))?;
    wait_full(&folder, &mut agent)?;
    agent.signal(Signal::TERM)?;
    let status = agent.wait()?;
    // Its pipe is broken by now.
    let _ = writer.join();
    assert!(status.success(), "{}", agent.log()?);
    let stored = folder.counted("stored")?;

    let sim = Sim::on(port)?;
    let mut agent = folder.start_with_pipe()?;
    agent.close_stdin();
    agent.wait_success()?;
    assert_eq!(folder.counted("stored")?, 0);
    // The first so many lines of the pipe, without a gap.
    sim.check_exactly_once(stored.cast_unsigned())
}
