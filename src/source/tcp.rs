//! Takes newline-delimited events over TCP: a task per connection.
//!
//! Nothing is ever written to a connection. A full intake stops the reading, and TCP's window
//! makes the sender wait. A connection that says nothing holds no buffer; at most
//! sixteen connections hold one at a time, so memory does not grow with their number.
//! The start of a line that is cut off by a disconnect, a time-out or a stop is a dead letter.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chunk::{Buffer, CHUNK_BYTES};
use crate::intake::Closed;
use crate::source::Context;
use crate::source::stream::{Assembler, LastLine, bytes_waiting};

/// Connections that may hold a buffer of 256 KiB at one time, those that wait for room in the
/// intake included.
const READERS_MAX: usize = 16;

/// How long accepting pauses after a failure: most often, no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of a TCP source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Connections at one time; further ones are closed at once.
    pub connections_max: usize,
    /// A connection that sends nothing for so long is closed.
    pub idle_timeout: Duration,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
}

/// Why connections cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is in use, is not ours, or needs more rights.
    #[error("cannot listen on {address}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The runtime refused the listener.
    #[error("cannot wait for connections")]
    Register(#[source] io::Error),
}

/// Listens on the configured address; connections queue in the kernel until [`run`].
pub fn bind(settings: &Settings) -> Result<std::net::TcpListener, Error> {
    let address = settings.listen;
    let listener = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| Error::Bind { address, source })?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine: whoever reaches the port can send events");
    }
    Ok(listener)
}

/// Takes connections until the agent stops, and ends when each has ended.
pub async fn run(
    listener: std::net::TcpListener,
    settings: Settings,
    context: Context,
) -> Result<(), Error> {
    let listener = TcpListener::from_std(listener).map_err(Error::Register)?;
    let server = Arc::new(Server { settings, context, readers: Semaphore::new(READERS_MAX) });
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        tokio::select! {
            // Stop first: behind it nobody may be let in.
            biased;
            () = server.context.stop.drain.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    server.admit(stream, peer, &mut connections);
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    // A stop waits for this pause, which is short.
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Closes the port before the connections are drained.
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
    Ok(())
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

struct Server {
    settings: Settings,
    context: Context,
    readers: Semaphore,
}

/// Why reading pauses or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The peer may send more.
    Open,
    /// The peer closed, or the connection failed.
    Ended,
}

impl Server {
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        let counters = &self.context.tag.counters;
        if tasks.len() >= self.settings.connections_max {
            counters.connections_refused.add(1);
            return;
        }
        counters.connections.add(1);
        let server = Arc::clone(self);
        tasks.spawn(async move {
            let line_bytes_max = server.settings.line_bytes_max;
            let assembler = Assembler::new(&server.context, peer.to_string(), line_bytes_max);
            let outcome = Connection { server: &server, stream, assembler }.serve().await;
            if outcome == Err(Closed) {
                tracing::error!(%peer, "stopped before all that was received was stored");
            }
        });
    }
}

struct Connection<'a> {
    server: &'a Server,
    stream: TcpStream,
    assembler: Assembler,
}

impl<'a> Connection<'a> {
    /// Reads until the peer closes, says nothing for too long, or the agent stops.
    async fn serve(&mut self) -> Result<(), Closed> {
        let stop = &self.server.context.stop;
        let mut deadline = Instant::now() + self.server.settings.idle_timeout;
        loop {
            tokio::select! {
                // A stop is looked at first, or a sender that never pauses would hide it.
                biased;
                () = stop.drain.cancelled() => {
                    self.drain().await?;
                    break;
                }
                _ = self.stream.readable() => {}
                () = sleep_until(deadline) => break,
            }
            let (bytes, state) = self.read().await?;
            if state == State::Ended {
                break;
            }
            if bytes > 0 {
                deadline = Instant::now() + self.server.settings.idle_timeout;
            }
        }
        match self.assembler.finish(LastLine::Refuse) {
            Some(ready) => ready.send(&self.server.context).await,
            None => Ok(()),
        }
    }

    /// Reads what has come, up to a full buffer, and hands its whole lines over.
    async fn read(&mut self) -> Result<(usize, State), Closed> {
        let context = &self.server.context;
        let _reader = self.reader().await?;
        let mut buffer = self.assembler.begin(&context.intake);
        let before = buffer.len();
        let mut state = State::Open;
        while state == State::Open && has_room(&buffer) {
            let read =
                self.stream.try_io(Interest::READABLE, || receive(&self.stream, &mut buffer));
            match read {
                Ok(0) => state = State::Ended,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => state = State::Ended,
            }
        }
        let bytes = buffer.len() - before;
        self.hand_over(&mut buffer).await?;
        Ok((bytes, state))
    }

    /// Reads what lies in the socket buffer now, and no more.
    async fn drain(&mut self) -> Result<(), Closed> {
        let mut left = bytes_waiting(&self.stream);
        while left > 0 {
            let _reader = self.reader().await?;
            let mut buffer = self.assembler.begin(&self.server.context.intake);
            // Not `try_io`: it asks the runtime's memory of the socket, which may be behind.
            let read = receive(&self.stream, &mut buffer).unwrap_or(0);
            self.hand_over(&mut buffer).await?;
            left = if read == 0 { 0 } else { left.saturating_sub(read as u64) };
        }
        Ok(())
    }

