//! Lines that were read but cannot be sent, each with its reason.

use std::fmt;
use std::sync::Arc;

/// Why a line is not an event of its meter. The names are metric labels and stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The line is longer than `line_bytes_max`.
    LineTooLong,
    /// The connection ended in the middle of a line.
    PartialLine,
    /// Not a record of the source's format.
    Unparsable,
    /// Not JSON, or not strictly.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// One key twice in one object.
    DuplicateKey,
    /// Deeper nesting than is accepted.
    TooDeep,
    /// A required field is missing or null.
    MissingField,
    /// A field's value has another type than the meter's.
    WrongType,
    /// A value that its source's table does not list.
    UnmappedValue,
    /// A record that the program of its source could not make an event of.
    TransformFailed,
    /// A record that is for no meter that its source knows.
    UnknownMeter,
    /// A datetime field whose value is no time, or one that the field's format cannot say.
    InvalidDateTime,
    /// The event's time is longer ago than the meter accepts.
    TooOld,
    /// The event's time is further ahead than the meter accepts.
    TooNew,
    /// A number with more digits than the meter keeps.
    NumberOutOfRange,
    /// A character beyond U+FFFF, where those are refused.
    FourByteCharacter,
    /// A field that the schema does not list, where that is refused.
    UnknownField,
    /// An event that alone is larger than a request may be.
    EventTooLarge,
    /// Mediation refused the event; the code and the words are Mediation's.
    Refused,
    /// Mediation refused the event after it had accepted its request.
    RefusedAfterDelivery,
}

/// Every reason, for tables and metrics.
pub const REASONS: [Reason; 22] = [
    Reason::LineTooLong,
    Reason::PartialLine,
    Reason::Unparsable,
    Reason::InvalidJson,
    Reason::NotAnObject,
    Reason::InvalidUtf8,
    Reason::DuplicateKey,
    Reason::TooDeep,
    Reason::MissingField,
    Reason::WrongType,
    Reason::UnmappedValue,
    Reason::TransformFailed,
    Reason::UnknownMeter,
    Reason::InvalidDateTime,
    Reason::TooOld,
    Reason::TooNew,
    Reason::NumberOutOfRange,
    Reason::FourByteCharacter,
    Reason::UnknownField,
    Reason::EventTooLarge,
    Reason::Refused,
    Reason::RefusedAfterDelivery,
];

impl Reason {
    /// The name in the store, in metrics and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::PartialLine => "partial_line",
            Self::Unparsable => "unparsable",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::UnmappedValue => "unmapped_value",
            Self::TransformFailed => "transform_failed",
            Self::UnknownMeter => "unknown_meter",
            Self::InvalidDateTime => "invalid_datetime",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::FourByteCharacter => "four_byte_character",
            Self::UnknownField => "unknown_field",
            Self::EventTooLarge => "event_too_large",
            Self::Refused => "refused",
            Self::RefusedAfterDelivery => "refused_after_delivery",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A line that goes to the store instead of Mediation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The meter that it was read for; empty when its source has several and the line names none.
    pub meter: Arc<str>,
    /// The configured source that it was read from.
    pub source: Arc<str>,
    /// Where it stood: `path:offset` or `peer#line`.
    pub position: String,
    /// What is wrong.
    pub reason: Reason,
    /// The field that is wrong, when it is one field.
    pub field: Option<String>,
    /// What was found and what would be right, in words. Never holds the payload, but for what the
    /// program of a source says itself.
    pub detail: String,
    /// Mediation's code, of an event that Mediation refused.
    pub code: Option<String>,
    /// The id that the event has or would have had: it has the same one when it is replayed.
    pub event_id: Option<String>,
    /// The line as it came; of a line that is too long, its first bytes.
    pub event: Vec<u8>,
}
