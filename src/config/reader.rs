//! Reads one section of a merged configuration, typed, and goes on after a mistake.
//!
//! Every call notes what is wrong instead of returning an error, remembers the key as known, and
//! answers [`None`] for "not there or wrong"; [`Reader::finish`] then reports every key that
//! nobody asked for. An empty text counts as "not there", as the example configuration writes it.

mod scalars;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use secrecy::SecretString;

use super::environment;
use super::problem::{Notes, nearest, quoted};
use super::value::{kind_of, shown_value, whole};
use crate::mediation::form::Id;
use crate::units::{ByteSize, Period};

/// One section.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The whole key of the section, empty for the root.
    path: String,
    /// The same with `*` for names that the operator chose.
    pattern: String,
    table: Option<&'a Map<String, Value>>,
    notes: &'a Notes,
    asked: RefCell<BTreeSet<&'static str>>,
    unsupported: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Reader<'a> {
    /// The whole document.
    pub(super) fn root(document: &'a Map<String, Value>, notes: &'a Notes) -> Self {
        Self::new(String::new(), String::new(), Some(document), notes)
    }

    fn new(
        path: String,
        pattern: String,
        table: Option<&'a Map<String, Value>>,
        notes: &'a Notes,
    ) -> Self {
        Self {
            path,
            pattern,
            table,
            notes,
            asked: RefCell::default(),
            unsupported: RefCell::default(),
        }
    }

    /// Where problems go.
    pub(super) fn notes(&self) -> &'a Notes {
        self.notes
    }

    /// The whole key of this section.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The whole key of `key` in this section.
    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Whether this section was written at all.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether `key` is set, rightly or wrongly.
    pub(super) fn is_set(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether `key` is a section of its own, where it may also be something else.
    pub(super) fn is_section(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| matches!(value.kind, ValueKind::Table(_)))
    }

    /// Whether `key` is an empty text, where that means something else than its absence.
    pub(super) fn is_empty_text(&self, key: &'static str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        matches!(value, Some(Value { kind: ValueKind::String(text), .. }) if text.is_empty())
    }

    /// Notes that `key` is there and should not be.
    pub(super) fn unsupported(&self, key: &'static str, instead: &str) {
        self.unsupported.borrow_mut().insert(key);
        if self.table.is_some_and(|table| table.contains_key(key)) {
            self.notes.problem(
                self.key(key),
                "a key that is not supported by this version",
                instead,
            );
        }
    }

    /// Notes that `key` is missing.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        self.notes.problem(self.key(key), "nothing", expected);
    }

    /// The section `key`; an absent one has no keys.
    pub(super) fn section(&self, key: &'static str) -> Reader<'a> {
        let table = self.value(key).and_then(|value| self.table_of(&self.key(key), value));
        Reader::new(self.key(key), join(&self.pattern, key), table, self.notes)
    }

    /// The sections in `key`, in the order of the names that the operator gave them.
    pub(super) fn named(&self, key: &'static str) -> Vec<(String, Reader<'a>)> {
        let Some(table) = self.value(key).and_then(|value| self.table_of(&self.key(key), value))
        else {
            return Vec::new();
        };
        let pattern = join(&join(&self.pattern, key), "*");
        let mut sections: Vec<_> = table
            .iter()
            .filter_map(|(name, value)| {
                let path = join(&self.key(key), name);
                let table = self.table_of(&path, value)?;
                let reader = Reader::new(path, pattern.clone(), Some(table), self.notes);
                Some((name.clone(), reader))
            })
            .collect();
        sections.sort_by(|(left, _), (right, _)| left.cmp(right));
        sections
    }

    /// The sections of the list `key`.
    pub(super) fn listed(&self, key: &'static str) -> Option<Vec<Reader<'a>>> {
        let value = self.value(key)?;
        let ValueKind::Array(list) = &value.kind else {
            self.wrong(key, value, "a list of tables");
            return None;
        };
        let pattern = join(&self.pattern, key);
        let sections = list.iter().enumerate().filter_map(|(index, value)| {
            let path = format!("{}[{index}]", self.key(key));
            let table = self.table_of(&path, value)?;
            Some(Reader::new(path, pattern.clone(), Some(table), self.notes))
        });
        Some(sections.collect())
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        if let ValueKind::String(text) = &value.kind {
            Some(text.clone())
        } else {
            self.wrong(key, value, "a text in quotes");
            None
        }
    }

    /// A text that `accept` takes; it answers what would be right otherwise.
    pub(super) fn text_that(
        &self,
        key: &'static str,
        accept: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let text = self.text(key)?;
        match accept(&text) {
            Ok(()) => Some(text),
            Err(expected) => {
                self.notes.problem(self.key(key), self.shown(key, &text), expected);
                None
            }
        }
    }

    /// An id of Mediation: a whole number from 1, or a text that can be one.
    pub(super) fn id(&self, key: &'static str) -> Option<Id> {
        let value = self.value(key)?;
        let id = match &value.kind {
            ValueKind::String(text) => text.parse().ok(),
            _ => whole(value).map(Id::Number),
        };
        let is_plain = |text: &str| {
            text.len() <= 256
                && text.chars().all(|c| c.is_ascii_graphic())
                && text.chars().any(|c| c.is_ascii_alphanumeric())
        };
        let is_good = |id: &Id| match id {
            Id::Number(number) => *number > 0,
            Id::Text(text) => is_plain(text),
        };
        if id.as_ref().is_some_and(is_good) {
            return id;
        }
        self.wrong(key, value, "the id as Mediation shows it, such as 97");
        None
    }

    /// The path of a file or directory.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A secret; its value is never repeated.
    pub(super) fn secret(&self, key: &'static str) -> Option<SecretString> {
        let value = self.value(key)?;
        if let ValueKind::String(text) = &value.kind {
            Some(text.clone().into())
        } else {
            self.notes.problem(self.key(key), kind_of(value), "a text in quotes");
            None
        }
    }

    /// Whether `key` comes from the environment.
    pub(super) fn is_from_environment(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(environment::is_origin_of)
    }

    /// A list of texts; in the environment separated by commas.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        match &value.kind {
            ValueKind::String(text) if environment::is_origin_of(value) => {
                Some(text.split(',').map(|part| part.trim().to_owned()).collect())
            }
            ValueKind::Array(list) => {
                let text = |(index, item): (usize, &Value)| {
                    if let ValueKind::String(text) = &item.kind {
                        Some(text.clone())
                    } else {
                        let key = format!("{}[{index}]", self.key(key));
                        self.notes.problem(key, shown_value(item), "a text in quotes");
                        None
                    }
                };
                Some(list.iter().enumerate().filter_map(text).collect())
            }
            _ => {
                self.wrong(key, value, "a list of texts in quotes");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match &value.kind {
            ValueKind::Boolean(boolean) => return Some(*boolean),
            ValueKind::String(text) if environment::is_origin_of(value) => {
                if let Ok(boolean) = text.parse() {
                    return Some(boolean);
                }
            }
            _ => {}
        }
        self.wrong(key, value, "true or false");
        None
    }

    /// A whole number in `range`.
    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let number = match &value.kind {
            ValueKind::String(text) if environment::is_origin_of(value) => text.parse().ok(),
            _ => whole(value),
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let end = if *range.end() == u64::MAX {
            format!("a whole number from {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        self.wrong(key, value, &end);
        None
    }

    /// A number in `range`, with or without a fraction.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(key)?;
        let number = match &value.kind {
            ValueKind::String(text) if environment::is_origin_of(value) => text.parse().ok(),
            ValueKind::Float(number) => Some(*number),
            _ => whole(value).and_then(|number| u32::try_from(number).ok()).map(f64::from),
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        self.wrong(key, value, &format!("a number from {} to {}", range.start(), range.end()));
        None
    }

    /// A size in `range` bytes.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let bounds = RangeInclusive::new(ByteSize(*range.start()), ByteSize(*range.end()));
        let size = match &value.kind {
            ValueKind::String(text) => ByteSize::from_str(text),
            _ => match whole(value) {
                Some(bytes) => Ok(ByteSize(bytes)),
                None => ByteSize::from_str(""),
            },
        };
        self.within(key, value, size, &bounds).map(|size| size.0)
    }

    /// A duration in `range`.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.value(key)?;
        let bounds = RangeInclusive::new(Period::new(*range.start()), Period::new(*range.end()));
        let period = match &value.kind {
            ValueKind::String(text) => Period::from_str(text),
            _ => Period::from_str(&whole(value).map(|n| n.to_string()).unwrap_or_default()),
        };
        self.within(key, value, period, &bounds).map(Period::duration)
    }

    /// One of `choices`.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let found = match &value.kind {
            ValueKind::String(text) => choices.iter().find(|(name, _)| name == text),
            _ => None,
        };
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.wrong(key, value, &format!("one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }

    /// Reports every key of this section that was not asked for.
    pub(super) fn finish(self) {
        let (asked, unsupported) = (self.asked.borrow(), self.unsupported.borrow());
        for (key, value) in self.table.into_iter().flatten() {
            if asked.contains(key.as_str()) || unsupported.contains(key.as_str()) {
                continue;
            }
            let known = asked.iter().copied();
            let expected = match nearest(key, known.clone()) {
                Some(near) => format!("a known key; did you mean {near:?}?"),
                None if asked.is_empty() => "no key here".to_owned(),
                None => format!("one of {}", known.collect::<Vec<_>>().join(", ")),
            };
            let found = format!("an unknown key{}", self.origin(key, value));
            self.notes.problem(self.key(key), found, expected);
        }
    }

    /// The value of `key`, unless it is null or an empty text. The key is known from here on.
    fn value(&self, key: &'static str) -> Option<&'a Value> {
        if self.asked.borrow_mut().insert(key) {
            self.notes.know(join(&self.pattern, key));
        }
        let value = self.table?.get(key)?;
        let empty = match &value.kind {
            ValueKind::Nil => true,
            ValueKind::String(text) => text.is_empty(),
            _ => false,
        };
        (!empty).then_some(value)
    }

    fn table_of(&self, path: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        if let ValueKind::Table(table) = &value.kind {
            Some(table)
        } else {
            let expected = format!("a table, [{path}]");
            self.notes.problem(path, kind_of(value), expected);
            None
        }
    }

    fn within<T: PartialOrd + Display>(
        &self,
        key: &'static str,
        value: &Value,
        parsed: Result<T, crate::units::Error>,
        range: &RangeInclusive<T>,
    ) -> Option<T> {
        let expected = match parsed {
            Ok(parsed) if range.contains(&parsed) => return Some(parsed),
            Ok(_) => format!("{} to {}", range.start(), range.end()),
            Err(error) => error.expected.to_owned(),
        };
        self.wrong(key, value, &expected);
        None
    }

    fn wrong(&self, key: &'static str, value: &Value, expected: &str) {
        let found = format!("{}{}", shown_value(value), self.origin(key, value));
        self.notes.problem(self.key(key), found, expected);
    }

    fn shown(&self, key: &'static str, text: &str) -> String {
        let origin = self.value(key).map(|value| self.origin(key, value));
        format!("{}{}", quoted(text), origin.unwrap_or_default())
    }

    /// Names the environment variable when the value is from one.
    fn origin(&self, key: &str, value: &Value) -> String {
        if environment::is_origin_of(value) {
            format!(" in {}", environment::variable(&self.key(key)))
        } else {
            String::new()
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