    /// The right to hold a buffer; given back when dropped.
    async fn reader(&self) -> Result<SemaphorePermit<'a>, Closed> {
        let server = self.server;
        tokio::select! {
            biased;
            permit = server.readers.acquire() => permit.map_err(|_| Closed),
            // Readers may wait for an intake that never has room again.
            () = server.context.stop.abandon.cancelled() => Err(Closed),
        }
    }

    async fn hand_over(&mut self, buffer: &mut Buffer) -> Result<(), Closed> {
        let context = &self.server.context;
        while let Some(ready) = self.assembler.next(buffer, &context.intake) {
            ready.send(context).await?;
        }
        self.assembler.end(buffer);
        Ok(())
    }
}

/// Whether another read is worth its call before the lines are handed over.
fn has_room(buffer: &Buffer) -> bool {
    buffer.len() < CHUNK_BYTES.min(buffer.capacity())
}

/// One read of what the socket holds; `WouldBlock` when that is nothing.
fn receive(stream: &TcpStream, buffer: &mut Buffer) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::read(stream, spare_capacity(buffer)))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::Reason;
    use crate::source::testing::{Bench, Event};
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    struct Running {
        bench: Bench,
        address: SocketAddr,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    fn start(connections_max: usize, idle_timeout: Duration) -> Running {
        let bench = Bench::new();
        let settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            connections_max,
            idle_timeout,
            line_bytes_max: 100,
        };
        let listener = bind(&settings).expect("bound");
        let address = listener.local_addr().expect("an address");
        let task = bench.runtime.spawn(run(listener, settings, bench.context.clone()));
        Running { bench, address, task }
    }

    impl Running {
        fn connect(&self) -> Client {
            Client::connect(self.address).expect("connected")
        }

        fn next(&self) -> Vec<Event> {
            let chunk = self.bench.outlet.chunks.recv_timeout(Duration::from_secs(20));
            chunk.map(|chunk| Event::of(&chunk)).expect("a chunk")
        }

        fn stop(mut self) -> Vec<Event> {
            self.bench.stopper.drain();
            self.bench.runtime.block_on(self.task).expect("joined").expect("ran");
            let chunks: Vec<_> = self.bench.outlet.chunks.try_iter().collect();
            chunks.iter().flat_map(Event::of).collect()
        }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn each_connection_numbers_its_own_lines() {
        let running = start(10, LONG);
        for _ in 0..2 {
            let mut client = running.connect();
            client.write_all(b"a\nb\n").expect("written");
            assert_eq!(running.next(), [Event::line(0, "a"), Event::line(1, "b")]);
        }
        assert_eq!(running.bench.context.tag.counters.connections.value(), 2);
        assert_eq!(running.stop(), []);
    }

    #[test]
    fn half_a_line_at_a_disconnect_is_a_dead_letter() {
        let running = start(10, LONG);
        let mut client = running.connect();
        client.write_all(b"hal").expect("written");
        drop(client);
        assert_eq!(running.next(), [Event::fault(0, Reason::PartialLine, 3, "hal")]);
        assert_eq!(running.stop(), []);
    }

    #[test]
    fn a_silent_connection_is_closed_and_its_half_line_refused() {
        let running = start(10, Duration::from_millis(50));
        let mut client = running.connect();
        client.write_all(b"hal").expect("written");
        assert_eq!(running.next(), [Event::fault(0, Reason::PartialLine, 3, "hal")]);
        assert_eq!(client.read(&mut [0]).expect("end of file"), 0);
        assert_eq!(running.stop(), []);
    }

    #[test]
    fn connections_over_the_limit_are_closed_at_once() {
        let running = start(1, LONG);
        let mut first = running.connect();
        first.write_all(b"a\n").expect("written");
        assert_eq!(running.next(), [Event::line(0, "a")]);
        let mut second = running.connect();
        assert_eq!(second.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(running.bench.context.tag.counters.connections_refused.value(), 1);
        first.write_all(b"b\n").expect("written");
        assert_eq!(running.next(), [Event::line(1, "b")]);
        assert_eq!(running.stop(), []);
    }

    #[test]
    fn a_stop_reads_the_socket_buffers_empty() {
        let running = start(10, LONG);
        let mut client = running.connect();
        client.write_all(b"seen\n").expect("written");
        assert_eq!(running.next().len(), 1);
        client.write_all(b"a\nb\nhal").expect("written");
        let mut events = running.stop();
        events.sort();
        let half = Event::fault(3, Reason::PartialLine, 3, "hal");
        assert_eq!(events, [Event::line(1, "a"), Event::line(2, "b"), half]);
        assert_eq!(client.read(&mut [0]).expect("end of file"), 0);
    }

    #[test]
    fn many_connections_lose_nothing() {
        let running = start(100, LONG);
        let address = running.address;
        let clients: Vec<_> = (0..40)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut client = Client::connect(address).expect("connected");
                    for number in 0..2000 {
                        writeln!(client, "{number}").expect("written");
                    }
                    client.write_all(&[b'x'; 150]).expect("written");
                })
            })
            .collect();
        let mut events = Vec::new();
        while events.len() < 40 * 2001 {
            events.extend(running.next());
        }
        for client in clients {
            client.join().expect("no panic");
        }
        let faults = events.iter().filter(|event| event.fault.is_some()).count();
        assert_eq!((events.len(), faults), (40 * 2001, 40));
        assert_eq!(running.stop(), []);
    }
}
