//! One event a line out of a JSON document, in its own bytes: the events of an array stand in it
//! one behind the other, so each is moved to the front and its comma becomes the end of a line.
//!
//! Only structure is looked at, not whether each event is right: that is found where every line is
//! checked. What could be hidden by moving bytes is refused here: whatever stands outside of events.
//! A line end within an event becomes a space; within a text it is not allowed, and is refused.

use crate::dead_letter::Reason;
use crate::notice::BadLine;

/// Why a document is no sequence of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// The event at or behind which it is.
    pub index: u64,
    /// The class of the mistake.
    pub reason: Reason,
    /// What was found.
    pub what: &'static str,
}

impl Malformed {
    /// As an answer names it.
    pub(super) fn into_bad_line(self) -> BadLine {
        let Self { index, reason, what } = self;
        BadLine { index, reason, field: None, detail: what.to_owned() }
    }
}

/// The longest event, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limit(pub usize);

/// Makes lines of an object or an array of values; gives their number.
pub fn document(bytes: &mut Vec<u8>, limit: Limit) -> Result<u64, Malformed> {
    let mut splitter = Splitter { bytes, at: 0, written: 0, events: 0, limit };
    splitter.skip_space();
    let result = match splitter.peek() {
        Some(b'[') => splitter.array(),
        _ => splitter.single(),
    };
    let (written, events) = (splitter.written, splitter.events);
    result?;
    bytes.truncate(written);
    Ok(events)
}

/// Makes sure that the last of a sequence of lines has its end, and that none is too long; gives
/// their number, those that are blank not counted.
pub fn lines(bytes: &mut Vec<u8>, limit: Limit) -> Result<u64, Malformed> {
    if bytes.last().is_some_and(|last| *last != b'\n') {
        bytes.push(b'\n');
    }
    let mut index = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        if line.len() > limit.0 {
            let what = "the line is longer than line_bytes_max";
            return Err(Malformed { index, reason: Reason::LineTooLong, what });
        }
        index += 1;
    }
    Ok(index)
}

struct Splitter<'b> {
    bytes: &'b mut Vec<u8>,
    at: usize,
    /// Where the next line goes; never beyond `at` but for the last.
    written: usize,
    events: u64,
    limit: Limit,
}

