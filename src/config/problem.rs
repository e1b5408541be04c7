//! What is wrong with a configuration, and the place where it is collected.
//!
//! A [`Problem`] never holds the value of a secret, of an unknown key or of a whole section: a
//! secret that was typed at the wrong place stays out of logs, too.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The longest value that is repeated in a problem, in characters.
const SHOWN_MAX: usize = 80;

/// One thing that has to be changed before the configuration can be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The whole key, such as `sources.app.paths[0]`.
    pub key: String,
    /// What is there.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl Problem {
    /// Whether it is about `section` or a key in it.
    pub(super) fn is_in(&self, section: &str) -> bool {
        let rest = self.key.strip_prefix(section);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: found {}, expected {}", self.key, self.found, self.expected)
    }
}

/// One thing that works and is probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The whole key that it is about.
    pub key: String,
    /// What is odd, and what to do.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.message)
    }
}

/// Collects what is found while a configuration is read. One thread, one load.
#[derive(Debug, Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Warning>>,
    known: RefCell<BTreeSet<String>>,
    files: RefCell<Vec<(String, PathBuf)>>,
}

impl Notes {
    /// Notes a problem.
    pub(super) fn problem(
        &self,
        key: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let problem = Problem { key: key.into(), found: found.into(), expected: expected.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a warning.
    pub(super) fn warning(&self, key: impl Into<String>, message: impl Into<String>) {
        let warning = Warning { key: key.into(), message: message.into() };
        self.warnings.borrow_mut().push(warning);
    }

    /// Notes that the reader asked for `key`; names of meters and sources are `*` in it.
    pub(super) fn know(&self, key: String) {
        self.known.borrow_mut().insert(key);
    }

    /// Notes that `key` names the file at `path`.
    pub(super) fn file(&self, key: &str, path: &Path) {
        self.files.borrow_mut().push((key.to_owned(), path.to_owned()));
    }

    /// Every file that is named, with its key.
    pub(super) fn files(&self) -> Vec<(String, PathBuf)> {
        self.files.borrow().clone()
    }

    /// Whether `key` or a part of it has a problem already: one mistake makes one problem.
    pub(super) fn is_bad(&self, key: &str) -> bool {
        self.problems.borrow().iter().any(|problem| {
            let rest = problem.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Every problem, warning and known key, each in order and once.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Warning>, BTreeSet<String>) {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        let mut warnings = self.warnings.into_inner();
        warnings.sort();
        warnings.dedup();
        (problems, warnings, self.known.into_inner())
    }
}

/// `text` in quotes as a problem shows it: escaped, and cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The one of `known` that was probably meant by `typed`, if any is near enough.
pub(super) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (typed.chars().count() / 3).max(1);
    known
        .map(|candidate| (distance(typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be put in, taken out, changed or swapped with their neighbour to
/// make `left` from `right`.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(SHOWN_MAX).collect();
    let right: Vec<char> = right.chars().take(SHOWN_MAX).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let change = rows[i][j] + usize::from(a != b);
            let mut least = change.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested_and_a_far_one_is_not() {
        let known = ["base_url", "tenant", "paths"];
        for (typed, suggestion) in [
            ("base_ulr", Some("base_url")),
            ("baseurl", Some("base_url")),
            ("path", Some("paths")),
            ("tennant", Some("tenant")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), suggestion, "{typed}");
        }
    }

    #[test]
    fn a_long_value_is_cut_and_control_characters_are_escaped() {
        assert_eq!(quoted("a\u{1b}b"), r#""a\u{1b}b""#);
        assert_eq!(quoted(&"ä".repeat(200)), format!("{:?}...", "ä".repeat(80)));
    }
}
