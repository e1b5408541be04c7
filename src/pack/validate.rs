//! Whether a line is an event of the meter. One pass over the line, no allocation for a good one.
//!
//! Producers write their fields in one order for ever, so each event is read with the order of
//! the one before it as a guess: a key that stands where it stood is compared, not searched.
//!
//! What a meter does not ask for is not looked at: times are read as instants only where an age is
//! limited or a format set.

mod faults;
mod value;

use std::sync::Arc;

pub(super) use self::faults::no_object;
use self::faults::{invalid_utf8, key_at, no_four_bytes};
use self::value::{typed, wrong_type};
use super::datetime;
use super::edits::Edits;
use super::guards::{Window, has_digits_within};
use super::json::{Fault, Scan, Text, duplicate, repeated_key};
use crate::clock::Timestamp;
use crate::dead_letter::Reason;
use crate::meter::{FourByteCharacters, Guards, Meter, UnknownFields};
use crate::schema::edition::Edition;
use crate::schema::{Field, FieldType};
use crate::time_format::TimeFormat;

/// Stands in the guessed order for a key outside the schema.
const UNKNOWN: u8 = u8::MAX;

/// How many keys of an event are guessed.
const ORDER_MAX: usize = 64;

/// Why a line is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class of the mistake.
    pub reason: Reason,
    /// The field that is wrong, when it is one field.
    pub field: Option<String>,
    /// What was found and what would be right.
    pub detail: String,
}

/// Where the parts of a good event stand in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The index of the opening brace.
    pub start: usize,
    /// The index of the closing brace.
    pub close: usize,
    /// Whether the object has members.
    pub has_members: bool,
    /// The value of the event id field, quotes included, when the event brought one.
    pub id: Option<(usize, usize)>,
    /// Whether there are members to cut out: then [`Validator::kept`] says which stay.
    pub drops_members: bool,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    kind: FieldType,
    /// How its times go out, unless as they came.
    format: Option<TimeFormat>,
    /// `"name":`, or nothing when the name is not written like that.
    spelling: Vec<u8>,
}

/// Checks the lines of one meter.
#[derive(Debug)]
pub struct Validator {
    edition: Arc<Edition>,
    known: Vec<Known>,
    required: u64,
    id: Option<usize>,
    /// The field whose values are summed.
    quantity: Option<usize>,
    /// Where the value of that field stands in the event that was checked last.
    quantity_at: Option<(usize, usize)>,
    unknown_fields: UnknownFields,
    guards: Guards,
    /// The field whose time is the event's.
    event_time: Option<usize>,
    /// Bit `i`: the digits or the instant of known field `i` matter.
    guarded: u64,
    /// The times that events may have; none until an instant was set.
    window: Option<Window>,
    order: Vec<u8>,
    unknown_keys: Vec<Text>,
    nested_keys: Vec<Text>,
    kept: Vec<(usize, usize)>,
    edits: Edits,
}

/// What was seen of the members of one event. Bit `i` stands for known field `i`.
#[derive(Debug, Default)]
struct Seen {
    keys: u64,
    values: u64,
    id: Option<(usize, usize)>,
    members: usize,
}

impl Validator {
    /// Compiles what `meter` asks of its events now.
    pub fn new(meter: &Meter) -> Self {
        Self::of(meter, meter.schema.or_open())
    }

