//! What a meter accepts: the fields of an event, their types, and which must be there.
//!
//! A [`Schema`] is data only. `pack::validate` checks events against it. [`export`] reads one from
//! an exported meter; [`edition`] is the one that is in force, which may change while the agent runs.

pub mod difference;
pub mod edition;
pub mod export;

use std::sync::Arc;

use crate::time_format::TimeFormat;

/// The type of a field, as the meter's event definition names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A JSON string.
    String,
    /// A JSON number of any form.
    Number,
    /// A JSON number without fraction and exponent.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A JSON string that holds a date, with or without a time of day, or an epoch number.
    DateTime,
    /// Whatever JSON value: a type name of Mediation's that is not known here.
    Any,
}

impl FieldType {
    /// The name as configurations and error messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::DateTime => "datetime",
            Self::Any => "any",
        }
    }
}

/// One field of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key in the event.
    pub name: Arc<str>,
    /// What its value must be. `null` stands for a missing value.
    pub kind: FieldType,
    /// Whether an event without it is refused.
    pub required: bool,
    /// How its times go out; none: as they came. For datetime fields only.
    pub format: Option<TimeFormat>,
}

impl Field {
    fn is_time(&self) -> bool {
        self.kind == FieldType::DateTime
    }
}

/// The most fields that a schema may hold: one bit of a `u64` each, and one for the event id.
pub const FIELDS_MAX: usize = 63;

/// The fields of a meter's events, in the order in which the meter lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    fields: Vec<Field>,
    required: u64,
    event_time: Option<usize>,
}

/// Why a list of fields is not a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two fields of one name.
    #[error("field {0:?} is listed twice")]
    Repeated(Arc<str>),
    /// More fields than [`FIELDS_MAX`].
    #[error("{0} fields are listed, at most {FIELDS_MAX} are supported")]
    TooMany(usize),
    /// A field without a name.
    #[error("a field has an empty name")]
    Unnamed,
}

impl Schema {
    /// Compiles `fields`.
    pub fn new(fields: Vec<Field>) -> Result<Self, Error> {
        if fields.len() > FIELDS_MAX {
            return Err(Error::TooMany(fields.len()));
        }
        let mut required = 0;
        for (index, field) in fields.iter().enumerate() {
            if field.name.is_empty() {
                return Err(Error::Unnamed);
            }
            if fields.iter().take(index).any(|earlier| earlier.name == field.name) {
                return Err(Error::Repeated(Arc::clone(&field.name)));
            }
            if field.required {
                required |= 1 << index;
            }
        }
        let event_time = first_time(&fields);
        Ok(Self { fields, required, event_time })
    }

    /// One that accepts every JSON object.
    pub const fn open() -> Self {
        Self { fields: Vec::new(), required: 0, event_time: None }
    }

    /// The same, where the field called `name` says when the event happened, if it is a time.
    #[must_use]
    pub fn with_event_time(mut self, name: &str) -> Self {
        let marked = self.fields.iter().position(|field| &*field.name == name && field.is_time());
        self.event_time = marked.or(self.event_time);
        self
    }

    /// The four fields that Mediation documents for a streaming event, all required:
    /// `CustomerId`, `UsageIdentifier`, `UsageDate` and `Quantity`.
    pub fn documented() -> Self {
        let field =
            |name: &str, kind| Field { name: name.into(), kind, required: true, format: None };
        let fields = vec![
            field("CustomerId", FieldType::String),
            field("UsageIdentifier", FieldType::String),
            field("UsageDate", FieldType::DateTime),
            field("Quantity", FieldType::Number),
        ];
        let required = (1 << fields.len()) - 1;
        Self { event_time: first_time(&fields), fields, required }
    }

    /// The fields in order; at most [`FIELDS_MAX`].
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The index of the field that says when the event happened: the one that the meter marks,
    /// else the first datetime field that is required, else the first one.
    pub const fn event_time(&self) -> Option<usize> {
        self.event_time
    }

    /// Bit `i` is set when field `i` is required.
    pub const fn required(&self) -> u64 {
        self.required
    }
}

fn first_time(fields: &[Field]) -> Option<usize> {
    let times = || fields.iter().enumerate().filter(|(_, field)| field.is_time());
    let first = times().find(|(_, field)| field.required).or_else(|| times().next());
    first.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, required: bool) -> Field {
        Field { name: name.into(), kind: FieldType::String, required, format: None }
    }

    #[test]
    fn required_fields_are_bits_in_order() {
        let schema = Schema::new(vec![field("a", true), field("b", false), field("c", true)]);
        assert_eq!(schema.map(|schema| schema.required()), Ok(0b101));
    }

    #[test]
    fn a_name_listed_twice_is_refused() {
        let refused = Schema::new(vec![field("a", true), field("a", false)]);
        assert_eq!(refused, Err(Error::Repeated("a".into())));
    }

    #[test]
    fn the_event_time_is_the_first_required_datetime_or_the_first() {
        let time = |name, required| Field { kind: FieldType::DateTime, ..field(name, required) };
        let check = |fields: Vec<Field>, expected| {
            assert_eq!(Schema::new(fields).map(|schema| schema.event_time()), Ok(expected));
        };
        check(vec![field("a", true)], None);
        check(vec![field("a", true), time("b", false), time("c", false)], Some(1));
        check(vec![field("a", true), time("b", false), time("c", true), time("d", true)], Some(2));
    }

    #[test]
    fn the_event_time_is_the_field_that_the_meter_marks_if_it_is_a_time() {
        let time = |name| Field { kind: FieldType::DateTime, ..field(name, true) };
        let check = |marked: &str, expected| {
            let schema = Schema::new(vec![time("a"), time("b"), field("c", true)]);
            let schema = schema.map(|schema| schema.with_event_time(marked).event_time());
            assert_eq!(schema, Ok(Some(expected)), "{marked}");
        };
        check("b", 1);
        check("c", 0);
        check("d", 0);
    }

    #[test]
    fn the_documented_fields_are_all_required() {
        assert_eq!(Schema::documented().required(), 0b1111);
    }
}
