//! Carries batches from the store to Mediation.
//!
//! One [`lane`] a meter sends the oldest batches; all lanes share one [`tenant`]. Promises:
//! a batch leaves the store only by a committed receipt; a repeat carries the same bytes and the
//! same track id; an outcome that is not known is on record before the batch is sent again;
//! with `on_unknown = hold` it is not sent again by itself. Never: drops a batch, follows a
//! redirect, or delays one meter for another.

pub mod lane;
pub mod refusal;
pub mod request;
pub mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use crate::body::CutError;
use crate::clock::Timestamp;
use crate::meter::Meter;
use crate::schema::edition::Edition;
use crate::settlement::Posting;
use crate::store;
use crate::store::reader::Reader;
use crate::tenant::gate::Gate;
use crate::tenant::{self, Connection, Tenant, transport};
use lane::Lane;

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

/// What lanes need beside their meters.
#[derive(Debug)]
pub struct Parts<'p> {
    /// The far end.
    pub tenant: &'p Tenant,
    /// Of the store.
    pub reader: Reader,
    /// To the committer.
    pub postings: &'p Sender<Posting>,
    /// How far the end has come.
    pub phase: &'p Receiver<Phase>,
    /// Judges what was validated with another edition of the schema.
    pub misfit: Misfit,
}

/// Starts a lane for each of `meters`; they end as the phase says. What the server asked for before
/// a restart is read from the store and obeyed.
pub fn start(
    settings: &Settings,
    meters: &[Arc<Meter>],
    parts: Parts<'_>,
) -> Result<JoinSet<()>, store::Error> {
    let Parts { tenant, reader, postings, phase, misfit } = parts;
    let (waits, now) = (reader.waits()?, Timestamp::now());
    let mut lanes = JoinSet::new();
    tenant.budget.pause(now.until(waits.tenant));
    let reader = Arc::new(Mutex::new(reader));
    let written = watch::start(Arc::clone(&reader), &mut lanes);
    for meter in meters {
        let not_before =
            waits.meters.get(&*meter.name).map_or(waits.tenant, |own| waits.tenant.max(*own));
        let lane = Lane::new(
            settings,
            Arc::clone(meter),
            request::Sender {
                tenant: tenant.clone(),
                gate: Arc::new(Gate::default()),
                postings: postings.clone(),
                phase: phase.clone(),
                retry_after_max: settings.tenant.retry_after_max,
            },
            Arc::clone(&reader),
            written.clone(),
            misfit,
        );
        lanes.spawn(lane.run(now.until(not_before)));
    }
    Ok(lanes)
}

#[cfg(test)]
mod tests;
