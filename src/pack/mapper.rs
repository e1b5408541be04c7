//! From the lines of one source to events, as its mapping says. Pure: the same line of the same
//! stream gives the same events.

use std::sync::Arc;

use super::decode::{Decoder, elements, syslog};
use super::map::Rules;
use super::record::{Kind, Places, Record};
use super::route::Router;
use super::select::Selection;
#[cfg(feature = "vrl")]
use super::transform::{self, Runner};
use super::validate::Refusal;
use crate::chunk::Stream;
use crate::dead_letter::Reason;
use crate::mapping::{FilePart, Mapping, OnUnparsable, Reference, SyslogPart};
use crate::routing::Route;

/// Reads the lines of one source. Its buffers are used again for every line.
#[derive(Debug)]
pub struct Mapper {
    places: Places,
    decoder: Decoder,
    selection: Selection,
    /// Where the source has several meters.
    router: Option<Router>,
    /// By the index of the meter.
    rules: Option<Vec<Rules>>,
    /// Where a program makes the events.
    #[cfg(feature = "vrl")]
    runner: Option<Runner>,
    mapping: Arc<Mapping>,
    /// The parts of the syslog message that are wanted, with their slots.
    syslog_parts: Vec<(SyslogPart, usize)>,
    /// What the path of the file gives, by slot; the same for a whole stream.
    file_parts: Vec<(usize, String)>,
    /// What a dead letter needs before its line.
    header: Vec<u8>,
    record: Record,
    event: String,
    /// Where the records of the line stand in it.
    records: Vec<(usize, usize)>,
    /// Whether the line has several.
    is_shared: bool,
}

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// No event, and nothing that is wrong.
    Ignored,
    /// So many records.
    Records(usize),
    /// Something that is no record.
    Refused(Refusal),
}

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// No usage event.
    Ignored,
    /// An event of the meter with this index, as it stands in the line, from here to there.
    AsItStands(usize, (usize, usize)),
    /// The event in [`Mapper::event`], of the meter with this index.
    Made(usize),
    /// Something that is no event, of the meter with this index or of none.
    Refused(Option<usize>, Refusal),
}

impl Mapper {
    /// Compiles `mapping`, for a source with this `route`; without one it has one meter.
    pub fn new(mapping: &Arc<Mapping>, route: Option<&Arc<Route>>) -> Self {
        let from = route.map(|route| &route.from);
        let places = from.into_iter().fold(Places::of(mapping), Places::with);
        let rules = mapping.rules.as_ref();
        let syslog_parts = places.all().filter_map(|(slot, place)| match place {
            Reference::Syslog(part) => Some((part.clone(), slot)),
            _ => None,
        });
        Self {
            decoder: Decoder::new(mapping, &places),
            selection: Selection::new(mapping, &places),
            router: route.and_then(|route| Router::new(route, &places)),
            rules: rules.map(|of| of.iter().map(|rules| Rules::new(rules, &places)).collect()),
            #[cfg(feature = "vrl")]
            runner: mapping.transform.as_ref().map(|it| Runner::new(it, &places)),
            mapping: Arc::clone(mapping),
            syslog_parts: syslog_parts.collect(),
            file_parts: Vec::new(),
            header: Vec::new(),
            record: Record::default(),
            event: String::new(),
            records: Vec::new(),
            is_shared: false,
            places,
        }
    }

    /// Whether it was compiled of these, and not of some that a reload has replaced.
    pub fn is_of(&self, mapping: &Arc<Mapping>, route: Option<&Arc<Route>>) -> bool {
        let has_route = match (&self.router, route) {
            (Some(router), Some(route)) => router.is_of(route),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.mapping, mapping) && has_route
    }

    /// Goes on with lines of `stream`.
    pub fn begin(&mut self, stream: &Stream) {
        self.decoder.begin(stream.header.get().map(Vec::as_slice), &self.places);
        self.header.clear();
        if let Some(header) = stream.header.get().filter(|_| self.mapping.has_header()) {
            self.header.extend_from_slice(header);
            self.header.push(b'\n');
        }
        self.file_parts.clear();
        for (slot, place) in self.places.all() {
            if let Reference::File(part) = place
                && let Some(found) = file_part(part, &stream.label, &self.mapping)
            {
                self.file_parts.push((slot, found));
            }
        }
    }

    /// Finds the records of `line`, which stands at `position`.
    pub fn read(&mut self, line: &[u8], position: u64) -> Reading {
        self.records.clear();
        self.is_shared = false;
        if line.trim_ascii().is_empty() {
            return Reading::Ignored;
        }
        if self.is_header(line, position) {
            return self.decoder.header_fault().map_or(Reading::Ignored, Reading::Refused);
        }
        match self.find_records(line) {
            Ok(()) if self.records.is_empty() => Reading::Ignored,
            Ok(()) => Reading::Records(self.records.len()),
            Err(refusal) if self.ignores(&refusal) => Reading::Ignored,
            Err(refusal) => Reading::Refused(refusal),
        }
    }

    fn find_records(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let line = text_of(line)?;
        let text = if self.mapping.is_syslog { syslog::Message::parse(line)?.text } else { line };
        if !self.selection.is_anywhere() {
            self.put_around(line)?;
            if !self.selection.takes_around(&self.record) {
                return Ok(());
            }
        }
        let start = line.len() - text.len();
        if !self.mapping.is_array() {
            self.records.push((start, line.len()));
            return Ok(());
        }
        elements(text, &mut self.records)?;
        self.is_shared = text.trim_ascii_start().starts_with('[');
        for (from, to) in &mut self.records {
            (*from, *to) = (*from + start, *to + start);
        }
        Ok(())
    }

