//! Whether a value has the type of its field.

use super::super::datetime::is_datetime;
use super::super::json::{Fault, Scan, Text};
use crate::dead_letter::Reason;
use crate::schema::FieldType;

/// Reads a value that must be of type `kind`; tells whether it is a number of that type without
/// fraction and exponent. `keys` is scratch space, left as it was.
#[inline]
pub(super) fn typed(
    scan: &mut Scan<'_>,
    line: &[u8],
    kind: FieldType,
    keys: &mut Vec<Text>,
) -> Result<bool, Fault> {
    let at = scan.at;
    match (kind, scan.peek()) {
        (FieldType::String, b'"') => scan.string().map(|_| false),
        (FieldType::Number, b'-' | b'0'..=b'9') => scan.number(),
        (FieldType::Integer | FieldType::DateTime, b'-' | b'0'..=b'9') => {
            if scan.number()? {
                return Ok(true);
            }
            Err(wrong_type(at, "a number with a fraction or an exponent was found"))
        }
        (FieldType::DateTime, b'"') => {
            let text = scan.string()?;
            if is_datetime(text.inside(line)) {
                return Ok(false);
            }
            let what = "a time such as 2026-11-21T06:14:11Z was expected";
            Err(Fault { reason: Reason::InvalidDateTime, at, what })
        }
        (FieldType::Boolean, b't' | b'f') => scan.word().map(|()| false),
        (FieldType::Any, _) => scan.value(1, keys).map(|()| false),
        (_, found) => Err(mistyped(scan, keys, found, at)),
    }
}

/// A value of another type; one that is no JSON at all is a mistake in the syntax.
#[cold]
fn mistyped(scan: &mut Scan<'_>, keys: &mut Vec<Text>, found: u8, at: usize) -> Fault {
    if let Err(fault) = scan.value(1, keys) {
        return fault;
    }
    let what = match found {
        b'"' => "a string was found",
        b'{' => "an object was found",
        b'[' => "an array was found",
        b't' | b'f' => "a boolean was found",
        _ => "a number was found",
    };
    wrong_type(at, what)
}

/// A value of a type that the field has not.
#[cold]
pub(super) fn wrong_type(at: usize, what: &'static str) -> Fault {
    Fault { reason: Reason::WrongType, at, what }
}