    /// Compiles what `meter` asks of its events by `edition` of its schema.
    pub fn of(meter: &Meter, edition: Arc<Edition>) -> Self {
        let schema = &edition.schema;
        let mut known: Vec<Known> = schema.fields().iter().map(Known::of).collect();
        let mut required = schema.required();
        let listed =
            |known: &[Known], name: &Arc<str>| known.iter().position(|field| field.name == *name);
        let id = meter.event_id_field.as_ref().map(|name| {
            listed(&known, name).unwrap_or_else(|| {
                known.push(Known::new(Arc::clone(name), FieldType::Any));
                known.len() - 1
            })
        });
        let quantity = meter.quantity_field.as_ref().and_then(|name| listed(&known, name));
        if let Some(index) = id {
            // What is missing is stamped.
            required &= !(1 << index);
        }
        let Guards { event_age_max, event_ahead_max, .. } = meter.guards;
        let has_window = event_age_max.is_some() || event_ahead_max.is_some();
        let event_time = schema.event_time().filter(|_| has_window);
        let guarded = known.iter().enumerate().filter(|(index, field)| match field.kind {
            FieldType::Number | FieldType::Integer => true,
            FieldType::DateTime => field.format.is_some() || event_time == Some(*index),
            _ => false,
        });
        Self {
            guarded: guarded.fold(0, |bits, (index, _)| bits | 1 << index),
            known,
            required,
            id,
            quantity,
            quantity_at: None,
            unknown_fields: meter.unknown_fields,
            guards: meter.guards,
            event_time,
            window: None,
            order: Vec::new(),
            unknown_keys: Vec::new(),
            nested_keys: Vec::new(),
            kept: Vec::new(),
            edits: Edits::default(),
            edition,
        }
    }

    /// The edition of the schema that it checks by.
    pub fn edition(&self) -> &Arc<Edition> {
        &self.edition
    }

    /// Ages are measured at `now` from here on; before the first call they are not judged.
    pub fn set_now(&mut self, now: Timestamp) {
        self.window = self.event_time.map(|_| Window::new(self.guards, now));
    }

    /// The members that stay of an event whose [`Checked::drops_members`] is set: their first
    /// byte and the byte behind their last.
    pub fn kept(&self) -> &[(usize, usize)] {
        &self.kept
    }

    /// Whether there is a field whose values are summed.
    pub fn sums(&self) -> bool {
        self.quantity.is_some()
    }

    /// Where the quantity of the event that was checked last stands, when it has one.
    #[inline]
    pub fn quantity(&self) -> Option<(usize, usize)> {
        self.quantity_at
    }

    /// Which values of the event that was checked last go out in other bytes.
    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// Checks one line, which may end with `\n` or `\r\n`.
    #[inline]
    pub fn check(&mut self, line: &[u8]) -> Result<Checked, Refusal> {
        let mut scan = Scan::new(line);
        self.event(&mut scan, line).map_err(|(fault, field)| self.refusal(line, fault, field))
    }

    #[inline]
    fn event(&mut self, scan: &mut Scan<'_>, line: &[u8]) -> Result<Checked, Found> {
        self.unknown_keys.clear();
        self.nested_keys.clear();
        self.kept.clear();
        self.edits.clear();
        self.quantity_at = None;
        scan.skip_space();
        let start = scan.at;
        if scan.peek() != b'{' {
            return Err((no_object(scan, line), None));
        }
        scan.at += 1;
        scan.skip_space();
        let mut seen = Seen::default();
        if scan.peek() == b'}' {
            scan.at += 1;
        } else {
            self.members(scan, line, &mut seen)?;
        }
        let close = scan.at - 1;
        scan.skip_space();
        if scan.at != line.len() {
            return Err((scan.syntax("something follows the event on its line"), None));
        }
        if scan.beyond_ascii && std::str::from_utf8(line).is_err() {
            return Err((invalid_utf8(line), None));
        }
        if self.guards.four_byte_characters == FourByteCharacters::Reject {
            no_four_bytes(scan, line).map_err(|fault| (fault, None))?;
        }
        self.complete(line, &seen)?;
        let drops_members =
            self.unknown_fields == UnknownFields::Drop && !self.unknown_keys.is_empty();
        let has_members = if drops_members { !self.kept.is_empty() } else { seen.members > 0 };
        Ok(Checked { start, close, has_members, id: seen.id, drops_members })
    }

