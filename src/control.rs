//! The meter APIs, for who asks at the moment: run, test, status, summary and so on.
//!
//! One function an endpoint, over one [`Client`] that tries again what may be tried again.
//! Promises: a request that may have been done is repeated only when to do it twice is to do it
//! once; all of it counts against the budget of the tenant. Never: takes part in delivery.

pub mod audit;
pub mod client;
pub mod contract;
pub mod doctor;
pub mod export;
pub mod files;
pub mod import;
pub mod reconcile;
pub mod run;
pub mod status;
pub mod summary;
pub mod test;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::mediation::error;
use crate::mediation::form::Id;

pub use client::Client;

/// A version of a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterVersion {
    /// The meter's id.
    pub id: Id,
    /// The version.
    pub version: Arc<str>,
}

/// Why nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mediation says no.
    #[error("Mediation refuses: {status} {}", words(.errors))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says to be wrong.
        errors: Vec<error::Error>,
        /// Whether a try before may have done what was asked for.
        may_be_done: bool,
    },
    /// There is no token, and only a person can change that.
    #[error("{0}")]
    NoToken(String),
    /// Nobody took the request in time; it was not done.
    #[error("Mediation could not be reached in time: {0}")]
    Unreachable(String),
    /// The request may have been done, and nobody knows.
    #[error("whether it was done is not known: {0}; look before it is tried again")]
    Unknown(String),
    /// An answer of success that is none of the documented forms.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

fn words(errors: &[error::Error]) -> String {
    match errors {
        [] => "no explanation".to_owned(),
        errors => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

/// An answer, typed, and as it came.
#[derive(Debug, Clone)]
pub struct Said<T> {
    /// What it says.
    pub told: T,
    /// Its body: one JSON document.
    pub body: Vec<u8>,
}

impl<T: DeserializeOwned> Said<T> {
    fn read(body: Vec<u8>) -> Result<Self, Error> {
        let told = serde_json::from_slice(&body);
        let told = told.map_err(|error| Error::Unreadable(error.to_string()))?;
        Ok(Self { told, body })
    }
}
