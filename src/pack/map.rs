//! Makes the JSON of an event from the values of a record.
//!
//! Nothing is made up: a value that is not there, or cannot be what the field wants, refuses the
//! whole record, unless its rule says what to do. Numbers go out in the digits in which they came.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use super::decimal;
use super::record::{Places, Record, Value};
use super::validate::Refusal;
use crate::dead_letter::Reason;
use crate::mapping::unit::Conversion;
use crate::mapping::{self, Absent, Reference};
use crate::schema::FieldType;
use crate::time_format::{Date, EventTime};
use crate::time_pattern::TimePattern;

/// The rules of a mapping.
#[derive(Debug)]
pub struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// `"name":`
    spelling: String,
    name: String,
    kind: FieldType,
    input: Input,
    absent: Absent,
    trim: bool,
    lowercase: bool,
    table: Option<HashMap<String, String>>,
    conversion: Option<Conversion>,
    time: Option<TimePattern>,
}

#[derive(Debug)]
enum Input {
    Constant(String),
    From(Named),
    Template(Vec<Piece>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    From(Named),
}

/// A slot, and how people call its place.
#[derive(Debug)]
struct Named {
    slot: usize,
    words: String,
}

/// What a rule found.
enum Found<'r> {
    Nothing,
    Text(Cow<'r, str>),
    /// As it goes out.
    Json(&'r str),
}

/// Why a record is no event; the field is that of the rule.
struct Fault {
    reason: Reason,
    detail: String,
}

impl Rules {
    /// Compiles the rules for the events of one meter.
    pub fn new(rules: &[mapping::Rule], places: &Places) -> Self {
        Self(rules.iter().filter_map(|rule| Rule::new(rule, places)).collect())
    }

    /// Writes the event that `record` is to `out`, which is overwritten.
    pub fn write(&self, record: &Record, out: &mut String) -> Result<(), Refusal> {
        out.clear();
        out.push('{');
        for rule in &self.0 {
            let before = out.len();
            if before > 1 {
                out.push(',');
            }
            out.push_str(&rule.spelling);
            match rule.write(record, out) {
                Ok(true) => {}
                Ok(false) => out.truncate(before),
                Err(Fault { reason, detail }) => {
                    return Err(Refusal { reason, field: Some(rule.name.clone()), detail });
                }
            }
        }
        out.push('}');
        Ok(())
    }
}

impl Rule {
    fn new(rule: &mapping::Rule, places: &Places) -> Option<Self> {
        let named = |reference: &Reference| {
            Some(Named { slot: places.slot(reference)?, words: describe(reference) })
        };
        let input = match &rule.input {
            mapping::Input::Constant(json) => Input::Constant(json.clone()),
            mapping::Input::From(reference) => Input::From(named(reference)?),
            mapping::Input::Template(pieces) => {
                let pieces = pieces.iter().map(|piece| match piece {
                    mapping::Piece::Text(text) => Some(Piece::Text(text.clone())),
                    mapping::Piece::From(reference) => Some(Piece::From(named(reference)?)),
                });
                Input::Template(pieces.collect::<Option<_>>()?)
            }
        };
        Some(Self {
            spelling: format!("{}:", serde_json::Value::from(&*rule.name)),
            name: rule.name.to_string(),
            kind: rule.kind,
            input,
            absent: rule.absent.clone(),
            trim: rule.trim,
            lowercase: rule.lowercase,
            table: rule.table.clone(),
            conversion: rule.conversion.clone(),
            time: rule.time.clone(),
        })
    }

    /// Appends the value of the field. False: the event goes without it.
    fn write(&self, record: &Record, out: &mut String) -> Result<bool, Fault> {
        let found = match &self.input {
            Input::Constant(json) => Found::Json(json),
            Input::From(named) => self.from(named, record)?,
            Input::Template(pieces) => template(pieces, record)?,
        };
        let text = match found {
            Found::Json(json) => {
                out.push_str(json);
                return Ok(true);
            }
            Found::Nothing => return self.absent(out),
            Found::Text(text) => text,
        };
        let text = if self.trim { trimmed(text) } else { text };
        if text.is_empty() {
            return self.absent(out);
        }
        let text = if self.lowercase { Cow::Owned(text.to_lowercase()) } else { text };
        match &self.table {
            Some(table) => {
                let json = table.get(text.as_ref()).ok_or_else(|| Fault {
                    reason: Reason::UnmappedValue,
                    detail: format!("{} has a value that `map` does not list", self.words()),
                })?;
                out.push_str(json);
            }
            None => self.typed(&text, out)?,
        }
        Ok(true)
    }

    fn from<'r>(&self, named: &Named, record: &'r Record) -> Result<Found<'r>, Fault> {
        Ok(match record.value(named.slot) {
            Value::Nothing => Found::Nothing,
            // A field that takes anything keeps numbers for numbers.
            Value::Literal(text) if self.kind == FieldType::Any && self.is_plain() => {
                Found::Json(text)
            }
            Value::Text(text) | Value::Literal(text) => Found::Text(text.into()),
            Value::Composite(text) if self.kind == FieldType::Any && self.is_plain() => {
                Found::Json(text)
            }
            Value::Composite(_) => return Err(composite(named)),
        })
    }

    /// Whether the value goes out as it is.
    fn is_plain(&self) -> bool {
        self.table.is_none() && self.conversion.is_none() && self.time.is_none()
    }

