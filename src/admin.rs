//! What operators and their tools ask over HTTP: health, metrics, the status, and a page that shows
//! them.
//!
//! It only reads, but for dead letters that somebody replays who has the token. It is bounded in
//! connections, in the size and the time of requests, and in what it reads of the store. Without a token it answers to nobody but the machine itself, and only under names
//! that no web page can point at it.

mod access;
mod board;
mod health;
pub mod history;
mod ledger;
mod metrics;
mod page;
mod process;
mod route;
pub mod verdict;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chunk::SourceTag;
use crate::meter::Meter;
use crate::position::Cursor;
use crate::telemetry::{STUCK, Spent, Vitals};
use board::Board;
pub use ledger::Replay;
use route::Service;
use verdict::{Facts, Trouble};

/// Connections at one time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;

/// How long the head of a request may take, and a connection be without one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a client may take nothing of its answer, in milliseconds.
const WRITE_TIMEOUT_MILLIS: u32 = 30_000;

/// After a failure to accept, which is mostly that descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers under way may take when the agent ends.
const END_GRACE: Duration = Duration::from_millis(500);

/// The settings of the admin listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// What a request has to bring as its bearer token; always there beyond loopback.
    pub token: Option<SecretString>,
    /// Not ready while an event has waited for longer. Default 15 min.
    pub lag_max: Duration,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen on {address}")]
pub struct Error {
    /// Which address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// What there is to be seen, until a reload.
#[derive(Debug, Clone)]
pub struct View {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The configured meters.
    pub meters: Vec<Arc<Meter>>,
    /// The configured sources.
    pub sources: Vec<Arc<SourceTag>>,
    /// How the stages are.
    pub vitals: Arc<Vitals>,
    /// How long requests waited for the rate of the tenant.
    pub rate_waits: Arc<Spent>,
    /// Bytes of the files behind cursors that are not committed.
    pub lag_bytes: fn(&[Cursor]) -> u64,
    /// Where the store is.
    pub directory: PathBuf,
    /// The limit of the store.
    pub bytes_max: u64,
    /// How long an event may wait.
    pub lag_max: Duration,
    /// What a request has to bring as its bearer token.
    pub token: Option<SecretString>,
    /// Puts dead letters back.
    pub replay: Replay,
}

impl View {
    /// What the agent knows of itself beside the store.
    fn facts(&self) -> Facts {
        let Self { vitals, lag_max, .. } = self;
        Facts {
            commits_fail: vitals.commits_fail.is_set(),
            is_full: vitals.is_full.is_set(),
            lag_max: *lag_max,
        }
    }

    /// The stages that make no progress.
    fn stuck(&self) -> Vec<Trouble> {
        let stuck = self.vitals.stuck_for(STUCK).into_iter();
        let trouble =
            |stage| Trouble::bad(format!("stage {stage} makes no progress"), STUCK_ADVICE);
        stuck.map(trouble).collect()
    }
}

const STUCK_ADVICE: &str = "A disk that does not answer is the usual cause. systemd's watchdog \
                            starts the agent again; nothing is lost.";

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    /// Where it listens, with the port that was free.
    pub address: SocketAddr,
}

/// Binds, when there is an address.
pub fn bind(settings: &Settings) -> Result<Option<Listener>, Error> {
    let Some(address) = settings.listen else { return Ok(None) };
    let failed = |source| Error { address, source };
    let socket = std::net::TcpListener::bind(address).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Some(Listener { socket, address }))
}

/// Answers until it is told to end.
pub async fn serve(
    listener: Listener,
    view: watch::Receiver<View>,
    until: CancellationToken,
) -> Result<(), Error> {
    let Listener { socket, address } = listener;
    let listener = TcpListener::from_std(socket).map_err(|source| Error { address, source })?;
    let board = Arc::new(Board::new(view.clone(), until.clone()));
    let service = Arc::new(Service::new(view, Arc::clone(&board)));
    // The board ends with the same signal as the listener.
    let ((), ()) = tokio::join!(board.run(), answer(listener, service, until));
    Ok(())
}

/// Lets connections in until it is told to end, and waits a while for those inside.
async fn answer(listener: TcpListener, service: Arc<Service>, until: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = until.cancelled() => break,
            // Without this arm connections that ended would be kept.
            Some(_) = connections.join_next() => continue,
            Ok(place) = Arc::clone(&room).acquire_owned() => {
                tokio::select! {
                    () = until.cancelled() => break,
                    accepted = listener.accept() => accepted.map(|(stream, _)| (stream, place)),
                }
            }
        };
        match accepted {
            Ok((stream, place)) => {
                let (service, until) = (Arc::clone(&service), until.clone());
                connections.spawn(async move {
                    attend(stream, service, until).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection to the admin address");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(END_GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// Serves one connection.
async fn attend(stream: TcpStream, service: Arc<Service>, until: CancellationToken) {
    // Whoever takes nothing any more gives the place back. Where it cannot be set, the kernel's own
    // patience counts.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, WRITE_TIMEOUT_MILLIS);
    let service = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    // How a connection ends is the client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        // Without this arm idle connections would hold up the end.
        () = until.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
