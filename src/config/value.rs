//! Single values of a merged configuration: as numbers, and as problems show them.

use config::{Value, ValueKind};

use super::problem::quoted;

/// A whole number that is not negative.
pub(super) fn whole(value: &Value) -> Option<u64> {
    match &value.kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::I128(number) => u64::try_from(*number).ok(),
        ValueKind::U64(number) => Some(*number),
        ValueKind::U128(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// A single value as it was typed; of lists and tables only what they are.
pub(super) fn shown_value(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => quoted(text),
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => kind_of(value).to_owned(),
        number_or_boolean => number_or_boolean.to_string(),
    }
}

/// What a value is, without saying it.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match &value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::Float(_) => "a number with a fraction",
        ValueKind::String(_) => "a text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "a whole number"
        }
    }
}