    #[inline]
    fn members(&mut self, scan: &mut Scan<'_>, line: &[u8], seen: &mut Seen) -> Result<(), Found> {
        loop {
            let key_at = scan.at;
            let index = self.key(scan, line, seen.members).map_err(|fault| (fault, None))?;
            scan.skip_space();
            if let Some(index) = index {
                self.known_value(scan, line, index, seen)?;
                if self.unknown_fields == UnknownFields::Drop {
                    self.kept.push((key_at, scan.at));
                }
            } else {
                scan.value(1, &mut self.nested_keys).map_err(|fault| (fault, None))?;
            }
            seen.members += 1;
            if scan.closes(b'}').map_err(|fault| (fault, None))? {
                return Ok(());
            }
        }
    }

    /// Reads the key of member number `slot`; gives the index of a known field.
    #[inline]
    fn key(
        &mut self,
        scan: &mut Scan<'_>,
        line: &[u8],
        slot: usize,
    ) -> Result<Option<usize>, Fault> {
        if let Some(&guess) = self.order.get(slot)
            && let Some(field) = self.known.get(guess as usize)
            && !field.spelling.is_empty()
            && scan.eat(&field.spelling)
        {
            return Ok(Some(guess as usize));
        }
        self.search_key(scan, line, slot)
    }

    fn search_key(
        &mut self,
        scan: &mut Scan<'_>,
        line: &[u8],
        slot: usize,
    ) -> Result<Option<usize>, Fault> {
        let key = scan.key()?;
        let index = if key.escaped {
            let name = key.decode(line);
            self.known.iter().position(|field| *field.name == name)
        } else {
            let name = key.inside(line);
            self.known.iter().position(|field| field.name.as_bytes() == name)
        };
        if slot < ORDER_MAX {
            if self.order.len() <= slot {
                self.order.resize(slot + 1, UNKNOWN);
            }
            if let Some(guess) = self.order.get_mut(slot) {
                *guess = index.and_then(|index| u8::try_from(index).ok()).unwrap_or(UNKNOWN);
            }
        }
        if index.is_none() {
            self.unknown_keys.push(key);
        }
        Ok(index)
    }

    #[inline]
    fn known_value(
        &mut self,
        scan: &mut Scan<'_>,
        line: &[u8],
        index: usize,
        seen: &mut Seen,
    ) -> Result<(), Found> {
        let bit = 1 << index;
        let at = scan.at;
        if seen.keys & bit != 0 {
            return Err((duplicate(Text { start: at, end: at, escaped: false }), Some(index)));
        }
        seen.keys |= bit;
        let is_id = self.id == Some(index);
        if scan.peek() == b'n' {
            scan.word().map_err(|fault| (fault, None))?;
            if is_id {
                let what = "an event id must be a string or a number, null was found";
                return Err((wrong_type(at, what), Some(index)));
            }
            return Ok(());
        }
        let kind = self.known.get(index).map_or(FieldType::Any, |field| field.kind);
        let is_integer =
            typed(scan, line, kind, &mut self.nested_keys).map_err(|fault| (fault, Some(index)))?;
        seen.values |= bit;
        if self.guarded & bit != 0 {
            // Most numbers are short and whole: their length says that they have few digits.
            let is_short = scan.at - at <= self.guards.digits.integer_max as usize;
            if !(is_integer && is_short) || kind == FieldType::DateTime {
                self.guard(line, (at, scan.at), index).map_err(|fault| (fault, Some(index)))?;
            }
        }
        if self.quantity == Some(index) {
            self.quantity_at = Some((at, scan.at));
        }
        if is_id {
            if !matches!(line.get(at), Some(b'"' | b'-' | b'0'..=b'9')) {
                let what = "an event id must be a string or a number";
                return Err((wrong_type(at, what), Some(index)));
            }
            seen.id = Some((at, scan.at));
        }
        Ok(())
    }

    /// Judges a value of a field that has a guard or a format.
    #[inline(never)]
    fn guard(&mut self, line: &[u8], place: (usize, usize), index: usize) -> Result<(), Fault> {
        let kind = self.known.get(index).map_or(FieldType::Any, |field| field.kind);
        if kind == FieldType::DateTime {
            return self.time(line, place, index);
        }
        let (at, end) = place;
        if has_digits_within(line.get(at..end).unwrap_or_default(), self.guards.digits) {
            return Ok(());
        }
        let what = "a number with too many digits was found";
        Err(Fault { reason: Reason::NumberOutOfRange, at, what })
    }

