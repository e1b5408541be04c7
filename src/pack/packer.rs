//! A pure function from a group of lines to what its commit writes.
//!
//! Every line of the group becomes an event in a body of its meter or a dead letter; blank lines,
//! and those that the mapping of their source passes over, are counted as ignored. The same group
//! at the same instant gives the same bytes.

mod desk;
mod line;
mod mapped;
mod request;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;

use self::desk::{Desk, Supplies};
use self::line::Line;
use self::mapped::MappedLines;
use self::writer::{Stopped, Writer};
use super::mapper::Mapper;
use crate::body::Error;
use crate::chunk::Content;
use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;
use crate::group::{Group, PackedBatch, PackedGroup, Slice, SourceTally};
use crate::mapping::Mapping;
use crate::notice::{Notice, Request};
use crate::position::{Cursor, FileMark, Numbering, Origin};
use crate::routing::Destination;

/// Packs groups, one at a time. Its buffers are used again: a good event costs no allocation.
#[derive(Debug)]
pub struct Packer {
    supplies: Supplies,
    mappers: Mappers,
}

/// What reads lines that are no events as they stand, or that name their meters.
#[derive(Debug, Default)]
struct Mappers {
    /// By source.
    known: HashMap<Arc<str>, Mapper>,
    /// Of sources that have no mapping.
    plain: Arc<Mapping>,
}

/// What has become of the lines so far, but for events that are in no sealed body yet.
#[derive(Debug, Default)]
struct Outcome {
    batches: Vec<PackedBatch>,
    dead_letters: Vec<DeadLetter>,
    tallies: Vec<SourceTally>,
}

/// How many lines became what.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    read: u64,
    dead_lettered: u64,
    ignored: u64,
}

impl Packer {
    /// A packer that compresses at gzip `level`.
    pub fn new(level: u32) -> Self {
        Self { supplies: Supplies::new(level), mappers: Mappers::default() }
    }

    /// Packs `group`; the ages of its events are measured at `now`.
    pub fn pack(&mut self, group: &Group, now: Timestamp) -> Result<PackedGroup, Error> {
        let meters = group.destination.meters().iter();
        let least = meters.map(|meter| meter.limits.events_per_request_max).min();
        let mut events_max = least.unwrap_or(1).max(1);
        let outcome = loop {
            // How well events compress is known afterwards: what is too large for the wire is
            // packed again in smaller parts.
            match self.attempt(group, events_max, now) {
                Ok(outcome) => break outcome,
                Err(Stopped::TooLarge) => events_max = (events_max / 2).max(1),
                Err(Stopped::Failed(error)) => return Err(error),
            }
        };
        Ok(PackedGroup {
            number: group.number,
            destination: group.destination.clone(),
            batches: outcome.batches,
            dead_letters: outcome.dead_letters,
            cursors: cursors(&group.slices),
            tallies: outcome.tallies,
            origins: origins(group),
            permits: group.slices.iter().filter_map(|slice| slice.chunk.permit.clone()).collect(),
            notices: notices(&group.slices),
        })
    }

    fn attempt(
        &mut self,
        group: &Group,
        events_max: u32,
        now: Timestamp,
    ) -> Result<Outcome, Stopped> {
        let mut outcome = Outcome::default();
        let Self { supplies, mappers } = self;
        let mut desk = Desk::new(supplies, &group.destination, events_max, now);
        let filled = group.slices.iter().try_for_each(|slice| {
            if request::may_be_packed(slice, &mut desk) {
                pack_slice(slice, &mut desk, mappers, &mut outcome)?;
            }
            Ok(())
        });
        // Also after an attempt that failed: what lies there is needed again.
        let sealed = desk.clear(&mut outcome.batches);
        filled.and(sealed).map(|()| outcome)
    }
}

