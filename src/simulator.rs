//! A Mediation on loopback: for the demo, the tests, the benchmarks, and people without a tenant.
//!
//! It gives out OAuth tokens, takes usage events with the limits of a tenant, keeps books of
//! every event id and every repeated request, and fails on request. It promises that an event is
//! in the books exactly when its request was accepted, whether or not the client heard of it. It
//! never listens on anything but loopback, and keeps nothing when it ends.
//!
//! | endpoint | does |
//! |---|---|
//! | `POST /oauth/token` | a bearer token for client credentials |
//! | `POST /meters/streaming/ingestion/{meter}`, `POST /usage/bulk/{meter}` | ingestion |
//! | `/meters/run`, `stop`, `debug`, `import`, `files`, `export`, `{meter}/summary` and so on | [the meter APIs](api) |
//! | `GET /simulator/stats` | [`Stats`] |
//! | `GET /simulator/exchanges` | the latest [exchanges](Exchange) of the meter APIs |
//! | `GET /simulator/events/{meter}` | every event id with the number of times it was accepted |
//! | `POST /simulator/faults` | a JSON array of [faults] takes the place of those in force |
//! | `POST /simulator/reset` | counts begin again |
//!
//! What Zuora does not document is decided so: too many rows, an empty array, an unknown content
//! type or encoding and a bad `Zuora-Track-Id` are answered with 400; sizes count before
//! compression; a request is accepted as a whole or not at all; ingestion takes events for any
//! global id. Of the meter APIs, see [there](api) and at [the meters](meters).

mod answer;
mod api;
mod control;
mod count;
pub mod faults;
mod inflate;
mod ingest;
mod ledger;
mod limits;
mod meters;
mod plan;
mod stats;
#[cfg(test)]
mod tests;
mod token;
mod validate;
mod worker;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get, post};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;

pub use api::exchange::Exchange;
pub use faults::Fault;
pub use limits::Limits;
pub use meters::assumptions::Assumptions;
pub use meters::{MeterSettings, WhenStopped};
pub use stats::{MeterStats, Repeat, Stats};

use answer::Severed;
use api::exchange::Exchanges;
use ledger::Ledger;
use limits::Window;
use meters::Meters;
use plan::Plan;
use token::Tokens;
use worker::Workers;

/// Connections at one time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;

/// How long requests under way may take after the end was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// How long accepting rests after a failure, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Failures to accept, one after the other, that end the simulator: 10 seconds of them.
const ACCEPT_FAILURES_MAX: u32 = 200;

/// What the simulator is to be. Without `Debug`: it holds a secret.
#[derive(Clone)]
pub struct Settings {
    /// The loopback address to listen on; port 0: any free one.
    pub listen: SocketAddr,
    /// What a tenant may send.
    pub limits: Limits,
    /// How closely bodies are read.
    pub mode: Mode,
    /// What goes wrong, from the first request on.
    pub faults: Vec<Fault>,
    /// The only client id and secret that get a token. None: any get one, and ingestion takes
    /// any bearer token, or none at all.
    pub credentials: Option<(String, String)>,
    /// How long a token is good.
    pub token_ttl: Duration,
    /// The field that names an event. None: ids are not counted.
    pub event_id_field: Option<String>,
    /// Whether the four documented fields must be in every event, in [`Mode::Validate`].
    pub schema_check: bool,
    /// The meters that exist, each of which runs.
    pub meters: Vec<MeterSettings>,
    /// What becomes of events for a meter that does not run.
    pub when_stopped: WhenStopped,
    /// What the references leave open.
    pub assumptions: Assumptions,
    /// The only entity that `Zuora-Entity-Ids` may name, and has to. None: it may be left out.
    pub entity_id: Option<String>,
    /// By how many seconds its clock, as the meter APIs show it in `Date`, is ahead.
    pub clock_ahead_seconds: i64,
    /// Where the dice of faults with a probability begin.
    pub seed: u64,
}

impl Default for Settings {
    /// A production tenant on a free port that validates, lets everybody in, and never fails.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            limits: Limits::PRODUCTION,
            mode: Mode::Validate,
            faults: Vec::new(),
            credentials: None,
            token_ttl: Duration::from_secs(3599),
            event_id_field: Some("EventId".to_owned()),
            schema_check: true,
            meters: Vec::new(),
            when_stopped: WhenStopped::default(),
            assumptions: Assumptions::default(),
            entity_id: None,
            clock_ahead_seconds: 0,
            seed: 0,
        }
    }
}

/// How closely bodies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every event is parsed, checked, and counted by its id.
    #[default]
    Validate,
    /// Events are counted at memory speed; their ids and fields are not looked at.
    Count,
}

