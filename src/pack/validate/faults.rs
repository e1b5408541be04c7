//! What is wrong with a line as a whole.

use super::super::guards::four_byte_character;
use super::super::json::{Fault, Scan};
use crate::dead_letter::Reason;

/// What stands where an object should begin.
#[cold]
pub(in crate::pack) fn no_object(scan: &mut Scan<'_>, line: &[u8]) -> Fault {
    let at = scan.at;
    match scan.peek() {
        b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
            // A line of plain text may begin like a value, too.
            if let Err(fault) = scan.value(0, &mut Vec::new()) {
                return fault;
            }
            scan.skip_space();
            if scan.at != line.len() {
                return scan.syntax("something follows the value on its line");
            }
            Fault { reason: Reason::NotAnObject, at, what: "an event must be an object" }
        }
        _ => scan.syntax("an object was expected"),
    }
}

/// Where the line stops being UTF-8.
#[cold]
pub(super) fn invalid_utf8(line: &[u8]) -> Fault {
    let at = std::str::from_utf8(line).err().map_or(0, |error| error.valid_up_to());
    Fault { reason: Reason::InvalidUtf8, at, what: "the bytes are not UTF-8" }
}

/// Refuses characters beyond U+FFFF in both spellings: in UTF-8, and as a pair of surrogate escapes.
pub(super) fn no_four_bytes(scan: &Scan<'_>, line: &[u8]) -> Result<(), Fault> {
    let raw = if scan.beyond_ascii { four_byte_character(line) } else { None };
    match raw.or(scan.surrogates_at) {
        Some(at) => {
            let what = "a character beyond U+FFFF was found";
            Err(Fault { reason: Reason::FourByteCharacter, at, what })
        }
        None => Ok(()),
    }
}

/// The key whose inside begins at `at`.
pub(super) fn key_at(line: &[u8], at: usize) -> Option<String> {
    let mut scan = Scan::new(line);
    scan.at = at.checked_sub(1)?;
    scan.string().ok().map(|key| key.decode(line))
}
