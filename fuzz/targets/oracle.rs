//! What JSON is, by a parser that shares nothing with the agent's.

use std::collections::HashSet;
use std::fmt;

use meterd::dead_letter::Reason;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Objects and arrays within each other, as deep as is taken.
const DEPTH_MAX: u32 = 64;

/// `line` without the white space around its value.
pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| b" \t\r\n".contains(byte);
    let start = line.iter().position(|byte| !is_space(byte)).unwrap_or(0);
    let end = line.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

/// What a line is.
pub(crate) enum Judged {
    Event,
    /// With the reason, where one mistake alone is in it.
    Refused(Option<Reason>),
}

/// Judges a line of a source whose meter asks for nothing.
pub(crate) fn judge(line: &[u8]) -> Judged {
    let mut seen = Seen::default();
    let mut parser = serde_json::Deserializer::from_slice(line);
    let parsed = Strict { seen: &mut seen, depth: 0 }.deserialize(&mut parser);
    if let Err(error) = parsed.and_then(|()| parser.end()) {
        let is_number = error.to_string().starts_with("number out of range");
        // Numbers of any size are taken as they stand: the rest is looked at without reading them.
        let rest = serde_json::from_slice::<IgnoredAny>(line);
        if !is_number
            || rest.is_err()
            || !line.starts_with(b"{")
            || std::str::from_utf8(line).is_err()
        {
            return Judged::Refused(None);
        }
        return with_small_numbers(line);
    }
    match (seen.is_object, seen.depth > DEPTH_MAX, seen.is_repeated) {
        (true, false, false) => Judged::Event,
        (true, false, true) => Judged::Refused(Some(Reason::DuplicateKey)),
        (true, true, false) => Judged::Refused(Some(Reason::TooDeep)),
        (false, false, false) => Judged::Refused(Some(Reason::NotAnObject)),
        _ => Judged::Refused(None),
    }
}

/// Judges the line with every exponent outside of texts left out: only these make a number too large
/// to be read.
fn with_small_numbers(line: &[u8]) -> Judged {
    let mut small = Vec::with_capacity(line.len());
    let (mut is_text, mut is_escaped, mut is_exponent, mut digits) = (false, false, false, 0);
    for &byte in line {
        is_exponent &= matches!(byte, b'0'..=b'9' | b'+' | b'-');
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        if !is_text && matches!(byte, b'e' | b'E') && small.last().is_some_and(u8::is_ascii_digit) {
            is_exponent = true;
        }
        if is_text || !(is_exponent || digits > 100) {
            small.push(byte);
        }
        if byte == b'"' && !is_escaped {
            is_text = !is_text;
        }
        is_escaped = is_text && byte == b'\\' && !is_escaped;
    }
    judge(&small)
}

/// What stands in a document.
#[derive(Default)]
struct Seen {
    is_object: bool,
    depth: u32,
    is_repeated: bool,
}

/// Reads every text and number, and looks at every key.
struct Strict<'s> {
    seen: &'s mut Seen,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        self.seen.depth = self.seen.depth.max(depth);
        while list.next_element_seed(Strict { seen: &mut *self.seen, depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        self.seen.depth = self.seen.depth.max(depth);
        self.seen.is_object |= depth == 1;
        let mut keys = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            self.seen.is_repeated |= !keys.insert(key);
            members.next_value_seed(Strict { seen: &mut *self.seen, depth })?;
        }
        Ok(())
    }
}
