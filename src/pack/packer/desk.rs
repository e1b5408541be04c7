//! Where one group is packed: a writer for each meter that has had a line of it.

use std::collections::HashMap;
use std::sync::Arc;

use super::Counts;
use super::writer::{Stopped, Writer};
use crate::body::ArrayWriter;
use crate::clock::Timestamp;
use crate::group::{PackedBatch, SourceTally};
use crate::meter::Meter;
use crate::pack::validate::Validator;
use crate::routing::Destination;

/// What writers are made of, used again for every group.
#[derive(Debug)]
pub(super) struct Supplies {
    level: u32,
    /// As many as one group has had meters: one, where no source has a choice.
    arrays: Vec<ArrayWriter>,
    /// By meter, with the meter as it was when its validator was made.
    validators: HashMap<Arc<str>, (Arc<Meter>, Validator)>,
}

/// The writers of one group.
#[derive(Debug)]
pub(super) struct Desk<'d> {
    supplies: &'d mut Supplies,
    destination: &'d Destination,
    /// In the order of the destination's meters.
    writers: Vec<Option<Writer>>,
    /// Of lines of which no meter is known.
    unrouted: Counts,
    events_max: u32,
    now: Timestamp,
}

impl Supplies {
    pub(super) fn new(level: u32) -> Self {
        Self { level, arrays: Vec::new(), validators: HashMap::new() }
    }
}

impl<'d> Desk<'d> {
    /// A desk for a group with this destination.
    pub(super) fn new(
        supplies: &'d mut Supplies,
        destination: &'d Destination,
        events_max: u32,
        now: Timestamp,
    ) -> Self {
        let writers = destination.meters().iter().map(|_| None).collect();
        Self { supplies, destination, writers, unrouted: Counts::default(), events_max, now }
    }

    /// The writer of the meter with this index.
    #[inline]
    pub(super) fn writer(&mut self, index: usize) -> &mut Writer {
        let Self { supplies, destination, events_max, now, .. } = self;
        // Indices come from the destination itself.
        self.writers[index].get_or_insert_with(|| {
            let meter = &destination.meters()[index];
            let edition = meter.schema.or_open();
            // The schema may have changed since the group before, and a reload the meter.
            let known = supplies.validators.remove(&meter.name);
            let known = known.filter(|(known, validator)| {
                Arc::ptr_eq(known, meter) && Arc::ptr_eq(validator.edition(), &edition)
            });
            let known = known.map(|(_, validator)| validator);
            let mut validator = known.unwrap_or_else(|| Validator::of(meter, edition));
            validator.set_now(*now);
            let idle = supplies.arrays.pop();
            let array = idle.unwrap_or_else(|| ArrayWriter::new(supplies.level));
            Writer::new(Arc::clone(meter), validator, array, *events_max)
        })
    }

    /// Counts the lines of the meter with this index, or those of no meter.
    pub(super) fn counts(&mut self, meter: Option<usize>) -> &mut Counts {
        match meter {
            Some(index) => &mut self.writer(index).counts,
            None => &mut self.unrouted,
        }
    }

    /// The name of the meter with this index, or of none.
    pub(super) fn name(&self, meter: Option<usize>) -> Arc<str> {
        let meter = meter.and_then(|index| self.destination.meters().get(index));
        meter.map(|meter| Arc::clone(&meter.name)).unwrap_or_default()
    }

    /// The meter of lines that name none yet.
    pub(super) fn before_routing(&self) -> Option<usize> {
        match self.destination {
            Destination::Meter(_) => Some(0),
            Destination::Routed(_) => None,
        }
    }

    /// Adds what was counted since the last call, which is of `source`, to `tallies`.
    pub(super) fn settle(&mut self, source: &Arc<str>, tallies: &mut Vec<SourceTally>) {
        let unrouted = std::mem::take(&mut self.unrouted);
        add(tallies, source, &Arc::default(), unrouted);
        for writer in self.writers.iter_mut().flatten() {
            let counts = std::mem::take(&mut writer.counts);
            add(tallies, source, &writer.meter.name, counts);
        }
    }

    /// Seals every body and adds them to `batches`; what lies here can be used again.
    pub(super) fn clear(self, batches: &mut Vec<PackedBatch>) -> Result<(), Stopped> {
        let mut finished = Ok(());
        for mut writer in self.writers.into_iter().flatten() {
            finished = finished.and(writer.finish(batches));
            let (meter, validator, array) = writer.into_parts();
            let name = Arc::clone(&meter.name);
            self.supplies.validators.insert(name, (meter, validator));
            self.supplies.arrays.push(array);
        }
        finished
    }
}

fn add(tallies: &mut Vec<SourceTally>, source: &Arc<str>, meter: &Arc<str>, counts: Counts) {
    let Counts { read, dead_lettered, ignored } = counts;
    if read == 0 {
        return;
    }
    let is_same = |known: &&mut SourceTally| known.source == *source && known.meter == *meter;
    if let Some(known) = tallies.iter_mut().find(is_same) {
        known.read += read;
        known.dead_lettered += dead_lettered;
        known.ignored += ignored;
        return;
    }
    let (source, meter) = (Arc::clone(source), Arc::clone(meter));
    tallies.push(SourceTally { source, meter, read, dead_lettered, ignored });
}
