//! A line, where it stands, and the dead letter that it may become.

use std::sync::Arc;

use crate::chunk::{LineFault, Stream};
use crate::dead_letter::{DeadLetter, Reason};
use crate::meter::Meter;
use crate::pack::validate::Refusal;
use crate::position::event_id;

/// A line, or the event that was made of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'g> {
    pub(super) bytes: &'g [u8],
    pub(super) stream: &'g Stream,
    pub(super) position: u64,
}

impl Line<'_> {
    fn dead_letter(
        &self,
        meter: Arc<str>,
        reason: Reason,
        field: Option<String>,
        detail: String,
    ) -> DeadLetter {
        let event = self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes);
        DeadLetter {
            meter,
            source: Arc::clone(&self.stream.source.name),
            position: self.stream.describe(self.position),
            reason,
            field,
            detail,
            code: None,
            event_id: Some(event_id(self.stream.origin, self.position)),
            event: event.strip_suffix(b"\r").unwrap_or(event).to_vec(),
        }
    }

    pub(super) fn refused(&self, meter: Arc<str>, refusal: Refusal) -> DeadLetter {
        self.dead_letter(meter, refusal.reason, refusal.field, refusal.detail)
    }

    pub(super) fn too_large(&self, meter: &Meter) -> DeadLetter {
        let detail = format!(
            "the event has {} bytes, a request of this meter holds at most {}",
            self.bytes.len(),
            meter.limits.payload_bytes_max
        );
        self.dead_letter(Arc::clone(&meter.name), Reason::EventTooLarge, None, detail)
    }

    /// A line that could not be read as one.
    pub(super) fn faulty(&self, meter: Arc<str>, fault: &LineFault) -> DeadLetter {
        let found = match fault.reason {
            Reason::PartialLine => "the input ended within the line",
            Reason::Unparsable => "the message has a line end in it",
            _ => "the line is longer than line_bytes_max",
        };
        let detail = format!("{found}; it has {} bytes", fault.length);
        let letter = self.dead_letter(meter, fault.reason, None, detail);
        DeadLetter { event: fault.excerpt.clone(), ..letter }
    }
}
