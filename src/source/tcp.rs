//! Takes newline-delimited events over TCP: a task per connection.

use std::sync::Arc;

use crate::source::listen::tls::{self, Tls};
use crate::source::listen::{self, Admission, Error, Inherited, Listener, Place};
use crate::source::{Context, connection};

/// The settings of a TCP source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Place,
    /// Who is let in.
    pub admission: Admission,
    /// What peers see of us, and show of themselves; none: plain TCP.
    pub tls: Option<tls::Settings>,
    /// What holds for each connection.
    pub connection: connection::Settings,
}

/// What can fail before anything runs has not.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    tls: Option<Arc<Tls>>,
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> Option<String> {
        self.listener.address()
    }
}

/// Listens at the configured place; connections queue in the kernel until [`run`].
pub fn bind(settings: &Settings, inherited: &mut Inherited) -> Result<Bound, Error> {
    let tls = settings.tls.as_ref().map(Tls::new).transpose()?.map(Arc::new);
    let authenticates = settings.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    let listener = Listener::bind(&settings.listen, &settings.admission, authenticates, inherited)?;
    Ok(Bound { listener, tls })
}

/// Takes connections until the agent stops, and ends when each has ended.
pub async fn run(bound: Bound, settings: Settings, context: Context) -> Result<(), Error> {
    let Bound { listener, tls } = bound;
    let Settings { admission, connection, .. } = settings;
    let server = connection::Server::new(connection, context.clone());
    let attend = move |socket, peer| Arc::clone(&server).attend(socket, peer);
    tokio::select! {
        served = listen::serve(listener, &admission, tls.as_ref(), &context, attend) => served,
        // Without this arm certificates would stay as they were at the start.
        never = tls::follow(tls.as_ref(), &context.stop) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::Reason;
    use crate::source::testing::{Bench, Event};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream as Client};
    use std::time::Duration;

    struct Running {
        bench: Bench,
        address: SocketAddr,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    fn start(connections_max: usize, idle_timeout: Duration) -> Running {
        let bench = Bench::new();
        let settings = Settings {
            listen: Place::Address(SocketAddr::from(([127, 0, 0, 1], 0))),
            admission: Admission::of_all(connections_max),
            tls: None,
            connection: connection::Settings {
                idle_timeout,
                first_byte_timeout: LONG,
                line_bytes_max: 100,
                ack: false,
            },
        };
        let listener = bind(&settings, &mut Inherited::default()).expect("bound");
        let address = listener.address().and_then(|address| address.parse().ok());
        let address = address.expect("an address");
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
    fn waiting_for_room_and_for_bytes_is_no_work() {
        let running = start(10, LONG);
        let context = &running.bench.context;
        let rests = || {
            let until = std::time::Instant::now() + Duration::from_secs(20);
            while context.pulse.busy_for().is_some() {
                assert!(std::time::Instant::now() < until, "it is taken for work");
            }
        };
        let mut client = running.connect();
        client.write_all(b"a\n").expect("written");
        assert_eq!(running.next().len(), 1);
        rests();
        client.set_nonblocking(true).expect("set");
        let lines = vec![b'\n'; 1 << 16];
        while !running.bench.outlet.is_full() {
            // A full socket is tried again.
            let _ = client.write(&lines);
        }
        rests();
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