fn pack_slice(
    slice: &Slice,
    desk: &mut Desk<'_>,
    mappers: &mut Mappers,
    outcome: &mut Outcome,
) -> Result<(), Stopped> {
    let stream = &*slice.chunk.stream;
    let source = &stream.source;
    let lines = Line { bytes: &[], stream, position: slice.first };
    match (&slice.chunk.content, &source.mapping, &source.destination) {
        (Content::Fault(fault), ..) => {
            let meter = desk.before_routing();
            let letter = lines.faulty(desk.name(meter), fault);
            let counts = desk.counts(meter);
            counts.read += u64::from(slice.lines);
            outcome.refuse(letter, counts);
        }
        (Content::Lines(bytes), None, Destination::Meter(_)) => {
            let bytes = bytes.get(slice.range.clone()).unwrap_or_default();
            let writer = desk.writer(0);
            writer.counts.read += u64::from(slice.lines);
            pack_lines(&Line { bytes, ..lines }, writer, outcome)?;
        }
        (Content::Lines(bytes), mapping, destination) => {
            let bytes = bytes.get(slice.range.clone()).unwrap_or_default();
            // Where none says how lines are read, they are events in JSON.
            let mapping = mapping.as_ref().unwrap_or(&mappers.plain);
            let route = destination.routing().map(|routing| &routing.route);
            let known = mappers.known.remove(&source.name);
            let known = known.filter(|known| known.is_of(mapping, route));
            let mut mapper = known.unwrap_or_else(|| Mapper::new(mapping, route));
            mapper.begin(stream);
            let mut mapped = MappedLines { desk, mapper: &mut mapper, outcome };
            mapped.pack(&Line { bytes, ..lines })?;
            mappers.known.insert(Arc::clone(&source.name), mapper);
        }
    }
    desk.settle(&source.name, &mut outcome.tallies);
    Ok(())
}

/// Packs events in JSON, line by line.
fn pack_lines(lines: &Line<'_>, writer: &mut Writer, outcome: &mut Outcome) -> Result<(), Stopped> {
    let Line { bytes: mut rest, mut position, .. } = *lines;
    while !rest.is_empty() {
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let (bytes, behind) = rest.split_at(length);
        let line = Line { bytes, position, ..*lines };
        match writer.validator.check(bytes) {
            Ok(checked) => {
                if !writer.add(&line, checked)? {
                    outcome.refuse(line.too_large(&writer.meter), &mut writer.counts);
                }
            }
            Err(_) if bytes.trim_ascii().is_empty() => writer.counts.ignored += 1,
            Err(refusal) => {
                let letter = line.refused(Arc::clone(&writer.meter.name), refusal);
                outcome.refuse(letter, &mut writer.counts);
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

impl Outcome {
    fn refuse(&mut self, letter: DeadLetter, counts: &mut Counts) {
        counts.dead_lettered += 1;
        self.dead_letters.push(letter);
    }
}

/// Whose ids the events of `group` have, where that will be asked for.
fn origins(group: &Group) -> Vec<(Arc<str>, Origin)> {
    let mut origins: Vec<(Arc<str>, Origin)> = Vec::new();
    if !group.destination.meters().iter().any(|meter| meter.is_reconcilable()) {
        return origins;
    }
    for slice in &group.slices {
        let stream = &slice.chunk.stream;
        // Streams come in runs: most slices are of the one before.
        if origins.last().is_none_or(|(_, last)| *last != stream.origin) {
            origins.push((Arc::clone(&stream.source.name), stream.origin));
        }
    }
    origins
}

/// Where each file stands once all of `slices` are committed.
fn cursors(slices: &[Slice]) -> Vec<(Arc<str>, Cursor)> {
    let mut cursors: Vec<(Arc<str>, Cursor)> = Vec::new();
    for (index, slice) in slices.iter().enumerate() {
        let Some(file) = &slice.chunk.file else { continue };
        let source = &slice.chunk.stream.source.name;
        // Two sources may read one file, each with a cursor of its own.
        let is_same = |later: &Slice| {
            later.chunk.file.as_ref().is_some_and(|later| later.identity == file.identity)
                && later.chunk.stream.source.name == *source
        };
        if slices.iter().skip(index + 1).any(is_same) {
            continue;
        }
        let tail = slice.chunk.tail_at(slice.end);
        let origin = slice.chunk.stream.origin;
        let cursor = Cursor { file: FileMark::clone(file), origin, offset: slice.end, tail };
        cursors.push((Arc::clone(source), cursor));
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
