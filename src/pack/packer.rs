//! A pure function from a group of lines to what its commit writes.
//!
//! Every line of the group becomes an event in a body or a dead letter; blank lines, and those that
//! the mapping of their source passes over, are counted as ignored. The same group at the same
//! instant gives the same bytes.

mod mapped;

mod request;

use std::collections::HashMap;
use std::sync::Arc;

use self::mapped::MappedLines;
use super::event_id::{Stamp, event_id};
use super::mapper::Mapper;
use super::validate::{Checked, Refusal, Validator};
use crate::body::{ArrayWriter, Body, Error};
use crate::chunk::{Content, LineFault, Stream};
use crate::clock::Timestamp;
use crate::dead_letter::{DeadLetter, Reason};
use crate::group::{Group, PackedBatch, PackedGroup, Slice, SourceTally};
use crate::meter::Meter;
use crate::notice::{Notice, Request};
use crate::position::{Cursor, FileMark, Numbering, Origin};

/// Packs groups, one at a time. Its buffers are used again: a good event costs no allocation.
#[derive(Debug)]
pub struct Packer {
    array: ArrayWriter,
    ends: Ends,
    /// By meter, with the meter as it was when its validator was made.
    validators: HashMap<Arc<str>, (Arc<Meter>, Validator)>,
    /// By source; of those that have a mapping.
    mappers: HashMap<Arc<str>, Mapper>,
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

/// What has become of the lines so far.
#[derive(Debug, Default)]
struct Outcome {
    batches: Vec<PackedBatch>,
    dead_letters: Vec<DeadLetter>,
    tallies: Vec<SourceTally>,
}

/// Why an attempt ended.
enum Stopped {
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

/// A line, where it stands, and what it becomes part of.
struct Line<'g> {
    bytes: &'g [u8],
    stream: &'g Stream,
    position: u64,
    meter: &'g Meter,
    stamp: Option<&'g Stamp>,
}

impl Packer {
    /// A packer that compresses at gzip `level`.
    pub fn new(level: u32) -> Self {
        Self {
            array: ArrayWriter::new(level),
            ends: Ends::default(),
            validators: HashMap::new(),
            mappers: HashMap::new(),
        }
    }

    /// Packs `group`; the ages of its events are measured at `now`.
    pub fn pack(&mut self, group: &Group, now: Timestamp) -> Result<PackedGroup, Error> {
        let meter = &group.meter;
        let edition = meter.schema.or_open();
        // The schema may have changed since the group before, and a reload the meter.
        let known = self.validators.remove(&meter.name);
        let known = known.filter(|(known, validator)| {
            Arc::ptr_eq(known, meter) && Arc::ptr_eq(validator.edition(), &edition)
        });
        let known = known.map(|(_, validator)| validator);
        let mut validator = known.unwrap_or_else(|| Validator::of(meter, edition));
        validator.set_now(now);
        let mut events_max = meter.limits.events_per_request_max.max(1);
        let outcome = loop {
            // How well events compress is known afterwards: what is too large for the wire is
            // packed again in smaller parts.
            match self.attempt(group, &mut validator, events_max) {
                Ok(outcome) => break outcome,
                Err(Stopped::TooLarge) => events_max = (events_max / 2).max(1),
                Err(Stopped::Failed(error)) => return Err(error),
            }
        };
        let schema = validator.edition().hash;
        self.validators.insert(Arc::clone(&meter.name), (Arc::clone(meter), validator));
        Ok(PackedGroup {
            number: group.number,
            meter: Arc::clone(meter),
            schema,
            batches: outcome.batches,
            dead_letters: outcome.dead_letters,
            cursors: cursors(&group.slices),
            tallies: outcome.tallies,
            permits: group.slices.iter().filter_map(|slice| slice.chunk.permit.clone()).collect(),
            notices: notices(&group.slices),
        })
    }

