//! Event ids that are the same after a crash, a restart and a re-read.
//!
//! An id is `ORIGIN-POSITION`: 16 hexadecimal digits that name the stream of lines in the fleet,
//! and the line's byte offset or number in it. A constant prefix with a rising number compresses
//! to almost nothing, where a random UUID would double the wire size.

use crate::position::Origin;

/// The longest id: 16 digits, a hyphen, and the 20 digits of the largest position.
pub const ID_BYTES_MAX: usize = 16 + 1 + 20;

/// Stamps ids of one stream under one field name.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// `,"FIELD":"ORIGIN-`
    behind_member: Vec<u8>,
}

impl Stamp {
    /// Ids of `origin` in the field `name`.
    pub fn new(name: &str, origin: Origin) -> Self {
        // A name goes out as a JSON string, whatever characters it has.
        let name = serde_json::Value::from(name);
        Self { behind_member: format!(",{name}:\"{origin}-").into_bytes() }
    }

    /// Appends the member with the id of the line at `position` and the closing brace.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, has_members: bool, position: u64) {
        let member = if has_members {
            self.behind_member.as_slice()
        } else {
            self.behind_member.get(1..).unwrap_or_default()
        };
        out.extend_from_slice(member);
        write_decimal(out, position);
        out.extend_from_slice(b"\"}");
    }
}

/// How many bytes stamping adds to an event at most, under the field `name`.
pub fn stamp_bytes_max(name: &str) -> usize {
    let quoted = serde_json::Value::from(name).to_string().len();
    quoted + ",:\"\"".len() + ID_BYTES_MAX
}

/// Appends `number` in decimal digits.
#[inline]
fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            // Below ten, so it fits.
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{event_id, parse_event_id};
    use proptest::prelude::*;

    #[test]
    fn an_id_is_added_behind_members_or_alone() {
        let stamp = Stamp::new("Event\"Id", Origin(0xfe));
        let write = |start: &str, has_members| {
            let mut out = start.as_bytes().to_vec();
            stamp.write(&mut out, has_members, 120);
            String::from_utf8(out).unwrap_or_default()
        };
        assert_eq!(write("{\"a\":1", true), r#"{"a":1,"Event\"Id":"00000000000000fe-120"}"#);
        assert_eq!(write("{", false), r#"{"Event\"Id":"00000000000000fe-120"}"#);
    }

    proptest! {
        #[test]
        fn a_stamped_id_is_the_id_as_text_and_never_longer_than_promised(
            origin: u64, position: u64, name in "[A-Za-z\"]{1,8}",
        ) {
            let mut out = Vec::new();
            Stamp::new(&name, Origin(origin)).write(&mut out, true, position);
            let id = event_id(Origin(origin), position);
            prop_assert_eq!(parse_event_id(&id), Some((Origin(origin), position)));
            let end = format!("\"{id}\"}}");
            prop_assert!(out.ends_with(end.as_bytes()));
            prop_assert!(out.len() - 1 <= stamp_bytes_max(&name));
        }
    }
}
