//! What a lane reads of the store: its next batch, and whether a person has to decide before it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Lane;
use crate::clock::Timestamp;
use crate::delivery::request::Parcel;
use crate::settlement::{BatchId, LaneState, Settlement};
use crate::store;
use crate::store::decisions::Undecided;
use crate::store::reader::Reader;

/// After a store error, reading is tried again so much later.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// So many batches that nobody has decided about are told by name.
const UNDECIDED_NAMED_MAX: u32 = 5;

/// Tells that events of `meter`, which is not configured any more, wait.
pub fn stranger(meter: &str) -> Settlement {
    tracing::error!(meter, "events of a meter wait that is not configured any more");
    Settlement::Lane {
        meter: meter.into(),
        state: LaneState::Held,
        reason: "the meter is not configured any more".into(),
        at: Timestamp::now(),
    }
}

impl Lane {
    /// The oldest batch that is not under way.
    pub(super) async fn next(&mut self) -> Option<Parcel> {
        while let Some(parcel) = self.waiting.pop_front() {
            let batch = parcel.head.id;
            // A person may have decided about it since it was sent.
            match self.read(move |reader| reader.batch(batch)).await {
                Some(Some(head)) => return Some(Parcel { head, ..parcel }),
                Some(None) => {}
                None => {
                    self.keep(parcel);
                    return None;
                }
            }
        }
        if self.is_exhausted {
            return None;
        }
        let (name, after) = (Arc::clone(&self.meter.name), self.after);
        let Some((head, body)) = self.read(move |reader| reader.next_batch(&name, after)).await?
        else {
            self.is_exhausted = true;
            return None;
        };
        self.after = head.id;
        let fits = head.schema;
        Some(Parcel { head, body, unexplained: 0, fits })
    }

    /// Keeps `parcel` for later.
    pub(super) fn keep(&mut self, parcel: Parcel) {
        let place = self.waiting.partition_point(|other| other.head.id < parcel.head.id);
        self.waiting.insert(place, parcel);
    }

    /// Reads the store; none when it cannot be read, which is tried again later.
    async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Reader) -> Result<T, store::Error> + Send + 'static,
    ) -> Option<T> {
        let reader = Arc::clone(&self.reader);
        // The disk is not waited for on the runtime's threads.
        let result = tokio::task::spawn_blocking(move || {
            read(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match result.await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) if error.is_damage() => {
                self.fail(LaneState::Held, &error.to_string(), self.timing.hold_interval);
                None
            }
            Ok(Err(error)) => {
                if self.unreadable.is_due(std::time::Instant::now()) {
                    tracing::error!(meter = &*self.meter.name, %error, "failed to read the store");
                }
                self.pause(LaneState::Retrying, STORE_PAUSE);
                None
            }
            // The reading thread was cancelled: the runtime ends.
            Err(_) => None,
        }
    }

    /// Tells what is left of a meter that is gone.
    pub(super) async fn take_leave(&mut self) {
        let name = Arc::clone(&self.meter.name);
        let read = move |reader: &Reader| reader.next_batch(&name, BatchId(0));
        match self.read(read).await {
            Some(Some(_)) => self.sender.note(stranger(&self.meter.name)),
            _ => self.sender.note(self.state(LaneState::Running, String::new())),
        }
    }

    /// Looks for batches that Mediation may have and that nobody has decided about.
    pub(super) async fn look(&mut self) {
        let name = Arc::clone(&self.meter.name);
        let read = move |reader: &Reader| reader.undecided(&name, UNDECIDED_NAMED_MAX);
        let Some(Undecided { count, track_ids }) = self.read(read).await else { return };
        self.looks = false;
        let meter = &*self.meter.name;
        if count == 0 {
            if self.undecided.take().is_some() {
                tracing::info!(meter, "every open outcome is decided, the meter goes on");
                self.trouble = None;
                let state = match self.contract.broken().cloned() {
                    Some(broken) => self.state(LaneState::Held, broken),
                    None => self.state(LaneState::Running, String::new()),
                };
                self.sender.note(state);
            }
            return;
        }
        let more = if count > track_ids.len() as u64 { " ..." } else { "" };
        let reason = format!(
            "nobody knows whether Mediation has {count} batches: {}{more}; nothing is sent before \
             `meterd batches resend` or `meterd batches confirm` decides about each",
            track_ids.join(", ")
        );
        if self.undecided.as_ref() == Some(&reason) {
            return;
        }
        if self.undecided.is_none() {
            // Once when it begins, not for each batch that joins.
            tracing::error!(meter, reason, "meter held: a person is needed");
        }
        self.sender.note(self.state(LaneState::Held, reason.clone()));
        self.undecided = Some(reason);
    }
}
