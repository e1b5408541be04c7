//! What becomes of a batch that Mediation refused for its size or for some of its events.
//!
//! It is cut in halves, which are sent on their own: of k events with n wrong ones, those n are
//! alone after about n log k requests, and all the others are delivered. A single event that is
//! refused is a dead letter with Mediation's code and words.

use std::sync::Arc;

use super::request::Parcel;
use crate::body::{self, CutError, Fields};
use crate::clock::Timestamp;
use crate::dead_letter::{DeadLetter, Reason};
use crate::group::PackedBatch;
use crate::mediation::answer::Words;
use crate::meter::Meter;
use crate::settlement::Settlement;

/// The gzip level of halves: they are few, and the default is good enough.
const LEVEL: u32 = 2;

/// What takes the place of the batch in `parcel`.
pub fn settlement(
    meter: &Meter,
    parcel: &Parcel,
    is_too_large: bool,
    words: &Words,
) -> Result<Settlement, CutError> {
    let batch = parcel.head.id;
    let fields =
        Fields { id: meter.event_id_field.as_deref(), quantity: meter.quantity_field.as_deref() };
    let payload_bytes = parcel.head.payload_bytes;
    if parcel.head.events > 1 {
        let halves = body::halves(&parcel.body, payload_bytes, fields, LEVEL)?;
        let packed = halves.into_iter().map(|half| PackedBatch {
            meter: Arc::clone(&meter.name),
            schema: parcel.head.schema,
            body: half.body.bytes,
            sha256: half.body.sha256,
            events: half.body.events,
            payload_bytes: half.body.payload_bytes,
            first_event_id: half.first_id,
            last_event_id: half.last_id,
            quantity: half.quantity,
        });
        return Ok(Settlement::Split { batch, halves: packed.collect() });
    }
    let event = body::event_at(&parcel.body, payload_bytes, fields, 0)?;
    let reason = if is_too_large { Reason::EventTooLarge } else { Reason::Refused };
    let letter = DeadLetter {
        meter: Arc::clone(&meter.name),
        // Filled in from the batch, where it is stored.
        source: "".into(),
        position: event.id.clone().unwrap_or_else(|| parcel.head.track_id.clone()),
        reason,
        field: None,
        detail: format!("Mediation: {words}"),
        code: words.code.clone(),
        event_id: event.id,
        event: event.bytes,
    };
    Ok(Settlement::Refused { batch, letter, at: Timestamp::now() })
}
