//! Holds the lane while what is stored does not fit the schema that is in force.
//!
//! What does not fit would be taken with a 200 and refused afterwards, where nobody sees it. A batch
//! carries the hash of the schema that its events were validated with; one with another hash is
//! judged before it is sent. So nothing has to be remembered over a restart.

use std::sync::Arc;

use tokio::sync::watch;

use super::Lane;
use crate::delivery::Misfit;
use crate::delivery::request::Parcel;
use crate::meter::Meter;
use crate::schema::edition::Edition;
use crate::settlement::LaneState;

/// Why a meter waits whose schema was never fetched.
const NO_SCHEMA: &str = "its schema has not come with the export yet: nothing can be validated";

/// What a lane knows of the schema of its meter.
#[derive(Debug)]
pub(super) struct Contract {
    editions: watch::Receiver<Option<Arc<Edition>>>,
    /// Whether the schema may change at all.
    is_exported: bool,
    misfit: Misfit,
    /// Why nothing is sent.
    broken: Option<String>,
    /// There is another edition since: what is stored may fit it.
    judges: bool,
    /// The edition that was looked at last.
    seen: Option<Arc<Edition>>,
}

impl Contract {
    pub(super) fn new(meter: &Meter, misfit: Misfit) -> Self {
        let mut editions = meter.schema.changes();
        // What is in force at the start has to be looked at as well.
        editions.mark_changed();
        let is_exported = meter.schema.refresh().is_some();
        Self { editions, is_exported, misfit, broken: None, judges: false, seen: None }
    }

    /// The same for `meter` as it is set now.
    pub(super) fn renewed(&self, meter: &Meter) -> Self {
        Self::new(meter, self.misfit)
    }

    /// Why nothing is sent.
    pub(super) const fn broken(&self) -> Option<&String> {
        self.broken.as_ref()
    }

    /// Whether nothing would come of a look at what is stored.
    pub(super) const fn is_settled(&self) -> bool {
        self.broken.is_some() && !self.judges
    }

    /// Returns when the schema has changed and nobody has looked.
    pub(super) async fn changed(&self) {
        let mut editions = self.editions.clone();
        if !self.is_exported || editions.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Lane {
    /// Looks at the schema, if it has changed. What is stored is judged again before it is sent.
    pub(super) fn look_at_schema(&mut self) {
        let contract = &mut self.contract;
        if !contract.is_exported || !contract.editions.has_changed().unwrap_or(false) {
            return;
        }
        contract.seen.clone_from(&contract.editions.borrow_and_update());
        contract.judges = true;
        match contract.seen.clone() {
            // Who fetches it tells why it does not come.
            None => self.break_off(NO_SCHEMA.to_owned()),
            Some(edition) => {
                if let Some(flaw) = edition.flaw.clone() {
                    self.hold_for_schema(flaw);
                }
            }
        }
    }

    /// The parcel, if it may be sent as far as the schema is concerned. If not, it is kept, and the
    /// lane is held.
    pub(super) async fn fitting(&mut self, parcel: Parcel) -> Option<Parcel> {
        let Some(edition) = self.contract.seen.clone().filter(|_| self.contract.is_exported) else {
            return Some(parcel);
        };
        let reason =
            if parcel.fits == edition.hash { None } else { self.misfit(&edition, &parcel).await };
        let Some(reason) = reason else {
            self.go_on();
            return Some(Parcel { fits: edition.hash, ..parcel });
        };
        let batch = &parcel.head.track_id;
        let reason =
            format!("the schema has changed, what is stored does not fit: batch {batch}: {reason}");
        self.keep(parcel);
        self.hold_for_schema(reason);
        None
    }

    async fn misfit(&self, edition: &Arc<Edition>, parcel: &Parcel) -> Option<String> {
        let (meter, misfit) = (Arc::clone(&self.meter), self.contract.misfit);
        let (edition, parcel) = (Arc::clone(edition), parcel.clone());
        // Decompressing and parsing are not for the runtime's threads.
        let judged = tokio::task::spawn_blocking(move || {
            misfit(&meter, &edition, &parcel.body, parcel.head.payload_bytes)
        });
        match judged.await {
            Ok(Ok(misfit)) => misfit,
            Ok(Err(damaged)) => Some(damaged.to_string()),
            // The judging thread was cancelled: the runtime ends.
            Err(_) => Some("it was not judged".to_owned()),
        }
    }

    fn hold_for_schema(&mut self, reason: String) {
        if self.contract.broken.as_ref() != Some(&reason) {
            let meter = &*self.meter.name;
            tracing::error!(meter, reason, "meter held: a person is needed");
        }
        self.break_off(reason);
    }

    fn break_off(&mut self, reason: String) {
        self.contract.judges = false;
        if self.contract.broken.as_ref() != Some(&reason) {
            self.sender.note(self.state(LaneState::Held, reason.clone()));
            self.contract.broken = Some(reason);
        }
    }

    /// Ends a hold for the schema: what is stored fits, or nothing is.
    pub(super) fn go_on(&mut self) {
        let Some(reason) = self.contract.broken.take() else { return };
        let meter = &*self.meter.name;
        if reason != NO_SCHEMA {
            tracing::info!(meter, "what is stored fits the schema, the meter goes on");
        }
        self.trouble = None;
        let state = match self.undecided.clone() {
            Some(undecided) => self.state(LaneState::Held, undecided),
            None => self.state(LaneState::Running, String::new()),
        };
        self.sender.note(state);
    }
}