    /// Judges the time that stands at `place` of the line, and notes how it goes out.
    fn time(&mut self, line: &[u8], place: (usize, usize), index: usize) -> Result<(), Fault> {
        let (at, end) = place;
        let fault = |reason, what| Fault { reason, at, what };
        let Some(time) = datetime::instant(line.get(at..end).unwrap_or_default()) else {
            let what = "the number is no time in seconds or milliseconds since 1970";
            return Err(fault(Reason::InvalidDateTime, what));
        };
        if self.event_time == Some(index)
            && let Some(reason) = self.window.and_then(|window| window.judge(time))
        {
            return Err(fault(reason, "the time is too far from now"));
        }
        let Some(format) = self.known.get(index).and_then(|field| field.format.as_ref()) else {
            return Ok(());
        };
        let written = self.edits.replace(place, |out| format.write(time, out));
        written.map_err(|misfit| fault(Reason::InvalidDateTime, misfit.what()))
    }

    /// What can only be said once the whole event was read.
    #[inline]
    fn complete(&mut self, line: &[u8], seen: &Seen) -> Result<(), Found> {
        let missing = self.required & !seen.values;
        if missing != 0 {
            let index = missing.trailing_zeros() as usize;
            let what = if seen.keys & (1 << index) == 0 {
                "the required field is missing"
            } else {
                "the required field is null"
            };
            return Err((Fault { reason: Reason::MissingField, at: 0, what }, Some(index)));
        }
        if self.unknown_keys.is_empty() {
            return Ok(());
        }
        if let Some(key) = repeated_key(line, &mut self.unknown_keys) {
            return Err((duplicate(key), None));
        }
        match (self.unknown_fields, self.unknown_keys.first()) {
            (UnknownFields::Reject, Some(key)) => {
                let what = "the meter has no such field";
                Err((Fault { reason: Reason::UnknownField, at: key.start, what }, None))
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn refusal(&self, line: &[u8], fault: Fault, field: Option<usize>) -> Refusal {
        let known = field.and_then(|index| self.known.get(index));
        let field = match (known, fault.reason) {
            (Some(known), _) => Some(known.name.to_string()),
            (None, Reason::DuplicateKey | Reason::UnknownField) => key_at(line, fault.at),
            (None, _) => None,
        };
        let detail = match (fault.reason, known) {
            (Reason::MissingField, _) => fault.what.to_owned(),
            (Reason::WrongType, Some(known)) if known.kind != FieldType::Any => {
                format!("byte {}: a {} was expected, {}", fault.at, known.kind.name(), fault.what)
            }
            (reason @ (Reason::TooOld | Reason::TooNew), _) => {
                let words = self.window.map(|window| window.describe(reason));
                format!("byte {}: {}", fault.at, words.as_deref().unwrap_or(fault.what))
            }
            (Reason::NumberOutOfRange, _) => {
                let digits = self.guards.digits;
                format!(
                    "byte {}: more than {} digits before or {} behind the decimal point",
                    fault.at, digits.integer_max, digits.fraction_max
                )
            }
            _ => format!("byte {}: {}", fault.at, fault.what),
        };
        Refusal { reason: fault.reason, field, detail }
    }
}

/// A fault, and the known field that it is about.
type Found = (Fault, Option<usize>);

impl Known {
    fn of(field: &Field) -> Self {
        Self { format: field.format.clone(), ..Self::new(Arc::clone(&field.name), field.kind) }
    }

    fn new(name: Arc<str>, kind: FieldType) -> Self {
        let plain =
            name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && !b"\"\\".contains(&byte));
        let spelling = if plain { format!("\"{name}\":").into_bytes() } else { Vec::new() };
        Self { name, kind, format: None, spelling }
    }
}

#[cfg(test)]
mod tests;
