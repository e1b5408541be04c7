//! SIGTERM in the middle of work.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::config::{self, STDIN, TCP};
use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, lines, number, until};

#[test]
fn what_lies_in_pipes_and_sockets_is_read_and_nothing_new_is_let_in() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["slow=50ms"])?;
    let logs = folder.directory("logs")?;
    let file = logs.join("usage.jsonl");
    std::fs::write(&file, lines(0..20_000))?;
    folder.configure(&Config {
        limits: "events_per_request_max = 100\nrequests_in_flight_max = 2".to_owned(),
        ..Config::new(&sim.url(), format!("{STDIN}{TCP}{}", config::file(&file)))
    })?;
    let mut agent = folder.start_with_pipe()?;
    let address = agent.tcp_address()?;
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(lines(20_000..20_001).as_bytes())?;
    until("the first line of the connection", || Ok(sim.has_event(20_000).then_some(())))?;

    // It cannot read now: what is written lies in the kernel when the signal comes.
    agent.signal(Signal::STOP)?;
    stream.write_all(lines(20_001..20_301).as_bytes())?;
    agent.write(lines(20_301..20_601).as_bytes())?;
    agent.signal(Signal::TERM)?;
    let signalled = Instant::now();
    agent.signal(Signal::CONT)?;
    agent.wait_logged("stopping")?;
    // Whoever comes now is refused, or closed without having been let in.
    if let Ok(mut late) = TcpStream::connect(address) {
        late.set_read_timeout(Some(Duration::from_secs(20)))?;
        assert!(!matches!(late.read(&mut [0]), Ok(1..)));
    }
    agent.wait_success()?;
    assert!(signalled.elapsed() < Duration::from_secs(21));
    let status = folder.status()?;
    assert_eq!(number(&status, "/sources/net/read")?, 301, "{status}");
    assert_eq!(number(&status, "/sources/pipe/read")?, 300, "{status}");

    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 20_601)?;
    agent.stop()?;
    sim.check_exactly_once(20_601)?;
    assert_eq!(folder.unknown_attempts()?, 0);
    Ok(())
}

#[test]
fn a_stop_during_an_outage_is_quick_and_keeps_everything() -> Result {
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    folder.configure(&Config::new(&port.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..2000).as_bytes())?;
    folder.wait_counted("stored", 2000)?;
    folder.wait_state("retrying")?;
    let signalled = Instant::now();
    agent.stop()?;
    assert!(signalled.elapsed() < Duration::from_secs(10), "{:?}", signalled.elapsed());
    let sim = Sim::on(port)?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 2000)?;
    agent.stop()?;
    sim.check_exactly_once(2000)?;
    assert_eq!(folder.unknown_attempts()?, 0);
    Ok(())
}

#[test]
fn a_second_signal_stops_at_once_and_the_open_outcome_is_on_record() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["hang=60sx1"])?;
    folder.configure(&Config { request_timeout: "120s", ..Config::new(&sim.url(), STDIN) })?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    sim.wait_events(10)?;
    agent.signal(Signal::TERM)?;
    agent.wait_logged("stopping")?;
    let signalled = Instant::now();
    agent.stop()?;
    assert!(signalled.elapsed() < Duration::from_secs(10), "{:?}", signalled.elapsed());
    assert_eq!(folder.counted("stored")?, 10);
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    sim.check_complete(10)?;
    let stats = sim.stats();
    assert_eq!((stats.repeats.len(), stats.repeats_altered), (1, 0));
    // Once by the stop itself, not a second time by the start.
    assert_eq!(folder.unknown_attempts()?, 1);
    Ok(())
}

#[test]
fn a_stop_ends_within_its_grace_period_whatever_the_server_does() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["hang=60s"])?;
    folder.configure(&Config {
        shutdown_grace: "2s",
        request_timeout: "120s",
        ..Config::new(&sim.url(), STDIN)
    })?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    sim.wait_events(10)?;
    let signalled = Instant::now();
    agent.stop()?;
    assert!(signalled.elapsed() < Duration::from_secs(6), "{:?}", signalled.elapsed());
    assert_eq!(folder.counted("stored")?, 10);
    Ok(())
}

#[test]
fn half_a_line_in_the_pipe_at_a_stop_is_a_dead_letter() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..3).as_bytes())?;
    agent.write(b"{\"CustomerId\":\"C")?;
    sim.wait_events(3)?;
    agent.stop()?;
    let letters = folder.dead_letters()?;
    assert_eq!(letters.len(), 1);
    assert!(letters.iter().all(|letter| letter["reason"] == "partial_line"), "{letters:?}");
    folder.wait_counted("read", 4)?;
    Ok(())
}