/// Why there is no simulator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is one that others could reach.
    #[error("the simulator listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// What is to be a meter is none.
    #[error("{0}")]
    Meter(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No connection could be accepted for a long time.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
}

/// A simulator that listens; connections wait until it serves.
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all requests share.
struct Shared {
    settings: Settings,
    ledger: Arc<Ledger>,
    window: Mutex<Window>,
    plan: Mutex<Plan>,
    tokens: Mutex<Tokens>,
    meters: Mutex<Meters>,
    exchanges: Mutex<Exchanges>,
    workers: Workers,
}

/// A view of a simulator that serves somewhere else.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// What was seen until now.
    pub fn stats(&self) -> Stats {
        self.shared.ledger.stats()
    }

    /// How often each event id of `meter` was accepted.
    pub fn event_counts(&self, meter: &str) -> HashMap<String, u64> {
        self.shared.ledger.with_event_counts(meter, HashMap::clone)
    }

    /// The latest requests to the meter APIs with their answers, oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).list()
    }

    /// Takes these faults in place of those in force.
    pub fn replace_faults(&self, faults: Vec<Fault>) {
        lock(&self.shared.plan).replace(faults);
    }

    /// Begins all counts again.
    pub fn reset(&self) {
        self.shared.ledger.reset();
    }
}

impl Simulator {
    /// Listens on the address of the settings, which must be a loopback address.
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        let address = settings.listen;
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        let Settings { when_stopped, assumptions, .. } = settings;
        let meters = Meters::new(&settings.meters, when_stopped, assumptions, Timestamp::now());
        let meters = meters.map_err(Error::Meter)?;
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            ledger: Arc::default(),
            window: Mutex::new(Window::new(settings.limits.calls_per_minute)),
            plan: Mutex::new(Plan::new(settings.faults.clone(), settings.seed)),
            tokens: Mutex::new(Tokens::new(settings.token_ttl, settings.seed)),
            meters: Mutex::new(meters),
            exchanges: Mutex::default(),
            workers: Workers::new(),
            settings,
        });
        Ok(Self { listener, address, shared })
    }

    /// Where it listens, with the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was seen until now.
    pub fn stats(&self) -> Stats {
        self.shared.ledger.stats()
    }

    /// A view that outlives [`Simulator::serve`].
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until told to end, then gives requests under way a second.
    pub async fn serve(self, until: CancellationToken) -> Result<(), Error> {
        let router = router(Arc::clone(&self.shared));
        let mut connections = JoinSet::new();
        let mut failures = 0;
        let mut outcome = Ok(());
        while outcome.is_ok() {
            let has_room = connections.len() < CONNECTIONS_MAX;
            tokio::select! {
                // Without this arm nothing ends the simulator.
                () = until.cancelled() => break,
                // Without this arm connections that ended would count as open.
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => {
                        failures = 0;
                        connections.spawn(attend(stream, router.clone(), until.clone()));
                    }
                    Err(error) if failures >= ACCEPT_FAILURES_MAX => {
                        outcome = Err(Error::Accept(error));
                    }
                    Err(_) => {
                        failures += 1;
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, drained).await.is_err() {
            connections.shutdown().await;
        }
        outcome
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/oauth/token", post(token::issue))
        .route("/meters/streaming/ingestion/{meter}", post(ingest::ingest))
        .route("/usage/bulk/{meter}", post(ingest::ingest))
        .route("/meters/{*operation}", any(api::serve))
        .route("/simulator/stats", get(control::stats))
        .route("/simulator/events/{meter}", get(control::events))
        .route("/simulator/exchanges", get(control::exchanges))
        .route("/simulator/faults", post(control::replace_faults))
        .route("/simulator/reset", post(control::reset))
        .fallback(control::not_found)
        .with_state(shared)
}

/// Serves one connection. A severed answer ends it without a byte: that is what hyper does when
/// its service fails, and why the connection is not left to axum, whose services never fail.
async fn attend(stream: TcpStream, router: Router, until: CancellationToken) {
    // Answers are small and complete: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let response = router.call(request);
        async move {
            let response = response.await.unwrap_or_else(|never: Infallible| match never {});
            match response.extensions().get::<Severed>() {
                Some(severed) => Err(*severed),
                None => Ok(response),
            }
        }
    });
    let mut connection =
        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // How a connection ends is the client's business; the books have what matters.
    tokio::select! {
        _ = connection.as_mut() => return,
        // Without this arm idle connections would stay until the grace is over.
        () = until.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Nothing that is done under these locks can fail half-way, so what a panicking thread left
/// behind is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
