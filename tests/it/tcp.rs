//! TCP: limits of connections, and many at one time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::config::TCP;
use crate::harness::{Config, Folder, Result, Sim, lines, number};

/// Whether the far end has closed; waits for it.
fn is_closed(stream: &mut TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    })
}

#[test]
fn connections_beyond_the_limit_are_closed_and_the_others_go_on() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), format!("{TCP}connections_max = 2\n")))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    let (mut first, mut second) = (TcpStream::connect(address)?, TcpStream::connect(address)?);
    first.write_all(lines(0..1).as_bytes())?;
    second.write_all(lines(1..2).as_bytes())?;
    sim.wait_events(2)?;
    let mut third = TcpStream::connect(address)?;
    assert!(is_closed(&mut third)?);
    first.write_all(lines(2..3).as_bytes())?;
    second.write_all(lines(3..4).as_bytes())?;
    sim.wait_events(4)?;
    drop((first, second));
    // Room again, as soon as the agent has seen them go.
    let mut fourth = crate::harness::until("room for a connection", || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        crate::harness::pause(Duration::from_millis(50));
        let is_open = matches!(stream.read(&mut [0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false)?;
        Ok(is_open.then_some(stream))
    })?;
    fourth.write_all(lines(4..5).as_bytes())?;
    sim.wait_events(5)?;
    agent.stop()?;
    sim.check_exactly_once(5)
}

#[test]
fn a_connection_that_says_nothing_is_closed() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), format!("{TCP}idle_timeout = \"300ms\"\n")))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    stream.write_all(format!("{}{{\"Custo", lines(0..1)).as_bytes())?;
    assert!(is_closed(&mut stream)?);
    sim.wait_events(1)?;
    let status = folder.wait_counted("dead_lettered", 1)?;
    assert_eq!(number(&status, "/equation/read")?, 2);
    agent.stop()
}

#[test]
fn hundreds_of_connections_at_one_time_deliver_each_event_once() -> Result {
    const CONNECTIONS: u64 = 200;
    const EVENTS_EACH: u64 = 50;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), TCP))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    std::thread::scope(|scope| -> Result {
        let mut writers = Vec::new();
        for writer in 0..4 {
            let numbers = (0..CONNECTIONS).filter(move |number| number % 4 == writer);
            writers.push(
                std::thread::Builder::new().spawn_scoped(scope, move || {
                    write_interleaved(address, numbers, EVENTS_EACH)
                })?,
            );
        }
        writers.into_iter().try_for_each(|writer| {
            writer.join().map_err(|_| crate::harness::Error::from("a writer panicked"))?
        })
    })?;
    folder.wait_counted("delivered", (CONNECTIONS * EVENTS_EACH).cast_signed())?;
    assert_eq!(folder.counted("read")?, (CONNECTIONS * EVENTS_EACH).cast_signed());
    agent.stop()?;
    sim.check_exactly_once(CONNECTIONS * EVENTS_EACH)
}

/// Writes pieces that end in the middle of lines to all connections in turn.
fn write_interleaved(
    address: SocketAddr,
    numbers: impl Iterator<Item = u64>,
    events_each: u64,
) -> Result {
    let mut connections = Vec::new();
    for number in numbers {
        let text = lines(number * events_each..(number + 1) * events_each);
        connections.push((TcpStream::connect(address)?, text));
    }
    let piece = 1013;
    let longest = connections.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
    for start in (0..longest).step_by(piece) {
        for (stream, text) in &mut connections {
            let end = (start + piece).min(text.len());
            stream.write_all(text.as_bytes().get(start..end).unwrap_or_default())?;
        }
    }
    Ok(())
}