impl Splitter<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn malformed<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { index: self.events, reason: Reason::InvalidJson, what })
    }

    fn single(&mut self) -> Result<(), Malformed> {
        if self.peek().is_none() {
            return self.malformed("the body is empty");
        }
        let start = self.at;
        self.value()?;
        let end = self.at;
        // Before the line end is written: it may take the place of what follows.
        self.end()?;
        self.keep(start, end)
    }

    fn array(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.end();
        }
        loop {
            self.skip_space();
            let start = self.at;
            self.value()?;
            let end = self.at;
            self.skip_space();
            // Looked at before the line end takes its place.
            let separator = self.peek();
            self.at += 1;
            match separator {
                Some(b',') => self.keep(start, end)?,
                Some(b']') => {
                    self.keep(start, end)?;
                    return self.end();
                }
                _ => return self.malformed("a comma or the end of the array was expected"),
            }
        }
    }

    /// Nothing may follow.
    fn end(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => self.malformed("something follows the document"),
        }
    }

    /// Moves a value to the front, as a line.
    fn keep(&mut self, start: usize, end: usize) -> Result<(), Malformed> {
        if end - start > self.limit.0 {
            let what = "the event is longer than line_bytes_max";
            return Err(Malformed { index: self.events, reason: Reason::LineTooLong, what });
        }
        let line_end = self.written + (end - start);
        self.bytes.copy_within(start..end, self.written);
        match self.bytes.get_mut(line_end) {
            Some(byte) => *byte = b'\n',
            // A single event fills the whole body.
            None => self.bytes.push(b'\n'),
        }
        self.written = line_end + 1;
        self.events += 1;
        Ok(())
    }

    /// Passes over one value: to the bracket that closes it, the end of its text, or the end of a
    /// word or number.
    fn value(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(),
            Some(b'"') => self.text(),
            Some(b',' | b']' | b'}') | None => self.malformed("a value was expected"),
            Some(_) => {
                let is_end = |byte: u8| b",]} \t\r\n".contains(&byte);
                while self.peek().is_some_and(|byte| !is_end(byte)) {
                    self.at += 1;
                }
                Ok(())
            }
        }
    }

    fn nested(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        while let Some(byte) = self.bytes.get_mut(self.at) {
            match *byte {
                b'"' => {
                    self.text()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b'\n' => *byte = b' ',
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        self.malformed("the body ends within an event")
    }

    /// Passes over a text, its quotes included.
    fn text(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr::memchr3(b'"', b'\\', b'\n', rest) else {
                return self.malformed("the body ends within a text");
            };
            self.at += found;
            match self.peek() {
                // A line end behind it would make two lines of one event.
                Some(b'\\') if self.bytes.get(self.at + 1) != Some(&b'\n') => self.at += 2,
                Some(b'\\' | b'\n') => return self.malformed("a line end stands within a text"),
                _ => {
                    self.at += 1;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const WIDE: Limit = Limit(1000);

    fn split(text: &str) -> Result<(String, u64), &'static str> {
        let mut bytes = text.as_bytes().to_vec();
        let count = document(&mut bytes, WIDE).map_err(|malformed| malformed.what)?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), count))
    }

    #[test]
    fn objects_and_arrays_become_lines() {
        for (text, expected) in [
            ("{}", "{}\n"),
            ("[]", ""),
            (" [ ] ", ""),
            ("[{}]", "{}\n"),
            ("[{},{}]", "{}\n{}\n"),
            (
                " [\n {\"a\" : [1,\n{}]} ,\r\n{\"b\":\"]},\\\"\"}\n]\n",
                "{\"a\" : [1, {}]}\n{\"b\":\"]},\\\"\"}\n",
            ),
            ("[1,\"x\",null,[2]]", "1\n\"x\"\nnull\n[2]\n"),
            ("{\"a\":1}\n", "{\"a\":1}\n"),
            ("7", "7\n"),
        ] {
            let (lines, count) = split(text).unwrap_or_else(|what| (what.to_owned(), 0));
            assert_eq!(lines, expected, "{text}");
            assert_eq!(count, expected.matches('\n').count() as u64, "{text}");
        }
    }

    #[test]
    fn whatever_is_outside_of_events_is_refused() {
        for text in [
            "",
            " ",
            "[",
            "[{}",
            "[{},]",
            "[,{}]",
            "[{}{}]",
            "[{}] x",
            "{} {}",
            "[{}]]",
            "{",
            "\"",
            "[\"\\",
            "{\"a\":\"x\ny\"}",
            "[{}}",
            "]",
            "}",
            ",",
        ] {
            assert!(split(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lines_get_their_last_end_and_a_long_one_is_refused() {
        let check = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let count = lines(&mut bytes, Limit(3));
            (
                count.map_err(|malformed| malformed.index),
                String::from_utf8_lossy(&bytes).into_owned(),
            )
        };
        assert_eq!(check("1\n\n22"), (Ok(2), "1\n\n22\n".to_owned()));
        assert_eq!(check(""), (Ok(0), String::new()));
        assert_eq!(check("1\n2222\n").0, Err(1));
        let long = document(&mut b"[1,22222]".to_vec(), Limit(3));
        assert_eq!(
            long.map_err(|malformed| (malformed.index, malformed.reason)),
            Err((1, Reason::LineTooLong))
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\\n\\]\\[{},é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a\"\\]}]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_array_comes_apart_into_its_values(
            values in prop::collection::vec(json(), 0..6), is_pretty: bool,
        ) {
            let text = if is_pretty {
                serde_json::to_string_pretty(&values)
            } else {
                serde_json::to_string(&values)
            };
            let (lines, count) = split(&text.expect("JSON")).expect("split");
            let parsed: Vec<Value> =
                lines.lines().map(|line| serde_json::from_str(line).expect("a value")).collect();
            prop_assert_eq!(count, values.len() as u64);
            prop_assert_eq!(parsed, values);
        }

        #[test]
        fn no_bytes_do_harm_and_nothing_that_is_accepted_was_no_json(
            text in prop::collection::vec(prop::sample::select(b"[]{},:\"\\ \n1a".to_vec()), 0..24),
        ) {
            let mut bytes = text.clone();
            if document(&mut bytes, WIDE).is_ok() {
                let all_good =
                    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
                        .all(|line| serde_json::from_slice::<Value>(line).is_ok());
                let whole = serde_json::from_slice::<Value>(&text).is_ok();
                prop_assert_eq!(whole, all_good, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}
