//! Takes events over a Unix socket: lines over connections, or datagrams of whole lines.
//!
//! A datagram is complete in itself: its last line needs no end. One that is longer than a megabyte,
//! which no usual kernel lets through, ends in a dead letter.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Arc;

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::task::yield_now;

use crate::chunk::{Buffer, CHUNK_BYTES};
use crate::intake::Closed;
use crate::source::listen::{self, Admission, Error, Inherited, Listener, Owned, SocketFile};
use crate::source::stream::{Assembler, LastLine};
use crate::source::{Context, connection};

/// More than the send buffer of a socket holds, so more than a datagram can have.
const DATAGRAM_BYTES_MAX: usize = 1 << 20;

/// Datagrams that are still read at a stop: more than a queue holds, so that a sender that never
/// pauses cannot hold it up.
const DRAINED_MAX: usize = 4096;

/// The settings of a Unix socket source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub place: Place,
    /// What goes over it.
    pub kind: Kind,
    /// Connections at one time.
    pub admission: Admission,
    /// What holds for each connection; of a datagram only the longest line does.
    pub connection: connection::Settings,
}

/// Where a Unix socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file that is made for it.
    File(SocketFile),
    /// The service manager has opened it, under this name.
    Inherited(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.path.display().fmt(out),
            Self::Inherited(name) => write!(out, "systemd:{name}"),
        }
    }
}

/// What goes over a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Connections of lines.
    #[default]
    Stream,
    /// Datagrams of one line or more.
    Datagram,
}

/// A socket that is in its place.
#[derive(Debug)]
pub enum Bound {
    /// Connections queue in the kernel until [`run`].
    Stream(Listener),
    /// Datagrams do.
    Datagram(UnixDatagram, Option<Arc<Owned>>),
}

/// Puts the socket in its place.
pub fn bind(settings: &Settings, inherited: &mut Inherited) -> Result<Bound, Error> {
    let path = settings.place.to_string();
    Ok(match settings.kind {
        Kind::Stream => {
            let (listener, owned) = in_place(
                &settings.place,
                inherited,
                |path| {
                    let listener = UnixListener::bind(path)?;
                    listener.set_nonblocking(true).map(|()| listener)
                },
                Inherited::unix,
            )?;
            Bound::Stream(Listener::Unix { listener, path, owned })
        }
        Kind::Datagram => {
            let (socket, owned) = in_place(
                &settings.place,
                inherited,
                |path| {
                    let socket = UnixDatagram::bind(path)?;
                    socket.set_nonblocking(true).map(|()| socket)
                },
                Inherited::datagrams,
            )?;
            Bound::Datagram(socket, owned)
        }
    })
}

/// The socket of the source before, where there was one; else one that `bind` makes, or that
/// `take` takes from the service manager.
fn in_place<T: From<OwnedFd> + AsFd>(
    place: &Place,
    inherited: &mut Inherited,
    bind: impl FnOnce(&Path) -> io::Result<T>,
    take: impl FnOnce(&mut Inherited, &str) -> io::Result<T>,
) -> Result<(T, Option<Arc<Owned>>), Error> {
    let failed = |source| Error::Bind { address: place.to_string(), source };
    if let Some(kept) = inherited.kept(&place.to_string()).map_err(failed)? {
        return Ok(kept);
    }
    let (socket, owned) = match place {
        Place::File(file) => {
            file.bind(bind).map(|(socket, owned)| (socket, Some(Arc::new(owned))))?
        }
        Place::Inherited(name) => (take(inherited, name).map_err(failed)?, None),
    };
    inherited.keep(place.to_string(), &socket, owned.clone()).map_err(failed)?;
    Ok((socket, owned))
}

/// Takes lines until the agent stops.
pub async fn run(bound: Bound, settings: Settings, context: Context) -> Result<(), Error> {
    let Settings { place, admission, connection, .. } = settings;
    match bound {
        Bound::Stream(listener) => {
            let server = connection::Server::new(connection, context.clone());
            let attend = move |socket, peer| Arc::clone(&server).attend(socket, peer);
            listen::serve(listener, &admission, None, &context, attend).await
        }
        Bound::Datagram(socket, _owned) => {
            let label = place.to_string();
            let mut reader = Datagrams {
                socket: tokio::net::UnixDatagram::from_std(socket).map_err(Error::Register)?,
                assembler: Assembler::new(&context, label, connection.line_bytes_max),
                context,
                datagram: vec![0; DATAGRAM_BYTES_MAX],
            };
            if reader.run().await == Err(Closed) {
                let source = &*reader.context.tag.name;
                tracing::error!(source, "stopped before all that was received was stored");
            }
            Ok(())
        }
    }
}

struct Datagrams {
    socket: tokio::net::UnixDatagram,
    assembler: Assembler,
    context: Context,
    /// The datagram that is being received.
    datagram: Vec<u8>,
}

/// What one look at the queue gave.
enum Received {
    /// A datagram of so many bytes; those beyond the buffer are gone.
    Bytes(usize),
    Nothing,
}

impl Datagrams {
    async fn run(&mut self) -> Result<(), Closed> {
        let stop = self.context.stop.clone();
        loop {
            tokio::select! {
                // A stop is looked at first, or a sender that never pauses would hide it.
                biased;
                () = stop.drain.cancelled() => break,
                _ = self.socket.readable() => {}
            }
            self.read(usize::MAX).await?;
            // Other sources share the thread, and the queue may never be empty.
            yield_now().await;
        }
        let mut left = DRAINED_MAX;
        while left > 0 {
            let read = self.read(left).await?;
            left = if read == 0 { 0 } else { left.saturating_sub(read) };
        }
        Ok(())
    }

    /// Reads the datagrams that are there, up to a chunk of them and at most `max`, and hands
    /// their lines over. Tells how many they were.
    async fn read(&mut self, max: usize) -> Result<usize, Closed> {
        let mut buffer = self.assembler.begin(&self.context.intake);
        let mut count = 0;
        while buffer.len() < CHUNK_BYTES / 2 && count < max {
            let Received::Bytes(bytes) = self.receive() else { break };
            count += 1;
            buffer.extend_from_slice(self.datagram.get(..bytes).unwrap_or(&self.datagram));
            if bytes > self.datagram.len() {
                // Only its last line was cut off.
                self.hand_over(&mut buffer).await?;
                if let Some(ready) = self.assembler.finish(LastLine::Refuse) {
                    ready.send(&self.context).await?;
                }
                buffer = self.assembler.begin(&self.context.intake);
            } else if bytes > 0 && !buffer.ends_with(b"\n") {
                buffer.push(b'\n');
            }
        }
        self.hand_over(&mut buffer).await?;
        Ok(count)
    }

    fn receive(&mut self) -> Received {
        let received = self.socket.try_io(Interest::READABLE, || {
            // TRUNC: the length of the datagram, whether or not it fits.
            let socket = &self.socket;
            let receive = || recv(socket, self.datagram.as_mut_slice(), RecvFlags::TRUNC);
            Ok::<_, io::Error>(retry_on_intr(receive)?.1)
        });
        // Whatever is wrong with a socket without a peer passes: there is nothing to close.
        received.map_or(Received::Nothing, Received::Bytes)
    }

    async fn hand_over(&mut self, buffer: &mut Buffer) -> Result<(), Closed> {
        while let Some(ready) = self.assembler.next_of(buffer, &self.context) {
            ready.send(&self.context).await?;
        }
        self.assembler.end(buffer);
        Ok(())
    }
}
