//! Wires the stages, starts them from the end of the flow to its beginning, and stops them from
//! the beginning to the end.
//!
//! Start: open the store, bind listeners, start committer, packers, batcher, lanes, sources; then
//! say ready. Stop: only sources hear the signal; everything behind them ends because its input
//! closed; delivery has what is left of the grace period. What is not delivered stays in the
//! store. A stage that ends by itself is a failure: the agent drains and ends with an error.

mod holds;
mod plan;
mod reconciling;
mod reload;
mod replaying;
mod run;
pub mod sandbox;
mod schemas;
pub mod service;
pub mod signals;
mod sources;
pub mod supervisor;
mod wiring;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::chunk::SourceTag;
use crate::control::reconcile;
use crate::mapping::Mapping;
use crate::meter::Meter;
use crate::routing::Destination;
use crate::store::tallies::Status;
use crate::{admin, breaker, delivery, pack, source, store, tenant};

/// Everything that an agent needs to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Part of event ids and track ids.
    pub name: Arc<str>,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
    /// Bytes read but not committed, over all sources.
    pub intake_bytes_max: u32,
    /// The store.
    pub store: store::Settings,
    /// Batching and packing.
    pub pack: pack::Settings,
    /// Sending.
    pub delivery: delivery::Settings,
    /// Comparing with Mediation.
    pub reconcile: reconcile::Settings,
    /// Health, metrics and status over HTTP.
    pub admin: admin::Settings,
    /// Every configured meter.
    pub meters: Vec<Arc<Meter>>,
    /// Every configured source.
    pub sources: Vec<Source>,
    /// What the process can reach beside what the others name.
    pub sandbox: sandbox::Settings,
}

/// A configured source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The meter that its events are for, or how it is found.
    pub destination: Destination,
    /// How its lines become events; none: each of them is one, in JSON.
    pub mapping: Option<Arc<Mapping>>,
    /// What it reads.
    pub settings: source::Settings,
    /// When it is held; none: never.
    pub breaker: Option<breaker::Settings>,
}

/// What a running agent can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To drain and end; the second time, to end at once.
    Stop,
    /// To read the configuration again, and to try again what is held.
    Reload,
}

/// Why an agent could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The HTTP client.
    #[error("delivery: {0}")]
    Delivery(#[from] tenant::transport::Error),
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// A listener.
    #[error("source {name}")]
    Source {
        /// The configured source.
        name: Arc<str>,
        /// What is wrong with it.
        #[source]
        reason: source::Error,
    },
    /// The system gave no thread or pipe.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A stage ended that should not have.
    #[error("stage {name} ended by itself: {reason}")]
    StageDied {
        /// Which stage.
        name: String,
        /// Why, as far as is known.
        reason: String,
    },
}

/// What an agent tells once everything runs.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// Where health, metrics and status are.
    pub admin: Option<SocketAddr>,
    /// Where sources listen, by name: an address, or the path of a socket.
    pub listening: Vec<(Arc<str>, String)>,
    /// The sources with their counters.
    pub sources: Vec<Arc<SourceTag>>,
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the store holds.
    pub status: Status,
    /// Whether it was asked to stop before its sources had ended and everything was delivered.
    pub was_stopped: bool,
}

/// Settings that are wanted instead of those that hold.
pub struct Wanted {
    /// All of them.
    pub settings: Settings,
    /// What works and is probably not meant.
    pub warnings: Vec<String>,
    /// Called when they hold, for what is no part of the agent: its log.
    pub adopt: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Wanted").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Reads the configuration again: what is wanted, or every problem with it. Blocks.
pub type Load = Arc<dyn Fn() -> Result<Wanted, Vec<String>> + Send + Sync>;

/// Runs an agent until its sources have ended and everything is delivered, or until it is asked
/// to stop. `load` is how it reads its configuration again; none: it cannot.
pub async fn run(
    settings: Settings,
    inherited: source::listen::Inherited,
    mut requests: mpsc::Receiver<Request>,
    load: Option<Load>,
    ready: impl FnOnce(&Ready),
) -> Result<Report, Error> {
    let (mut run, told) = wiring::start(settings, inherited, load)?;
    ready(&told);
    service::tell_ready();
    run.until_lanes_end(&mut requests).await;
    service::tell_stopping();
    run.end().await
}
