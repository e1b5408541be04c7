//! Puts dead letters back on their way to Mediation, as they came or after an edit.
//!
//! A letter goes through the same packing as the line that it was, with the same event id. Its
//! batch takes its place in one transaction: whatever ends the process, a letter is there or its
//! batch is, never both and never none. What is still no event stays a letter, unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::body;
use crate::chunk::{Buffer, Chunk, Content, SourceTag, Stream};
use crate::clock::Timestamp;
use crate::dead_letter::Reason;
use crate::group::{Group, PackedGroup, Slice};
use crate::meter::Meter;
use crate::pack::packer::Packer;
use crate::position::{Numbering, Origin, hash64, parse_event_id};
use crate::routing::Destination;
use crate::store;
use crate::store::dead_letters::{Filter, StoredLetter};
use crate::store::editor::Editor;

/// The agent whose letters they are.
#[derive(Debug)]
pub struct Settings {
    /// Its name: part of track ids.
    pub agent: Arc<str>,
    /// The configured meters.
    pub meters: Vec<Arc<Meter>>,
    /// The configured sources, by name: how their lines become events, and of which meters.
    pub sources: BTreeMap<Arc<str>, SourceTag>,
    /// gzip level, 1 to 9.
    pub compression_level: u32,
}

/// What to put back.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Which letters.
    pub filter: Filter,
    /// Lines that take the place of those that came, by the number of the letter.
    pub edits: BTreeMap<i64, Vec<u8>>,
    /// Only say what would become of them.
    pub is_dry: bool,
}

/// A letter that stays a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Its number.
    pub id: i64,
    /// The name of a reason, when the event is not right; none: something else is.
    pub reason: Option<&'static str>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// What was found and what would be right.
    pub detail: String,
}

/// What became of the letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Letters that are events again.
    pub replayed: u64,
    /// Letters that stay, each with the reason.
    pub left: Vec<Left>,
    /// Asked for by number, and not there: put back or given up before.
    pub missing: Vec<i64>,
}

/// Why not all of them were looked at. What the transactions before it did stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Compression failed.
    #[error("pack the events: {0}")]
    Pack(#[from] body::Error),
    /// Events that were right one by one were not together.
    #[error("pack the events: {right} of {letters} came out")]
    Unsteady {
        /// How many there were.
        letters: usize,
        /// How many came out.
        right: u64,
    },
}

/// Puts back what is `wanted` into the store of the agent that `settings` are of.
pub fn run(editor: &mut Editor, settings: &Settings, wanted: &Wanted) -> Result<Report, Error> {
    let mut replay = Replay {
        editor,
        settings,
        packer: Packer::new(settings.compression_level),
        wanted,
        report: Report::default(),
    };
    let mut missing: Vec<i64> = wanted.filter.ids.clone();
    let mut after = 0;
    loop {
        let page = replay.editor.dead_letters(&wanted.filter, after)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        missing.retain(|id| page.binary_search_by_key(id, |letter| letter.id).is_err());
        replay.put_back(&page)?;
    }
    replay.report.missing.extend(missing);
    Ok(replay.report)
}

struct Replay<'r> {
    editor: &'r mut Editor,
    settings: &'r Settings,
    packer: Packer,
    wanted: &'r Wanted,
    report: Report,
}

