//! Carries batches from the store to Mediation.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

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