    fn attempt(
        &mut self,
        group: &Group,
        validator: &mut Validator,
        events_max: u32,
    ) -> Result<Outcome, Stopped> {
        let mut outcome = Outcome::default();
        self.array.begin();
        self.ends = Ends::default();
        for slice in &group.slices {
            if !request::may_be_packed(slice, &group.meter, validator) {
                continue;
            }
            let stream = &slice.chunk.stream;
            let stamp = group.meter.event_id_field.as_ref();
            let stamp = stamp.map(|name| Stamp::new(name, stream.origin));
            let mut tally = SourceTally::of(&stream.source.name, u64::from(slice.lines));
            match &slice.chunk.content {
                Content::Lines(lines) => {
                    let bytes = lines.get(slice.range.clone()).unwrap_or_default();
                    let lines = Line {
                        bytes,
                        stream,
                        position: slice.first,
                        meter: &group.meter,
                        stamp: stamp.as_ref(),
                    };
                    if let Some(mapping) = &stream.source.mapping {
                        let name = &stream.source.name;
                        let known = self.mappers.remove(name);
                        let known = known.filter(|known| known.is_of(mapping));
                        let mut mapper = known.unwrap_or_else(|| Mapper::new(mapping));
                        mapper.begin(stream);
                        let mut mapped = MappedLines {
                            packer: self,
                            mapper: &mut mapper,
                            validator,
                            events_max,
                            tally: &mut tally,
                            outcome: &mut outcome,
                        };
                        mapped.pack(&lines)?;
                        self.mappers.insert(Arc::clone(name), mapper);
                    } else {
                        self.lines(&lines, validator, events_max, &mut tally, &mut outcome)?;
                    }
                }
                Content::Fault(fault) => {
                    tally.dead_lettered += 1;
                    outcome.dead_letters.push(faulty_line(slice, fault));
                }
            }
            outcome.count(tally);
        }
        if self.array.events() > 0 {
            self.seal(&group.meter, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// Packs `lines.bytes` line by line.
    fn lines(
        &mut self,
        lines: &Line<'_>,
        validator: &mut Validator,
        events_max: u32,
        tally: &mut SourceTally,
        outcome: &mut Outcome,
    ) -> Result<(), Stopped> {
        let Line { bytes: mut rest, mut position, .. } = *lines;
        while !rest.is_empty() {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let (bytes, behind) = rest.split_at(length);
            let line = Line { bytes, position, ..*lines };
            match validator.check(bytes) {
                Ok(checked) => {
                    if !self.event(&line, checked, validator, outcome)? {
                        tally.dead_lettered += 1;
                        outcome.dead_letters.push(line.too_large());
                    } else if self.array.events() >= events_max {
                        self.seal(line.meter, outcome)?;
                    }
                }
                Err(_) if bytes.trim_ascii().is_empty() => tally.ignored += 1,
                Err(refusal) => {
                    tally.dead_lettered += 1;
                    outcome.dead_letters.push(line.refused(refusal));
                }
            }
            position += match lines.stream.numbering {
                Numbering::ByteOffset => length as u64,
                Numbering::LineNumber => 1,
            };
            rest = behind;
        }
        Ok(())
    }

    /// Writes one good event. False: it alone is larger than a request may be, and is left out.
    #[inline]
    fn event(
        &mut self,
        line: &Line<'_>,
        checked: Checked,
        validator: &Validator,
        outcome: &mut Outcome,
    ) -> Result<bool, Stopped> {
        let payload_bytes_max = line.meter.limits.payload_bytes_max as u64;
        line.write(self.array.begin_event(), checked, validator);
        if self.array.payload_bytes() > payload_bytes_max {
            self.array.cancel_event();
            if self.array.events() > 0 {
                self.seal(line.meter, outcome)?;
            }
            line.write(self.array.begin_event(), checked, validator);
            if self.array.payload_bytes() > payload_bytes_max {
                self.array.cancel_event();
                return Ok(false);
            }
        }
        self.array.end_event()?;
        if line.stamp.is_some() {
            self.ends.note(line, checked);
        }
        Ok(true)
    }

    /// Ends the array that is being written and begins the next.
    fn seal(&mut self, meter: &Meter, outcome: &mut Outcome) -> Result<(), Stopped> {
        let Body { bytes, sha256, events, payload_bytes } = self.array.finish()?;
        self.array.begin();
        // A single event cannot be cut; the endpoint's answer decides about it.
        if bytes.len() > meter.limits.compressed_bytes_max && events > 1 {
            return Err(Stopped::TooLarge);
        }
        let ends = std::mem::take(&mut self.ends);
        outcome.batches.push(PackedBatch {
            body: bytes,
            sha256,
            events,
            payload_bytes,
            last_event_id: ends.last(),
            first_event_id: ends.first,
        });
        Ok(())
    }
}

impl Line<'_> {
    /// Appends the event as it goes out.
    #[inline]
    fn write(&self, out: &mut Vec<u8>, checked: Checked, validator: &Validator) {
        let edits = validator.edits();
        if checked.drops_members {
            out.push(b'{');
            for (index, &(start, end)) in validator.kept().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                edits.copy(self.bytes, (start, end), out);
            }
        } else {
            edits.copy(self.bytes, (checked.start, checked.close), out);
        }
        match (self.stamp, checked.id) {
            (Some(stamp), None) => stamp.write(out, checked.has_members, self.position),
            _ => out.push(b'}'),
        }
    }

    fn dead_letter(&self, reason: Reason, field: Option<String>, detail: String) -> DeadLetter {
        let event = self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes);
        DeadLetter {
            meter: Arc::clone(&self.meter.name),
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

    fn refused(&self, refusal: Refusal) -> DeadLetter {
        self.dead_letter(refusal.reason, refusal.field, refusal.detail)
    }

    fn too_large(&self) -> DeadLetter {
        let detail = format!(
            "the event has {} bytes, a request of this meter holds at most {}",
            self.bytes.len(),
            self.meter.limits.payload_bytes_max
        );
        self.dead_letter(Reason::EventTooLarge, None, detail)
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

impl Outcome {
    fn count(&mut self, tally: SourceTally) {
        match self.tallies.iter_mut().find(|known| known.source == tally.source) {
            Some(known) => {
                known.read += tally.read;
                known.dead_lettered += tally.dead_lettered;
                known.ignored += tally.ignored;
            }
            None => self.tallies.push(tally),
        }
    }
}

impl SourceTally {
    fn of(source: &Arc<str>, read: u64) -> Self {
        Self { source: Arc::clone(source), read, dead_lettered: 0, ignored: 0 }
    }
}

fn faulty_line(slice: &Slice, fault: &LineFault) -> DeadLetter {
    let stream = &slice.chunk.stream;
    let found = match fault.reason {
        Reason::PartialLine => "the input ended within the line",
        Reason::Unparsable => "the message has a line end in it",
        _ => "the line is longer than line_bytes_max",
    };
    DeadLetter {
        meter: Arc::clone(&stream.source.meter.name),
        source: Arc::clone(&stream.source.name),
        position: stream.describe(slice.first),
        reason: fault.reason,
        field: None,
        detail: format!("{found}; it has {} bytes", fault.length),
        code: None,
        event_id: Some(event_id(stream.origin, slice.first)),
        event: fault.excerpt.clone(),
    }
}

/// Where each file stands once all of `slices` are committed.
fn cursors(slices: &[Slice]) -> Vec<(Arc<str>, Cursor)> {
    let mut cursors: Vec<(Arc<str>, Cursor)> = Vec::new();
    for (index, slice) in slices.iter().enumerate() {
        let Some(file) = &slice.chunk.file else { continue };
        let is_same = |later: &Slice| {
            later.chunk.file.as_ref().is_some_and(|later| later.identity == file.identity)
        };
        if slices.iter().skip(index + 1).any(is_same) {
            continue;
        }
        let tail = slice.chunk.tail_at(slice.end);
        let origin = slice.chunk.stream.origin;
        let cursor = Cursor { file: FileMark::clone(file), origin, offset: slice.end, tail };
        cursors.push((Arc::clone(&slice.chunk.stream.source.name), cursor));
    }
    cursors
}

/// Who hears that all of a chunk is committed once `slices` are: its last line is among them. Who
/// was refused has heard.
fn notices(slices: &[Slice]) -> Vec<Notice> {
    let ends_here = |slice: &&Slice| {
        slice.end == slice.chunk.end && !request::of(slice).is_some_and(Request::is_refused)
    };
    slices.iter().filter(ends_here).filter_map(|slice| slice.chunk.notice.clone()).collect()
}

#[cfg(test)]
mod tests;