    /// Begins a record with what is around it.
    fn put_around(&mut self, line: &str) -> Result<(), Refusal> {
        self.record.clear(self.places.len());
        for (slot, part) in &self.file_parts {
            self.record.put(*slot, Kind::Text, part);
        }
        if !self.syslog_parts.is_empty() {
            syslog::Message::parse(line)?.put(&self.syslog_parts, &mut self.record);
        }
        Ok(())
    }

    /// Whether a line or record with this fault is passed over.
    pub fn ignores(&self, refusal: &Refusal) -> bool {
        let is_unparsable = matches!(
            refusal.reason,
            Reason::Unparsable | Reason::InvalidJson | Reason::NotAnObject
        );
        self.mapping.on_unparsable == OnUnparsable::Ignore && is_unparsable
    }

    /// How far behind the beginning of its line record `index` has its own position: records that
    /// share a line are told apart by their offsets.
    pub fn offset(&self, index: usize) -> u64 {
        let start = self.records.get(index).map_or(0, |(start, _)| *start);
        if self.is_shared { start as u64 } else { 0 }
    }

    /// Makes an event of record `index` of `line`, which was read last.
    pub fn map(&mut self, line: &[u8], index: usize) -> Mapped {
        let Some(&(start, end)) = self.records.get(index) else { return Mapped::Ignored };
        let mut meter = self.router.is_none().then_some(0);
        match self.try_map(line, (start, end), &mut meter) {
            Ok(mapped) => mapped,
            Err(refusal) if self.ignores(&refusal) => Mapped::Ignored,
            Err(refusal) => Mapped::Refused(meter, refusal),
        }
    }

    /// Also tells the `meter` as soon as it is known.
    fn try_map(
        &mut self,
        line: &[u8],
        (start, end): (usize, usize),
        meter: &mut Option<usize>,
    ) -> Result<Mapped, Refusal> {
        if self.takes_as_it_stands() {
            return Ok(Mapped::AsItStands(0, (start, end)));
        }
        let line = text_of(line)?;
        self.put_around(line)?;
        self.decoder.decode(line.get(start..end).unwrap_or_default(), &mut self.record)?;
        if !self.selection.takes(&self.record) {
            return Ok(Mapped::Ignored);
        }
        let index = match &self.router {
            Some(router) => router.meter(&self.record)?,
            None => 0,
        };
        *meter = Some(index);
        #[cfg(feature = "vrl")]
        if let (Some(runner), Some(transform)) = (&mut self.runner, &self.mapping.transform) {
            let record = line.get(start..end).unwrap_or_default();
            let object = transform::object(record, &self.mapping, &mut self.decoder)?;
            let is_event = runner.run(&transform.program, object, &self.record, &mut self.event)?;
            return Ok(if is_event { Mapped::Made(index) } else { Mapped::Ignored });
        }
        // There are rules for every meter or for none.
        match self.rules.as_ref().and_then(|rules| rules.get(index)) {
            Some(rules) => {
                rules.write(&self.record, &mut self.event)?;
                Ok(Mapped::Made(index))
            }
            None => Ok(Mapped::AsItStands(index, (start, end))),
        }
    }

    /// Whether nothing is asked of records, and nothing made of them.
    fn takes_as_it_stands(&self) -> bool {
        #[cfg(feature = "vrl")]
        if self.runner.is_some() {
            return false;
        }
        self.rules.is_none() && self.selection.takes_any() && self.router.is_none()
    }

    /// The event that was made last.
    pub fn event(&self) -> &[u8] {
        self.event.as_bytes()
    }

    /// Record `index` of `line` as its dead letter keeps it: what comes of it through this mapping
    /// again is this record and no other.
    pub fn letter(&self, line: &[u8], index: Option<usize>, position: u64) -> Vec<u8> {
        let is_header = self.is_header(line, position);
        let line = without_end(line);
        let record = index.filter(|_| self.is_shared).and_then(|index| self.records.get(index));
        if let (Some(&(start, end)), Some(&(first, _))) = (record, self.records.first()) {
            // The bracket that opens the array is before its first element.
            let bracket = line.get(..first).and_then(|it| memchr::memrchr(b'[', it)).unwrap_or(0);
            let envelope = line.get(..bracket).unwrap_or_default();
            return [envelope, line.get(start..end).unwrap_or_default()].concat();
        }
        let header = if is_header { &[] } else { self.header.as_slice() };
        [header, line].concat()
    }

    /// Whether `line` is the first one of a stream whose first line names the columns.
    fn is_header(&self, line: &[u8], position: u64) -> bool {
        position == 0 && self.header.strip_suffix(b"\n") == Some(without_end(line))
    }
}

/// A line without its end, which must be UTF-8.
fn text_of(line: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(without_end(line)).map_err(|error| Refusal {
        reason: Reason::InvalidUtf8,
        field: None,
        detail: format!("byte {}: the bytes are not UTF-8", error.valid_up_to()),
    })
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn file_part(part: &FilePart, path: &str, mapping: &Mapping) -> Option<String> {
    match part {
        FilePart::Path => Some(path.to_owned()),
        FilePart::Name => path.rsplit('/').next().map(str::to_owned),
        FilePart::Capture(name) => {
            let captures = mapping.file_pattern.as_ref()?.captures(path)?;
            captures.name(name).map(|found| found.as_str().to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
