//! What is made of the events of one meter: its checks, its stamps, and the body that grows.

use std::sync::Arc;

use super::Counts;
use super::line::Line;
use crate::body::{ArrayWriter, Body, Error};
use crate::group::PackedBatch;
use crate::meter::Meter;
use crate::pack::event_id::Stamp;
use crate::pack::validate::{Checked, Validator};
use crate::position::{Origin, event_id};
use crate::quantity::Quantity;

/// Checks the events of one meter and writes them into bodies.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) meter: Arc<Meter>,
    pub(super) validator: Validator,
    /// Of the lines that are or were to be its events, since they were asked for last.
    pub(super) counts: Counts,
    array: ArrayWriter,
    events_max: u32,
    ends: Ends,
    quantity: QuantitySum,
    /// For the stream of the last event, where the meter wants ids.
    stamp: Option<(Origin, Stamp)>,
    sealed: Vec<PackedBatch>,
}

/// The ids at both ends of the array that is being written.
#[derive(Debug, Default)]
struct Ends {
    first: Option<String>,
    /// The stream and position of the last event.
    last: Option<(Origin, u64)>,
    /// The id that the last event brought itself; empty when it was stamped.
    last_own: Vec<u8>,
}

/// What the events of the array that is being written sum up to.
#[derive(Debug, Default)]
struct QuantitySum {
    sum: Quantity,
    /// Some quantity is no number, or has more digits than can be summed.
    is_unknown: bool,
}

/// Why an attempt ended.
pub(super) enum Stopped {
    /// A body came out larger than the wire allows.
    TooLarge,
    /// Compression failed.
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Writer {
    /// A writer of `meter` whose bodies have at most `events_max` events.
    pub(super) fn new(
        meter: Arc<Meter>,
        validator: Validator,
        mut array: ArrayWriter,
        events_max: u32,
    ) -> Self {
        array.begin();
        Self {
            meter,
            validator,
            counts: Counts::default(),
            array,
            events_max,
            ends: Ends::default(),
            quantity: QuantitySum::default(),
            stamp: None,
            sealed: Vec::new(),
        }
    }

    /// Writes one good event. False: it alone is larger than a request may be, and is left out.
    #[inline]
    pub(super) fn add(&mut self, line: &Line<'_>, checked: Checked) -> Result<bool, Stopped> {
        self.set_stamp(line.stream.origin);
        let payload_bytes_max = self.meter.limits.payload_bytes_max as u64;
        self.write(line, checked);
        if self.array.payload_bytes() > payload_bytes_max {
            self.array.cancel_event();
            if self.array.events() > 0 {
                self.seal()?;
            }
            self.write(line, checked);
            if self.array.payload_bytes() > payload_bytes_max {
                self.array.cancel_event();
                return Ok(false);
            }
        }
        self.array.end_event()?;
        if let Some((start, end)) = self.validator.quantity() {
            self.quantity.add(line.bytes.get(start..end).unwrap_or_default());
        }
        if self.stamp.is_some() {
            self.ends.note(line, checked);
        }
        if self.array.events() >= self.events_max {
            self.seal()?;
        }
        Ok(true)
    }

    #[inline]
    fn set_stamp(&mut self, origin: Origin) {
        let Some(name) = &self.meter.event_id_field else { return };
        if self.stamp.as_ref().is_none_or(|(known, _)| *known != origin) {
            self.stamp = Some((origin, Stamp::new(name, origin)));
        }
    }

    /// Appends the event as it goes out.
    #[inline]
    fn write(&mut self, line: &Line<'_>, checked: Checked) {
        let out = self.array.begin_event();
        let edits = self.validator.edits();
        if checked.drops_members {
            out.push(b'{');
            for (index, &(start, end)) in self.validator.kept().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                edits.copy(line.bytes, (start, end), out);
            }
        } else {
            edits.copy(line.bytes, (checked.start, checked.close), out);
        }
        match (&self.stamp, checked.id) {
            (Some((_, stamp)), None) => stamp.write(out, checked.has_members, line.position),
            _ => out.push(b'}'),
        }
    }

    /// Ends the array that is being written and begins the next.
    fn seal(&mut self) -> Result<(), Stopped> {
        let Body { bytes, sha256, events, payload_bytes } = self.array.finish()?;
        self.array.begin();
        // A single event cannot be cut; the endpoint's answer decides about it.
        if bytes.len() > self.meter.limits.compressed_bytes_max && events > 1 {
            return Err(Stopped::TooLarge);
        }
        let ends = std::mem::take(&mut self.ends);
        let quantity = std::mem::take(&mut self.quantity);
        self.sealed.push(PackedBatch {
            meter: Arc::clone(&self.meter.name),
            schema: self.validator.edition().hash,
            body: bytes,
            sha256,
            events,
            payload_bytes,
            last_event_id: ends.last(),
            first_event_id: ends.first,
            quantity: quantity.known().filter(|_| self.validator.sums()),
        });
        Ok(())
    }

    /// Seals what is left and adds its bodies to `batches`.
    pub(super) fn finish(&mut self, batches: &mut Vec<PackedBatch>) -> Result<(), Stopped> {
        if self.array.events() > 0 {
            self.seal()?;
        }
        batches.append(&mut self.sealed);
        Ok(())
    }

    /// What can be used again, for another group.
    pub(super) fn into_parts(self) -> (Arc<Meter>, Validator, ArrayWriter) {
        (self.meter, self.validator, self.array)
    }
}

impl QuantitySum {
    #[inline]
    fn add(&mut self, number: &[u8]) {
        match Quantity::read(number).and_then(|quantity| self.sum.plus(quantity)) {
            Some(sum) => self.sum = sum,
            None => self.is_unknown = true,
        }
    }

    fn known(self) -> Option<Quantity> {
        (!self.is_unknown).then_some(self.sum)
    }
}

impl Ends {
    #[inline]
    fn note(&mut self, line: &Line<'_>, checked: Checked) {
        self.last = Some((line.stream.origin, line.position));
        self.last_own.clear();
        if let Some((start, end)) = checked.id {
            self.last_own.extend_from_slice(line.bytes.get(start..end).unwrap_or_default());
        }
        if self.first.is_none() {
            self.first = self.last();
        }
    }

    fn last(&self) -> Option<String> {
        let (origin, position) = self.last?;
        if self.last_own.is_empty() {
            return Some(event_id(origin, position));
        }
        let own = String::from_utf8_lossy(&self.last_own);
        // Strings without their quotes, numbers as they are.
        Some(serde_json::from_str(&own).unwrap_or_else(|_| own.into_owned()))
    }
}
