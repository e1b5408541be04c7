//! Values of which the text counts: constants of events, expressions, tables of them.
//!
//! A number with a fraction has to be a text: a configuration would make a binary float of it, and
//! the digits that were typed would be gone.

use config::{Value, ValueKind};
use regex::Regex;

use super::Reader;
use crate::config::problem::quoted;
use crate::config::value::{kind_of, shown_value};

const EXPECTED: &str = "a text in quotes, a whole number, true or false";

impl Reader<'_> {
    /// A text, a whole number or a boolean as it is written.
    pub(in crate::config) fn scalar(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        let text = scalar_of(value);
        if text.is_none() {
            self.wrong(key, value, EXPECTED);
        }
        text
    }

    /// A list of them.
    pub(in crate::config) fn scalars(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let ValueKind::Array(list) = &value.kind else {
            self.wrong(key, value, "a list of texts, whole numbers or booleans");
            return None;
        };
        let items = list.iter().enumerate().filter_map(|(index, item)| {
            let text = scalar_of(item);
            if text.is_none() {
                let key = format!("{}[{index}]", self.key(key));
                self.notes.problem(key, shown_value(item), EXPECTED);
            }
            text
        });
        Some(items.collect())
    }

    /// A table of them, in the order of its keys.
    pub(in crate::config) fn table(&self, key: &'static str) -> Option<Vec<(String, String)>> {
        let value = self.value(key)?;
        let ValueKind::Table(table) = &value.kind else {
            self.wrong(key, value, "a table, { found = \"becomes\" }");
            return None;
        };
        let mut rows: Vec<_> = table
            .iter()
            .filter_map(|(found, becomes)| {
                let text = scalar_of(becomes);
                if text.is_none() {
                    let key = format!("{}.{found}", self.key(key));
                    self.notes.problem(key, shown_value(becomes), EXPECTED);
                }
                Some((found.clone(), text?))
            })
            .collect();
        rows.sort();
        Some(rows)
    }

    /// A regular expression.
    pub(in crate::config) fn pattern(&self, key: &'static str) -> Option<Regex> {
        let text = self.text(key)?;
        match Regex::new(&text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let expected = format!("a regular expression: {}", what_is_wrong(&error));
                self.notes.problem(self.key(key), quoted(&text), expected);
                None
            }
        }
    }

    /// One character that is a single byte.
    pub(in crate::config) fn byte(&self, key: &'static str) -> Option<u8> {
        let text = self.text_that(key, |text| {
            let is_one = text.len() == 1 && !matches!(text, "\n" | "\r");
            is_one.then_some(()).ok_or_else(|| "one ASCII character, no line end".to_owned())
        })?;
        text.bytes().next()
    }
}

fn scalar_of(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::Float(_) => None,
        _ if matches!(kind_of(value), "a whole number" | "true or false") => {
            Some(shown_value(value))
        }
        _ => None,
    }
}

/// The message and the place of an error, which the crate draws below the expression.
fn what_is_wrong(error: &regex::Error) -> String {
    let said = error.to_string();
    let message = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let message = message.unwrap_or_else(|| said.lines().last().unwrap_or_default());
    // Four blanks stand before the expression.
    let mark =
        said.lines().find(|line| line.contains('^') && line.trim_matches([' ', '^']).is_empty());
    match mark.and_then(|line| line.find('^')) {
        Some(column) => format!("{message}, at character {}", column.saturating_sub(3)),
        None => message.to_owned(),
    }
}