impl Replay<'_> {
    /// Puts a page back, a transaction for each meter and source in it.
    fn put_back(&mut self, page: &[StoredLetter]) -> Result<(), Error> {
        let mut by_source: BTreeMap<(&str, &str, bool), Vec<&StoredLetter>> = BTreeMap::new();
        for letter in page {
            // What Mediation refused is the event as it was sent, not the line that it was made of.
            let is_line = letter.attempts == 0;
            by_source.entry((&letter.meter, &letter.source, is_line)).or_default().push(letter);
        }
        for ((meter, source, is_line), letters) in by_source {
            let known = self.settings.sources.get(source).filter(|_| is_line);
            let destination = match self.destination(meter, known) {
                Ok(destination) => destination,
                Err(detail) => {
                    let left = letters.iter().map(|letter| left(letter, detail.clone()));
                    self.report.left.extend(left);
                    continue;
                }
            };
            let mapping = known.and_then(|known| known.mapping.clone());
            let tag = SourceTag::new(source, destination);
            self.put_back_of(&Arc::new(SourceTag { mapping, ..tag }), letters)?;
        }
        Ok(())
    }

    /// Where lines go that were read for `meter`, or why they can go nowhere. The meter of a line that
    /// names it is found again: the line may say another one by now.
    fn destination(&self, meter: &str, source: Option<&SourceTag>) -> Result<Destination, String> {
        let routed = source.filter(|source| source.destination.routing().is_some());
        let known = || self.settings.meters.iter().find(|known| *known.name == *meter);
        let destination = match routed {
            Some(source) => source.destination.clone(),
            None if meter.is_empty() => {
                return Err("the source is not configured to find its meter".to_owned());
            }
            None => known()
                .cloned()
                .map(Destination::Meter)
                .ok_or_else(|| format!("the meter {meter} is not configured"))?,
        };
        match destination.without_schema() {
            Some(meter) => Err(format!("the schema of the meter {} has not come yet", meter.name)),
            None => Ok(destination),
        }
    }

    /// Puts letters of one source back.
    fn put_back_of(
        &mut self,
        tag: &Arc<SourceTag>,
        mut letters: Vec<&StoredLetter>,
    ) -> Result<(), Error> {
        let now = Timestamp::now();
        let mut slices = Vec::new();
        let mut failed = None;
        letters.retain(|letter| match self.check(tag, letter, now) {
            Ok(Ok(slice)) => {
                slices.push(slice);
                true
            }
            Ok(Err(left)) => {
                self.report.left.push(left);
                false
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        // At the same instant, what was right alone is right together.
        let packed = self.pack(tag, slices, now)?;
        let right = packed.batches.iter().map(|batch| u64::from(batch.events)).sum();
        if right != letters.len() as u64 || !packed.dead_letters.is_empty() {
            return Err(Error::Unsteady { letters: letters.len(), right });
        }
        let agent = &self.settings.agent;
        if !self.wanted.is_dry && !self.editor.replay(agent, &packed, &letters, now)? {
            return self.put_back_rest(&letters);
        }
        self.report.replayed += right;
        Ok(())
    }

    /// Another command took some of `letters` at the same time: puts those back that are left.
    fn put_back_rest(&mut self, letters: &[&StoredLetter]) -> Result<(), Error> {
        let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
        let page = self.editor.dead_letters(&Filter::of_ids(ids.clone()), 0)?;
        let is_gone =
            |id: &i64| page.binary_search_by_key(id, |letter: &StoredLetter| letter.id).is_err();
        self.report.missing.extend(ids.iter().copied().filter(is_gone));
        self.put_back(&page)
    }

    /// The line of `letter`, when it is an event now; otherwise why it stays.
    fn check(
        &mut self,
        tag: &Arc<SourceTag>,
        letter: &StoredLetter,
        now: Timestamp,
    ) -> Result<Result<Slice, Left>, body::Error> {
        let edit = self.wanted.edits.get(&letter.id).filter(|line| **line != letter.bytes);
        if edit.is_none() && letter.reason == Reason::LineTooLong.name() {
            let detail = "only the beginning of the line is kept: the whole event is needed";
            return Ok(Err(left(letter, detail.into())));
        }
        let line = edit.unwrap_or(&letter.bytes);
        let (_, record) = parts(tag, line);
        if tag.mapping.is_some() && memchr::memchr(b'\n', record).is_some() {
            return Ok(Err(left(letter, "a line end stands in the line".into())));
        }
        let line = slice(tag, letter, line);
        let packed = self.pack(tag, vec![line.clone()], now)?;
        if let Some(refused) = packed.dead_letters.into_iter().next() {
            let reason = Some(refused.reason.name());
            let (field, detail) = (refused.field, refused.detail);
            return Ok(Err(Left { id: letter.id, reason, field, detail }));
        }
        let Some(batch) = packed.batches.first() else {
            return Ok(Err(left(
                letter,
                "the line is blank or passed over, it is no event".into(),
            )));
        };
        if packed.batches.iter().map(|batch| batch.events).sum::<u32>() > 1 {
            return Ok(Err(left(letter, "the line holds more than one event".into())));
        }
        // Mediation has seen the event by its id: under another one it could be billed twice.
        let (before, now) = (letter.event_id.as_ref(), batch.first_event_id.as_ref());
        match (before, now) {
            (Some(before), Some(now)) if letter.attempts > 0 && before != now => {
                let detail = format!("the event id was {before} and has to stay so, it is {now}");
                Ok(Err(left(letter, detail)))
            }
            _ => Ok(Ok(line)),
        }
    }

    fn pack(
        &mut self,
        tag: &SourceTag,
        slices: Vec<Slice>,
        now: Timestamp,
    ) -> Result<PackedGroup, body::Error> {
        let group = Group { number: 0, destination: tag.destination.clone(), slices };
        self.packer.pack(&group, now)
    }
}

/// A letter that stays for another reason than its event.
fn left(letter: &StoredLetter, detail: String) -> Left {
    Left { id: letter.id, reason: None, field: None, detail }
}

/// The header that a letter keeps with its line, and the line.
fn parts<'l>(tag: &SourceTag, line: &'l [u8]) -> (Option<&'l [u8]>, &'l [u8]) {
    tag.mapping.as_ref().map_or((None, line), |mapping| mapping.split_letter(line))
}

/// The path or peer in a position such as `path:offset` or `peer#line`.
fn label(position: &str) -> &str {
    let label = position.trim_end_matches(|digit: char| digit.is_ascii_digit());
    label.strip_suffix([':', '#']).unwrap_or(position)
}

/// `line` as it would have been read, at the place that its event id names.
fn slice(tag: &Arc<SourceTag>, letter: &StoredLetter, line: &[u8]) -> Slice {
    // An event that was refused brings its id itself, or had none: its position is then the track
    // id of its batch, which is the only one in the fleet.
    let own = (Origin(hash64(&[letter.position.as_bytes()])), letter.id.unsigned_abs());
    let (origin, first) = letter.event_id.as_deref().and_then(parse_event_id).unwrap_or(own);
    let (header, line) = parts(tag, line);
    let stream = Stream {
        source: Arc::clone(tag),
        origin,
        label: label(&letter.position).to_owned(),
        numbering: Numbering::LineNumber,
        header: header.map(|header| header.to_vec().into()).unwrap_or_default(),
    };
    let line = [line, b"\n"].concat();
    let (range, end) = (0..line.len(), first.saturating_add(1));
    let content = Content::Lines(Buffer::from(line));
    let stream = Arc::new(stream);
    let chunk =
        Chunk { stream, first, end, lines: 1, content, file: None, permit: None, notice: None };
    Slice { chunk: Arc::new(chunk), range, first, end, lines: 1 }
}
