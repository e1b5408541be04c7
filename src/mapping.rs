//! How the lines of a source become events: what a line looks like, which records are usage at
//! all, and where each field of an event comes from. Data only: `pack` does it.
//!
//! A source without a mapping has one event in JSON on each line, and its lines are neither parsed
//! into anything nor written anew.

#[cfg(feature = "vrl")]
pub mod transform;
pub mod unit;

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::schema::FieldType;
use crate::time_pattern::TimePattern;
use unit::Conversion;

/// What becomes of the lines of one source.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// What a record looks like.
    pub format: Format,
    /// Whether each line is a syslog message with a record in it.
    pub is_syslog: bool,
    /// What becomes of lines that are no record of the format.
    pub on_unparsable: OnUnparsable,
    /// What a record must be to be an event; all of it. Others are counted as ignored.
    pub select: Vec<Condition>,
    /// How the fields of an event are made, for each meter of the source; none: a record in JSON is
    /// the event as it stands.
    pub rules: Option<Vec<Vec<Rule>>>,
    /// The program that makes the event, where there are no rules.
    #[cfg(feature = "vrl")]
    pub transform: Option<transform::Transform>,
    /// Finds captures in the path of a file.
    pub file_pattern: Option<Regex>,
}

/// What a record looks like.
#[derive(Debug, Clone, Default)]
pub enum Format {
    /// An object.
    #[default]
    Json,
    /// An array of objects, or an object.
    JsonArray,
    /// Comma-separated values.
    Csv(Csv),
    /// `key=value key="value"`.
    Logfmt,
    /// What an expression with named captures matches.
    Regex(Regex),
    /// Nothing that has fields of its own: only the syslog message around it has.
    Text,
}

/// How comma-separated values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csv {
    /// The names of the columns; none: the first line of each file or connection has them.
    pub columns: Option<Vec<String>>,
    /// Between two values; ASCII.
    pub delimiter: u8,
    /// Around a value that holds delimiters; ASCII. Twice within, it stands for itself.
    pub quote: u8,
}

/// What becomes of lines that are no record of their source's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnparsable {
    /// They become dead letters.
    #[default]
    DeadLetter,
    /// They are counted as ignored.
    Ignore,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// In the record: the keys from its top to the value. Only JSON has more than one.
    Field(Vec<String>),
    /// In the path of the file that the line is in.
    File(FilePart),
    /// In the syslog message around the record.
    Syslog(SyslogPart),
}

/// A part of the path of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilePart {
    /// All of it.
    Path,
    /// What is behind its last slash.
    Name,
    /// A capture of the source's `file_pattern`.
    Capture(String),
}

/// A part of a syslog message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogPart {
    /// What a message is about, as a number.
    Facility,
    /// How serious it is, 0 to 7.
    Severity,
    /// When it was written; only where year and zone are said.
    Timestamp,
    /// Who wrote it.
    Hostname,
    /// Which program wrote it.
    App,
    /// Its process.
    Process,
    /// The kind of message.
    MessageId,
    /// The text behind all of these.
    Message,
    /// A parameter of structured data.
    Data {
        /// The id of its element.
        element: String,
        /// Its name.
        name: String,
    },
}

/// What a record must be.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The value that is looked at.
    pub at: Reference,
    /// What it must be.
    pub test: Test,
    /// Whether it must not.
    pub is_negated: bool,
}

/// What a value may be asked. Values are compared as the texts in which they came.
#[derive(Debug, Clone)]
pub enum Test {
    /// Whether it is there, and neither null nor empty.
    Exists,
    /// Whether it is one of these.
    In(Vec<String>),
    /// Whether the expression finds something in it.
    Matches(Regex),
}

/// How one field of an event is made.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The field of the event.
    pub name: Arc<str>,
    /// What the meter wants there.
    pub kind: FieldType,
    /// Where its value comes from.
    pub input: Input,
    /// What becomes of a value that is not there.
    pub absent: Absent,
    /// Whether blanks around it are cut off.
    pub trim: bool,
    /// Whether its letters are made small.
    pub lowercase: bool,
    /// What stands for each value, as JSON; a value that is not listed is refused.
    pub table: Option<HashMap<String, String>>,
    /// How a number is multiplied and rounded.
    pub conversion: Option<Conversion>,
    /// How a time is written in the record; none: as the meter takes it.
    pub time: Option<TimePattern>,
}

/// Where the value of a field comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Always the same, as JSON.
    Constant(String),
    /// A value of the record or of what is around it.
    From(Reference),
    /// Several of them with text between.
    Template(Vec<Piece>),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it stands.
    Text(String),
    /// A value.
    From(Reference),
}

/// What becomes of a value that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// The record becomes a dead letter.
    Refuse,
    /// The event goes without the field.
    Omit,
    /// This stands in its place, as JSON.
    Default(String),
}

impl Mapping {
    /// Whether the first line of each file or connection names the columns of those behind it.
    pub fn has_header(&self) -> bool {
        matches!(&self.format, Format::Csv(csv) if csv.columns.is_none())
    }

    /// Whether one line may hold several events, which are then told apart by their offsets.
    pub fn is_array(&self) -> bool {
        matches!(self.format, Format::JsonArray)
    }

    /// A dead letter's header and line: of a source whose files have headers, both are kept.
    pub fn split_letter<'l>(&self, letter: &'l [u8]) -> (Option<&'l [u8]>, &'l [u8]) {
        match memchr::memchr(b'\n', letter).filter(|_| self.has_header()) {
            Some(end) => {
                let (header, line) = letter.split_at(end);
                (Some(header), line.get(1..).unwrap_or_default())
            }
            None => (None, letter),
        }
    }

    /// Every place that a condition or a rule looks at.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let selected = self.select.iter().map(|condition| &condition.at);
        #[cfg(feature = "vrl")]
        let around = self.transform.iter().flat_map(|it| &it.around).map(|(_, at)| at);
        #[cfg(not(feature = "vrl"))]
        let around = std::iter::empty();
        selected
            .chain(self.rules.iter().flatten().flatten().flat_map(Rule::references))
            .chain(around)
    }
}

/// The parts of a syslog message that have a name of ours.
pub const SYSLOG_PARTS: [SyslogPart; 8] = [
    SyslogPart::Facility,
    SyslogPart::Severity,
    SyslogPart::Timestamp,
    SyslogPart::Hostname,
    SyslogPart::App,
    SyslogPart::Process,
    SyslogPart::MessageId,
    SyslogPart::Message,
];

impl SyslogPart {
    /// The name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Facility => "facility",
            Self::Severity => "severity",
            Self::Timestamp => "timestamp",
            Self::Hostname => "hostname",
            Self::App => "app",
            Self::Process => "process",
            Self::MessageId => "message_id",
            Self::Message => "message",
            Self::Data { .. } => "ELEMENT/NAME",
        }
    }
}

impl Rule {
    /// Every place that the rule looks at.
    pub fn references(&self) -> Vec<&Reference> {
        match &self.input {
            Input::Constant(_) => Vec::new(),
            Input::From(reference) => vec![reference],
            Input::Template(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Text(_) => None,
                    Piece::From(reference) => Some(reference),
                })
                .collect(),
        }
    }
}
