//! Carries batches from the store to Mediation.
//!
//! One [`lane`] a meter sends the oldest batches; all lanes share one [`budget`] and one
//! [`auth`]. Promises: a batch leaves the store only by a committed receipt; a repeat carries the
//! same bytes and the same track id; an outcome that is not known is on record before the batch
//! is sent again. Never: drops a batch, follows a redirect, or delays one meter for another.

pub mod auth;
pub mod backoff;
pub mod budget;
pub mod gate;
pub mod lane;
pub mod latency;
pub mod minute;
pub mod outcome;
pub mod pace;
pub mod refusal;
pub mod request;
pub mod transport;
pub mod watch;
pub mod window;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Sender;
use secrecy::SecretString;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::meter::Meter;
use crate::settlement::Posting;
use crate::store;
use crate::store::reader::Reader;
use auth::Auth;
use budget::Budget;
use gate::Gate;
use lane::Lane;
use transport::Transport;

/// How requests prove who sends them.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// OAuth 2.0 client credentials, exchanged for a token at `token_url`.
    Client {
        /// `POST` here, form-encoded.
        token_url: String,
        /// The client's id.
        id: String,
        /// The client's secret.
        secret: SecretString,
    },
    /// A bearer token as it is.
    Bearer(SecretString),
    /// None: only a loopback endpoint may do without.
    None,
}

/// The settings of delivery: one Mediation tenant.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How requests prove who sends them.
    pub credentials: Credentials,
    /// `Zuora-Entity-Ids`; not sent when empty.
    pub entity_ids: String,
    /// `Zuora-Org-Ids`; not sent when empty.
    pub org_ids: String,
    /// How long connecting may take, name look-up and TLS included.
    pub connect_timeout: Duration,
    /// How long a whole exchange may take.
    pub request_timeout: Duration,
    /// PEM file with more trusted roots.
    pub ca_file: Option<PathBuf>,
    /// PEM files for mutual TLS: certificate chain and key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// The proxy's URL; none: the usual environment variables.
    pub proxy: Option<String>,
    /// Requests a minute of everything that goes out, at least 1.
    pub requests_per_minute: u32,
    /// Requests under way at one time, at least 1.
    pub requests_in_flight_max: u32,
    /// The wait after the first failure; doubles with every further one. Default 1 s.
    pub backoff_base: Duration,
    /// The longest wait between two tries. Default 60 s.
    pub backoff_max: Duration,
    /// The longest wait that the server may ask for. Default 15 min.
    pub retry_after_max: Duration,
    /// How often a held meter is tried again. Default 60 s.
    pub hold_interval: Duration,
}

/// How far the end has come. Lanes only ever see it rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// More batches will come.
    Run,
    /// No more will come: end when nothing is left, however long that takes.
    Finish,
    /// End when nothing is left, or when a failure would have to be waited for.
    Hurry,
    /// Begin no request; wait for those under way.
    Halt,
    /// Let go of requests under way: their outcome is not known.
    Abandon,
}

/// The HTTP client for `meters`. What can fail of delivery fails here, before anything is sent.
pub fn connect(settings: &Settings, meters: &[Arc<Meter>]) -> Result<Transport, transport::Error> {
    let is_remote = |url: &str| !url.starts_with("http://");
    let has_tls = meters.iter().any(|meter| is_remote(&meter.upload_url))
        || matches!(&settings.credentials,
            Credentials::Client { token_url, .. } if is_remote(token_url));
    Transport::new(settings, has_tls)
}

/// Starts a lane for each of `meters`; they end as `phase` says. What the server asked for before
/// a restart is read from the store and obeyed.
pub fn start(
    settings: &Settings,
    transport: Transport,
    meters: &[Arc<Meter>],
    reader: Reader,
    postings: &Sender<Posting>,
    phase: &Receiver<Phase>,
) -> Result<JoinSet<()>, store::Error> {
    let transport = Arc::new(transport);
    let budget =
        Arc::new(Budget::new(settings.requests_per_minute, settings.requests_in_flight_max));
    let (waits, now) = (reader.waits()?, Timestamp::now());
    budget.pause(now.until(waits.tenant));
    let mut lanes = JoinSet::new();
    let auth = Auth::start(settings, Arc::clone(&transport), Arc::clone(&budget), &mut lanes);
    let reader = Arc::new(Mutex::new(reader));
    let written = watch::start(Arc::clone(&reader), &mut lanes);
    for meter in meters {
        let not_before =
            waits.meters.get(&*meter.name).map_or(waits.tenant, |own| waits.tenant.max(*own));
        let lane = Lane::new(
            settings,
            Arc::clone(meter),
            request::Sender {
                transport: Arc::clone(&transport),
                budget: Arc::clone(&budget),
                gate: Arc::new(Gate::default()),
                auth: auth.clone(),
                postings: postings.clone(),
                phase: phase.clone(),
                retry_after_max: settings.retry_after_max,
            },
            Arc::clone(&reader),
            written.clone(),
        );
        lanes.spawn(lane.run(now.until(not_before)));
    }
    Ok(lanes)
}

#[cfg(test)]
mod tests;
