//! logfmt: `key=value`, with quotes around values that hold blanks, and JSON's escapes in them.
//!
//! A key without a value has none. A line without a single `=` is text, not a record.

use std::borrow::Cow;

use super::super::record::{Kind, Places, Record};
use super::super::text;
use super::super::validate::Refusal;
use super::unparsable;
use crate::dead_letter::Reason;
use crate::mapping::Reference;

#[derive(Debug)]
pub(super) struct Logfmt {
    /// The keys that are wanted, with their slots.
    wanted: Vec<(String, usize)>,
}

impl Logfmt {
    pub(super) fn new(places: &Places) -> Self {
        let wanted = places.all().filter_map(|(slot, place)| match place {
            Reference::Field(keys) => match keys.as_slice() {
                [key] => Some((key.clone(), slot)),
                _ => None,
            },
            _ => None,
        });
        Self { wanted: wanted.collect() }
    }

    pub(super) fn decode(&self, text: &str, record: &mut Record) -> Result<(), Refusal> {
        each(text, |place, key, found| {
            let slot = self.wanted.iter().find(|(wanted, _)| wanted == key).map(|(_, slot)| *slot);
            let is_new = slot.is_none_or(|slot| record.put(slot, Kind::Text, &found));
            if is_new {
                return Ok(());
            }
            let detail = format!("byte {place}: the key stands twice on the line");
            let (reason, field) = (Reason::DuplicateKey, Some(key.to_owned()));
            Err(Refusal { reason, field, detail })
        })
    }
}

/// Gives the place, key and value of each pair of `text` that has a value.
pub(super) fn each(
    text: &str,
    mut take: impl FnMut(usize, &str, Cow<'_, str>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut rest = text.trim_ascii_start();
    let mut has_pair = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c <= ' ' || c == '=' || c == '"').unwrap_or(rest.len());
        let (key, behind) = rest.split_at(end);
        let place = text.len() - rest.len();
        if behind.starts_with('"') || key.is_empty() {
            return Err(unparsable(format!("byte {}: a key was expected", place + end)));
        }
        let Some(value) = behind.strip_prefix('=') else {
            rest = behind.trim_ascii_start();
            continue;
        };
        has_pair = true;
        let (found, behind) = take_value(value).ok_or_else(|| {
            unparsable(format!("byte {place}: the quotes of a value are not closed"))
        })?;
        take(place, key, found)?;
        if behind.starts_with(|c: char| c > ' ') {
            let at = text.len() - behind.len();
            return Err(unparsable(format!("byte {at}: a blank was expected")));
        }
        rest = behind.trim_ascii_start();
    }
    if has_pair { Ok(()) } else { Err(unparsable("there is no key=value on the line")) }
}

/// The value at the beginning of `rest` and what is behind it; none: its quotes are not closed.
fn take_value(rest: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(|c: char| c <= ' ').unwrap_or(rest.len());
        let (plain, behind) = rest.split_at(end);
        return Some((plain.into(), behind));
    };
    let (inside, behind) = quoted.split_at_checked(closing_quote(quoted)?)?;
    let text = if inside.contains('\\') {
        Cow::Owned(text::unescape(inside.as_bytes()))
    } else {
        Cow::Borrowed(inside)
    };
    Some((text, behind.get(1..)?))
}

/// Where the quote stands that ends the value which `quoted` begins with; none when there is none,
/// or an escape is wrong.
fn closing_quote(quoted: &str) -> Option<usize> {
    let bytes = quoted.as_bytes();
    let mut at = 0;
    loop {
        at = text::plain_run(bytes, at).at;
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at = text::escape(bytes, at)?.1,
            // Control characters stand as they are.
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::testing::{field, places, shown};
    use proptest::prelude::*;

    fn decode(keys: &[&str], text: &str) -> Result<Vec<String>, Refusal> {
        let references: Vec<_> = keys.iter().map(|key| field(&[key])).collect();
        let places = places(&references);
        let mut record = Record::default();
        record.clear(places.len());
        Logfmt::new(&places).decode(text, &mut record)?;
        Ok(shown(&record, keys.len()))
    }

    #[test]
    fn pairs_are_read_plain_quoted_and_escaped() {
        let text = r#"at=info  a="x y \"z\" \u00e9\n" b=1.50 url=/x?q=1&r=é flag c="" d= e="#;
        let keys = ["at", "a", "b", "url", "flag", "c", "d", "e", "missing"];
        let expected = ["info", "x y \"z\" é\n", "1.50", "/x?q=1&r=é", "-", "-", "-", "-", "-"];
        assert_eq!(decode(&keys, text).expect("decoded"), expected);
    }

    #[test]
    fn what_is_no_logfmt_is_refused() {
        for text in ["plain words", "=1", "a=1 =2", "a=\"x", "a=\"x\"y", "\"a\"=1", "a=\"\\q\"", ""]
        {
            let refused = decode(&["a"], text).map_err(|refusal| refusal.reason);
            assert_eq!(refused, Err(Reason::Unparsable), "{text}");
        }
        let twice = decode(&["a"], "a=1 b=1 b=2 a=2").map_err(|it| (it.reason, it.field));
        assert_eq!(twice, Err((Reason::DuplicateKey, Some("a".to_owned()))));
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(a: String, b in "[^\" =\\x00-\\x20][^ \\x00-\\x20]{0,8}") {
            let text = format!("x=1 a={} b={b}", serde_json::Value::from(a.as_str()));
            let found = decode(&["a", "b"], &text).expect("decoded");
            let expected = if a.is_empty() { "-".to_owned() } else { a };
            prop_assert_eq!(found, [expected, b]);
        }

        #[test]
        fn arbitrary_texts_do_no_harm(text in "\\PC*|[a=\" \\\\]{0,40}") {
            let _ = decode(&["a"], &text);
        }
    }
}
