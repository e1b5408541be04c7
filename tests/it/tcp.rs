//! TCP: limits of connections, and many at one time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::config::TCP;
use crate::harness::{Config, Folder, Result, Sim, lines, number, text};

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

/// The next acknowledgement.
fn durable(reader: &mut impl BufRead) -> Result<Option<i64>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    number(&serde_json::from_str(&line)?, "/durable").map(Some)
}

#[test]
fn a_peer_hears_how_many_lines_are_durable_and_never_before_they_are() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), format!("{TCP}ack = true\n")))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut told = 0;
    for round in 0..20 {
        // A blank line and one that is no event are durable, too: as counted and as a dead letter.
        let text = format!("{}\n{{\"half\":\n", lines(round * 50..round * 50 + 50));
        stream.write_all(text.as_bytes())?;
        let wanted = (i64::try_from(round)? + 1) * 52;
        while told < wanted {
            let now = durable(&mut reader)?.ok_or("the connection was closed")?;
            assert!(now > told && now <= wanted, "{told} {now} {wanted}");
            assert!(folder.counted("read")? >= now);
            told = now;
        }
    }
    // What is told last is told after the peer has said all it has to say.
    stream.write_all(lines(1000..1010).as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut last = told;
    while let Some(now) = durable(&mut reader)? {
        last = now;
    }
    assert_eq!(last, 20 * 52 + 10);
    sim.wait_events(1010)?;
    agent.stop()?;
    sim.check_exactly_once(1010)
}

#[test]
fn what_a_peer_was_told_survives_a_kill_and_what_is_told_ends_with_the_agent() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), format!("{TCP}ack = true\n")))?;
    let (mut sent, mut restarts) = (0, 0);
    while restarts < 5 {
        let mut agent = folder.start()?;
        let mut stream = TcpStream::connect(agent.tcp_address()?)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut told = 0;
        for round in 0..5 {
            stream.write_all(lines(sent..sent + 100).as_bytes())?;
            // The last round is cut off somewhere.
            if round == 4 {
                break;
            }
            while told < (round + 1) * 100 {
                told = durable(&mut reader)?.ok_or("the connection was closed")?;
            }
            sent += 100;
        }
        agent.kill()?;
        // What was told meanwhile counts; what was not is sent again with the same ids.
        while let Ok(Some(now)) = durable(&mut reader) {
            told = now;
        }
        assert!((400..=500).contains(&told), "{told}");
        sent += u64::try_from(told - 400)?;
        restarts += 1;
    }
    let mut agent = folder.start()?;
    TcpStream::connect(agent.tcp_address()?)?.write_all(lines(sent..sent + 100).as_bytes())?;
    sim.wait_events(sent + 100)?;
    agent.stop()?;
    sim.check_complete(sent + 100)
}

#[test]
fn a_peer_that_does_not_read_its_acknowledgements_holds_up_nothing() -> Result {
    const EVENTS: u64 = 20_000;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), format!("{TCP}ack = true\n")))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    for start in (0..EVENTS).step_by(100) {
        stream.write_all(lines(start..start + 100).as_bytes())?;
    }
    sim.wait_events(EVENTS)?;
    agent.stop()?;
    sim.check_exactly_once(EVENTS)
}

#[test]
fn a_peer_outside_the_allow_list_is_turned_away_and_that_is_said_once() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let source = format!("{TCP}allow = [\"10.0.0.0/8\", \"127.0.0.2\"]\n");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    for _ in 0..3 {
        assert!(is_closed(&mut TcpStream::connect(address)?)?);
    }
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0)))?;
    rustix::net::connect(&socket, &address)?;
    TcpStream::from(socket).write_all(lines(0..1).as_bytes())?;
    sim.wait_events(1)?;
    let record = agent.wait_logged("connections are turned away")?;
    assert_eq!(text(&record, "/reason")?, "its address is not in the allow list");
    assert_eq!(agent.log()?.matches("connections are turned away").count(), 1);
    agent.stop()?;
    sim.check_exactly_once(1)
}

#[test]
fn one_address_has_its_share_of_connections_and_gets_it_back() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let source = format!("{TCP}connections_per_address_max = 2\n");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    for round in 0..20 {
        let mut held = Vec::new();
        for place in 0..2 {
            let number = round * 2 + place;
            held.push(crate::harness::until("room for the address", || {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(lines(number..number + 1).as_bytes())?;
                // A connection that was turned away has left nothing.
                Ok(if is_closed_at_once(&mut stream)? { None } else { Some(stream) })
            })?);
        }
        assert!(is_closed(&mut TcpStream::connect(address)?)?);
    }
    sim.wait_events(40)?;
    agent.stop()?;
    sim.check_exactly_once(40)
}

/// Whether the far end closes within a moment.
fn is_closed_at_once(stream: &mut TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    })
}

#[test]
fn who_never_completes_a_line_is_cut_off_while_a_busy_neighbour_goes_on() -> Result {
    const EVENTS: u64 = 2000;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let source = format!("{TCP}idle_timeout = \"1s\"\nfirst_byte_timeout = \"200ms\"\n");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    let mut silent = TcpStream::connect(address)?;
    let mut slow = TcpStream::connect(address)?;
    slow.write_all(b"{")?;
    std::thread::scope(|scope| -> Result {
        let busy = std::thread::Builder::new().spawn_scoped(scope, || -> Result {
            let mut stream = TcpStream::connect(address)?;
            for number in 0..EVENTS {
                stream.write_all(lines(number..number + 1).as_bytes())?;
            }
            Ok(())
        })?;
        assert!(is_closed(&mut silent)?);
        // One byte after the other, and never the end of the line.
        let cut_off = crate::harness::until("the slow one to be cut off", || {
            crate::harness::pause(Duration::from_millis(20));
            Ok(slow.write_all(b" ").is_err().then_some(()))
        });
        busy.join().map_err(|_| "the busy one panicked")??;
        cut_off
    })?;
    sim.wait_events(EVENTS)?;
    folder.wait_counted("dead_lettered", 1)?;
    agent.stop()?;
    sim.check_exactly_once(EVENTS)
}

#[test]
fn a_line_that_is_longer_than_a_buffer_is_a_dead_letter_and_the_next_one_an_event() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), TCP))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    // Of what cannot be sent for so long, nothing is taken any more.
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    let mut long = "x".repeat(8 << 20);
    long.push('\n');
    long.push_str(&lines(0..1));
    stream.write_all(long.as_bytes())?;
    sim.wait_events(1)?;
    folder.wait_counted("dead_lettered", 1)?;
    let letters = folder.dead_letters()?;
    assert_eq!(text(letters.first().ok_or("no dead letter")?, "/reason")?, "line_too_long");
    agent.stop()
}
