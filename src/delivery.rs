//! Carries batches from the store to Mediation.
//!
//! One [`lane`] a meter sends the oldest batches; all lanes share one [`tenant`]. Promises:
//! a batch leaves the store only by a committed receipt; a repeat carries the same bytes and the
//! same track id; an outcome that is not known is on record before the batch is sent again;
//! with `on_unknown = hold` it is not sent again by itself. Never: drops a batch, follows a
//! redirect, or delays one meter for another.

pub mod lane;
pub mod lanes;
pub mod refusal;
pub mod request;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::body::CutError;
use crate::meter::Meter;
use crate::schema::edition::Edition;
use crate::tenant::{self, Connection, transport};

/// The settings of delivery to one tenant.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tenant.
    pub tenant: tenant::Settings,
    /// How often a held meter is tried again. Default 60 s.
    pub hold_interval: Duration,
    /// What becomes of a batch that Mediation may have.
    pub on_unknown: OnUnknown,
}

/// What becomes of a batch when nobody knows whether Mediation has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// It is sent again, with the same bytes under the same track id.
    #[default]
    Resend,
    /// Nothing of its meter is sent until a person has decided.
    Hold,
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

/// The client of the tenant, for `meters`. What can fail of delivery fails here, before anything is
/// sent.
pub fn connect(settings: &Settings, meters: &[Arc<Meter>]) -> Result<Connection, transport::Error> {
    Connection::new(&settings.tenant, meters.iter().map(|meter| meter.upload_url.as_str()))
}

/// Says why the body of `payload_bytes` does not fit an edition of the meter's schema; none: it fits.
pub type Misfit = fn(&Meter, &Arc<Edition>, &[u8], u64) -> Result<Option<String>, CutError>;

#[cfg(test)]
mod tests;
