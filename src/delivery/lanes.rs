//! All lanes, one a meter: begins them, sets them otherwise, ends those of meters that are gone.
//!
//! A meter never has two lanes at one time: one that comes back gets the lane that is still ending,
//! or a new one behind its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::lane::{Lane, Setup};
use super::{Misfit, Phase, Settings, request};
use crate::clock::Timestamp;
use crate::meter::Meter;
use crate::settlement::Posting;
use crate::store;
use crate::store::reader::Reader;
use crate::telemetry::Vitals;
use crate::tenant::Tenant;
use crate::tenant::gate::Gate;

/// The lanes and what they share.
#[derive(Debug)]
pub struct Lanes {
    /// The lanes, and who watches the store.
    tasks: JoinSet<()>,
    /// By meter; those of meters that are gone stay, because the server's wishes do.
    seats: BTreeMap<Arc<str>, Seat>,
    /// None: there will be no further lane.
    supplies: Option<Supplies>,
}

/// The place of one meter's lane.
#[derive(Debug, Default)]
struct Seat {
    /// How the lane works; none: it has to end, because its meter is gone.
    setup: watch::Sender<Option<Setup>>,
    /// Closed for as long as the server asked.
    gate: Arc<Gate>,
}

/// What a new lane needs.
#[derive(Debug)]
struct Supplies {
    sender: request::Sender,
    reader: Arc<Mutex<Reader>>,
    written: watch::Receiver<i64>,
    misfit: Misfit,
    vitals: Arc<Vitals>,
}

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
    pub phase: &'p watch::Receiver<Phase>,
    /// Judges what was validated with another edition of the schema.
    pub misfit: Misfit,
    /// Told that lanes make progress.
    pub vitals: &'p Arc<Vitals>,
}

impl Lanes {
    /// Starts a lane for each of `meters`; they end as `phase` says. What the server asked for
    /// before a restart is read from the store and obeyed.
    pub fn start(
        settings: &Settings,
        meters: &[Arc<Meter>],
        parts: Parts<'_>,
    ) -> Result<Self, store::Error> {
        let Parts { tenant, reader, postings, phase, misfit, vitals } = parts;
        let (waits, now) = (reader.waits()?, Timestamp::now());
        let mut tasks = JoinSet::new();
        tenant.budget.pause(now.until(waits.tenant));
        let reader = Arc::new(Mutex::new(reader));
        let written = super::watch::start(Arc::clone(&reader), &mut tasks);
        let sender = request::Sender {
            tenant: tenant.clone(),
            gate: Arc::default(),
            postings: postings.clone(),
            phase: phase.clone(),
            retry_after_max: settings.tenant.retry_after_max,
        };
        let supplies = Supplies { sender, reader, written, misfit, vitals: Arc::clone(vitals) };
        let mut lanes = Self { tasks, seats: BTreeMap::new(), supplies: Some(supplies) };
        for (name, until) in waits.meters {
            lanes.seats.entry(name.into()).or_default().gate.close_for(now.until(until));
        }
        for meter in meters {
            let seat = lanes.seats.entry(Arc::clone(&meter.name)).or_default();
            seat.gate.close_for(now.until(waits.tenant));
            seat.setup.send_replace(Some(Setup::new(settings, Arc::clone(meter))));
        }
        lanes.revive();
        Ok(lanes)
    }

    /// Waits for the next lane to end; none: all have, and there will be no further one.
    pub async fn join_next(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.tasks.join_next().await;
        self.revive();
        ended
    }

    /// Sends by `settings` from now on. Each of `meters` has a lane behind this; holds end.
    pub fn renew(&mut self, settings: &Settings, meters: &[Arc<Meter>]) {
        let Some(supplies) = &mut self.supplies else { return };
        supplies.sender.retry_after_max = settings.tenant.retry_after_max;
        for meter in meters {
            let setup = Setup::new(settings, Arc::clone(meter));
            let seat = self.seats.entry(Arc::clone(&meter.name)).or_default();
            seat.setup.send_replace(Some(setup));
        }
        self.revive();
    }

    /// Ends the lanes of meters that are not among `meters`.
    pub fn retain(&mut self, meters: &[Arc<Meter>]) {
        for (name, seat) in &self.seats {
            if meters.iter().all(|meter| meter.name != *name) {
                seat.setup.send_replace(None);
            }
        }
    }

    /// No lane comes any more: those that are there end as their phase says.
    pub fn close(&mut self) {
        self.supplies = None;
    }

    /// Begins the lanes of meters that came, or came back while their lanes ended.
    fn revive(&mut self) {
        let Some(supplies) = &self.supplies else { return };
        for seat in self.seats.values().filter(|seat| seat.setup.is_closed()) {
            let setup = seat.setup.borrow().clone();
            if let Some(setup) = setup {
                let pulse = supplies.vitals.stage(&format!("lane/{}", setup.meter_name()));
                self.tasks.spawn(supplies.lane(seat, setup).run(pulse));
            }
        }
    }
}

impl Supplies {
    fn lane(&self, seat: &Seat, setup: Setup) -> Lane {
        let sender = request::Sender { gate: Arc::clone(&seat.gate), ..self.sender.clone() };
        let reader = Arc::clone(&self.reader);
        Lane::new(setup, seat.setup.subscribe(), sender, reader, self.written.clone(), self.misfit)
    }
}