    /// What the rule looks at, in words.
    fn words(&self) -> &str {
        match &self.input {
            Input::Constant(_) => "the constant",
            Input::From(named) => &named.words,
            Input::Template(_) => "the template",
        }
    }

    fn absent(&self, out: &mut String) -> Result<bool, Fault> {
        match &self.absent {
            Absent::Omit => Ok(false),
            Absent::Default(json) => {
                out.push_str(json);
                Ok(true)
            }
            Absent::Refuse => {
                let nothing = match &self.input {
                    Input::Template(pieces) => {
                        let pieces = pieces.iter().filter_map(|piece| match piece {
                            Piece::Text(_) => None,
                            Piece::From(named) => Some(named.words.as_str()),
                        });
                        format!("one of {}", pieces.collect::<Vec<_>>().join(", "))
                    }
                    _ => self.words().to_owned(),
                };
                let detail = format!("there is nothing in {nothing}");
                Err(Fault { reason: Reason::MissingField, detail })
            }
        }
    }

    /// Appends `text` as a value of the field's type.
    fn typed(&self, text: &str, out: &mut String) -> Result<(), Fault> {
        if let Some(pattern) = &self.time {
            let time = pattern.read(text).ok_or_else(|| Fault {
                reason: Reason::InvalidDateTime,
                detail: format!("{} is not a time of its `time_format`", self.words()),
            })?;
            return write_time(time, out).ok_or_else(|| Fault {
                reason: Reason::InvalidDateTime,
                detail: format!("{} is beyond the years 0 to 9999", self.words()),
            });
        }
        if let Some(conversion) = &self.conversion {
            return decimal::convert(text, conversion, out).map_err(|fault| Fault {
                reason: match fault {
                    decimal::Fault::NoNumber | decimal::Fault::NoUnit => Reason::WrongType,
                    decimal::Fault::TooLong | decimal::Fault::Endless => Reason::NumberOutOfRange,
                },
                detail: format!("{}: {}", self.words(), fault.what()),
            });
        }
        write_typed(self.kind, text, out).map_err(|expected| Fault {
            reason: Reason::WrongType,
            detail: format!("{}: {expected} was expected", self.words()),
        })
    }
}

/// Appends `text` as a JSON value of a field of type `kind`, or says what would be right.
pub fn write_typed(kind: FieldType, text: &str, out: &mut String) -> Result<(), &'static str> {
    match kind {
        FieldType::Number | FieldType::Integer if decimal::is_number(text) => out.push_str(text),
        FieldType::Number | FieldType::Integer => return Err("a number"),
        FieldType::Boolean if matches!(text, "true" | "false") => out.push_str(text),
        FieldType::Boolean => return Err("true or false"),
        FieldType::DateTime if is_whole(text) => out.push_str(text),
        FieldType::String | FieldType::DateTime | FieldType::Any => write_string(text, out),
    }
    Ok(())
}

/// Whether `text` is a whole number as JSON writes them: as a time, an epoch.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    decimal::is_number(text) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, behind) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = behind.chars();
        match characters.next() {
            Some(quote @ ('"' | '\\')) => out.extend(['\\', quote]),
            Some(control) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends `time` as `"2026-11-21T06:14:11.5Z"`, with as many digits as it has.
fn write_time(time: EventTime, out: &mut String) -> Option<()> {
    let date = Date::from_days(time.seconds.div_euclid(86_400));
    if !(0..=9999).contains(&date.year) {
        return None;
    }
    let of_day = time.seconds.rem_euclid(86_400);
    let Date { year, month, day } = date;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let _ = write!(out, "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if time.nanos != 0 {
        let _ = write!(out, ".{:09}", time.nanos);
        out.truncate(out.trim_end_matches('0').len());
    }
    out.push_str("Z\"");
    Some(())
}

fn template<'r>(pieces: &[Piece], record: &Record) -> Result<Found<'r>, Fault> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::From(named) => match record.value(named.slot) {
                Value::Nothing => return Ok(Found::Nothing),
                Value::Text(value) | Value::Literal(value) => text.push_str(value),
                Value::Composite(_) => return Err(composite(named)),
            },
        }
    }
    Ok(Found::Text(text.into()))
}

fn composite(named: &Named) -> Fault {
    let detail = format!("{}: a single value was expected", named.words);
    Fault { reason: Reason::WrongType, detail }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// How a configuration writes a reference.
pub(super) fn describe(reference: &Reference) -> String {
    use crate::mapping::{FilePart, SyslogPart};
    match reference {
        Reference::Field(keys) => match keys.as_slice() {
            [key] => format!("{key:?}"),
            keys => {
                let escaped = keys.iter().map(|key| key.replace('~', "~0").replace('/', "~1"));
                format!("{:?}", format!("/{}", escaped.collect::<Vec<_>>().join("/")))
            }
        },
        Reference::File(FilePart::Path) => "file:path".to_owned(),
        Reference::File(FilePart::Name) => "file:name".to_owned(),
        Reference::File(FilePart::Capture(name)) => format!("file:{name}"),
        Reference::Syslog(SyslogPart::Data { element, name }) => format!("syslog:{element}/{name}"),
        Reference::Syslog(part) => format!("syslog:{}", part.name()),
    }
}

#[cfg(test)]
mod tests;
