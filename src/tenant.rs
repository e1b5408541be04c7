//! One Mediation tenant: how it is reached, who we are there, and how much may go out.
//!
//! Everything that goes out to a tenant shares one client, one token and one budget. Delivery and
//! the meter APIs use the same parts; what they make of an answer is their own.

pub mod auth;
pub mod backoff;
pub mod budget;
pub mod exchange;
pub mod gate;
pub mod gzip;
pub mod latency;
pub mod minute;
pub mod outcome;
pub mod pace;
pub mod transport;
pub mod window;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::telemetry::Spent;
use auth::Auth;
use budget::Budget;
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

impl Credentials {
    /// Whether both show the same.
    fn are_as(&self, other: &Self) -> bool {
        let same =
            |one: &SecretString, other: &SecretString| one.expose_secret() == other.expose_secret();
        match (self, other) {
            (
                Self::Client { token_url, id, secret },
                Self::Client { token_url: other_url, id: other_id, secret: other },
            ) => (token_url, id) == (other_url, other_id) && same(secret, other),
            (Self::Bearer(secret), Self::Bearer(other)) => same(secret, other),
            (Self::None, Self::None) => true,
            _ => false,
        }
    }
}

/// The settings of a tenant.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The REST host; none when nothing needs it.
    pub base_url: Option<String>,
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
}

/// A client of the tenant that was not started: everything that can fail has not.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    /// How long requests wait for the rate.
    pub rate_waits: Arc<Spent>,
}

/// The tenant, for who sends. Clones share all of it.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// What may go out.
    pub budget: Arc<Budget>,
    way: Arc<RwLock<Way>>,
}

/// How the tenant is reached, until it is reached otherwise.
#[derive(Debug, Clone)]
pub struct Way {
    /// The HTTP client.
    pub transport: Arc<Transport>,
    /// The token.
    pub auth: Auth,
}

impl Connection {
    /// A client for these URLs and the token's.
    pub fn new<'a>(
        settings: &Settings,
        urls: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, transport::Error> {
        let is_remote = |url: &str| !url.starts_with("http://");
        let has_tls = urls.into_iter().any(is_remote)
            || matches!(&settings.credentials,
                Credentials::Client { token_url, .. } if is_remote(token_url));
        Ok(Self { transport: Transport::new(settings, has_tls)?, rate_waits: Arc::default() })
    }

    /// One whose requests a test answers.
    #[cfg(test)]
    pub fn scripted() -> (Self, tokio::sync::mpsc::UnboundedReceiver<transport::Exchange>) {
        let (transport, exchanges) = Transport::scripted();
        (Self { transport, rate_waits: Arc::default() }, exchanges)
    }

    /// Starts the owner of the token among `tasks`, which ends with the last clone of the tenant.
    pub fn start(self, settings: &Settings, tasks: &mut JoinSet<()>) -> Tenant {
        let transport = Arc::new(self.transport);
        let budget = Budget::new(
            settings.requests_per_minute,
            settings.requests_in_flight_max,
            self.rate_waits,
        );
        let budget = Arc::new(budget);
        let auth = Auth::start(settings, Arc::clone(&transport), Arc::clone(&budget), tasks);
        Tenant { budget, way: Arc::new(RwLock::new(Way { transport, auth })) }
    }
}

impl Tenant {
    /// The way of a request that begins now.
    pub fn way(&self) -> Way {
        self.way.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Obeys `settings` from now on, for everybody who has a clone. `before` is what it obeyed: the
    /// client with its connections stays if it is made of the same as `connection`, and so does the
    /// token if the credentials are the same. Requests under way end as they began.
    pub fn renew(
        &self,
        before: &Settings,
        settings: &Settings,
        connection: Connection,
        tasks: &mut JoinSet<()>,
    ) {
        self.budget.limit(settings.requests_per_minute, settings.requests_in_flight_max);
        let now = self.way();
        let is_same = now.transport.is_made_as(&connection.transport);
        if is_same && before.credentials.are_as(&settings.credentials) {
            return;
        }
        let transport = if is_same { now.transport } else { Arc::new(connection.transport) };
        let budget = Arc::clone(&self.budget);
        let auth = Auth::start(settings, Arc::clone(&transport), budget, tasks);
        *self.way.write().unwrap_or_else(PoisonError::into_inner) = Way { transport, auth };
    }
}
