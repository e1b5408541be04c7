//! What all listeners share: who is let in, how many at one time, and the end.
//!
//! Promises: connections are bounded in all and by address, whoever is not allowed costs one
//! accept, and after the stop signal nobody new is let in while those inside end in order. Says in
//! the log that somebody was turned away, at most once a minute.

mod inherited;
mod network;
mod socket;
mod socket_file;
pub mod tls;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use crate::source::Context;
use crate::stop::Stop;
use crate::telemetry::{Reminder, SourceCounters};
pub use inherited::Inherited;
pub use network::Network;
pub(in crate::source) use socket::{Doors, Socket};
pub use socket_file::{Owned, SocketFile};
use tls::Tls;

/// How long accepting pauses after a failure: most often, no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Connections at one time; further ones are closed at once.
    pub connections_max: usize,
    /// Connections of one address at one time.
    pub connections_per_address_max: usize,
    /// The networks that peers may come from; empty: any.
    pub allow: Vec<Network>,
}

impl Admission {
    /// Everybody, up to `connections_max`.
    pub fn of_all(connections_max: usize) -> Self {
        Self { connections_max, connections_per_address_max: connections_max, allow: Vec::new() }
    }
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At an address.
    Address(SocketAddr),
    /// The service manager has opened it, under this name.
    Inherited(String),
}

/// Why nothing can be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is in use, is not ours, or needs more rights.
    #[error("cannot listen on {address}")]
    Bind {
        /// The configured address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The files of its TLS.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The runtime refused the listener.
    #[error("cannot wait for connections")]
    Register(#[source] io::Error),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::Inherited(name) => write!(out, "systemd:{name}"),
        }
    }
}

/// A bound listener; connections queue in the kernel until [`serve`].
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix {
        /// The listener.
        listener: UnixListener,
        /// Where it is.
        path: String,
        /// Takes the file away when the listener is gone, where it is ours.
        owned: Option<Arc<Owned>>,
    },
}

impl Listener {
    /// Listens at `place`, which is only beyond this machine when somebody asked for it by name;
    /// `authenticates` says whether peers have to show who they are.
    pub fn bind(
        place: &Place,
        admission: &Admission,
        authenticates: bool,
        inherited: &mut Inherited,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address: place.to_string(), source };
        let listener = Self::socket(place, inherited).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() && admission.allow.is_empty() && !authenticates {
            tracing::warn!(%address, "listening beyond this machine: whoever reaches the port can send events");
        }
        Ok(Self::Tcp(listener))
    }

    /// The socket of the source before, where there was one.
    fn socket(place: &Place, inherited: &mut Inherited) -> io::Result<std::net::TcpListener> {
        if let Some((listener, _)) = inherited.kept(&place.to_string())? {
            return Ok(listener);
        }
        let listener = match place {
            Place::Address(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                listener
            }
            Place::Inherited(name) => inherited.tcp(name)?,
        };
        // Two sources may ask for any port that is free: that names no socket.
        if !matches!(place, Place::Address(address) if address.port() == 0) {
            inherited.keep(place.to_string(), &listener, None)?;
        }
        Ok(listener)
    }

    /// Where it listens.
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Tcp(listener) => Some(listener.local_addr().ok()?.to_string()),
            Self::Unix { path, .. } => Some(path.clone()),
        }
    }
}

/// Takes connections until the agent stops and gives each to a task that runs `attend`; ends when
/// each has ended.
pub(in crate::source) async fn serve<F>(
    listener: Listener,
    admission: &Admission,
    tls: Option<&Arc<Tls>>,
    context: &Context,
    attend: impl Fn(Socket, Arc<str>) -> F + Clone + Send + 'static,
) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let doors = Doors::open(listener).map_err(Error::Register)?;
    let inside = Arc::new(Inside::default());
    let mut porter = Porter { admission, context, refusing: Reminder::default() };
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        tokio::select! {
            // Stop first: behind it nobody may be let in.
            biased;
            () = context.stop.drain.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = doors.accept() => match accepted {
                Ok((socket, peer)) => {
                    is_failing = false;
                    if let Some(seat) = porter.admit(&peer, connections.len(), &inside) {
                        let (attend, tls) = (attend.clone(), tls.cloned());
                        let drain = context.stop.drain.clone();
                        connections.spawn(async move {
                            // Who has not shown a whole handshake has sent nothing: a stop waits
                            // for nobody there.
                            if let Some(Some(socket)) =
                                drain.run_until_cancelled(socket.secured(tls)).await
                            {
                                attend(socket, peer.label).await;
                            }
                            drop(seat);
                        });
                    }
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
    // Closes the door before the connections are drained.
    drop(doors);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
    Ok(())
}

/// Looks at the files of a listener's TLS.
pub(in crate::source) fn check(tls: Option<&tls::Settings>) -> Result<(), Error> {
    tls.map(Tls::new).transpose().map(drop).map_err(Error::from)
}

/// Has `reload` read files again whenever sources are asked to; never ends.
pub(in crate::source) async fn follow(
    stop: &Stop,
    reload: impl Fn() + Clone + Send + 'static,
) -> Infallible {
    let mut look_again = stop.look_again.clone();
    while look_again.changed().await.is_ok() {
        // The runtime never waits for a disk. A panic in it is a defect that changes nothing.
        let _ = tokio::task::spawn_blocking(reload.clone()).await;
    }
    // The agent has ended.
    std::future::pending().await
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// Who knocked.
#[derive(Debug)]
pub(in crate::source) struct Peer {
    /// For people.
    label: Arc<str>,
    /// None: on this machine, over a Unix socket.
    address: Option<IpAddr>,
}

/// How many of each address are inside.
#[derive(Debug, Default)]
struct Inside(Mutex<HashMap<IpAddr, usize>>);

impl Inside {
    /// Whatever a panicking task left is a count that is right.
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat inside; given back when dropped, a panic included.
struct Seat {
    counters: Arc<SourceCounters>,
    inside: Arc<Inside>,
    address: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counters.connections_ended.add(1);
        let Some(address) = self.address else { return };
        let mut counts = self.inside.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

struct Porter<'a> {
    admission: &'a Admission,
    context: &'a Context,
    refusing: Reminder,
}

impl Porter<'_> {
    /// A seat for `peer`, or none.
    fn admit(&mut self, peer: &Peer, present: usize, inside: &Arc<Inside>) -> Option<Seat> {
        let Admission { connections_max, connections_per_address_max, allow } = self.admission;
        let is_allowed = |address| allow.is_empty() || allow.iter().any(|net| net.holds(address));
        if present >= *connections_max {
            return self.refuse(peer, "connections_max is reached");
        }
        if let Some(address) = peer.address {
            if !is_allowed(address) {
                return self.refuse(peer, "its address is not in the allow list");
            }
            let mut counts = inside.counts();
            let count = counts.entry(address).or_default();
            if *count >= *connections_per_address_max {
                drop(counts);
                return self.refuse(peer, "connections_per_address_max is reached");
            }
            *count += 1;
        }
        let counters = Arc::clone(&self.context.tag.counters);
        counters.connections.add(1);
        Some(Seat { counters, inside: Arc::clone(inside), address: peer.address })
    }

    fn refuse(&mut self, peer: &Peer, reason: &'static str) -> Option<Seat> {
        let refused = &self.context.tag.counters.connections_refused;
        refused.add(1);
        if self.refusing.is_due(Instant::now()) {
            let (source, peer, refused) = (&*self.context.tag.name, &*peer.label, refused.value());
            tracing::warn!(source, peer, reason, refused, "connections are turned away");
        }
        None
    }
}
