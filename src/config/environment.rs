//! The environment as the layer above the file: `METERD__MEDIATION__BASE_URL`.
//!
//! The prefix ends with two underscores, because a Kubernetes service called `meterd` puts
//! `METERD_PORT=tcp://...` into every container beside it; those are not ours and are ignored.

use std::collections::{BTreeMap, HashMap};

use config::{Environment, Map, Value, ValueKind};

use super::problem::Notes;

const PREFIX: &str = "METERD";
const SEPARATOR: &str = "__";

/// What the `config` crate notes as the origin of values from here.
const ORIGIN: &str = "the environment";

/// Whether there is anything of ours in `environment`.
pub(super) fn concerns_us(environment: &HashMap<String, String>) -> bool {
    environment.keys().any(|name| path_of(name).is_some())
}

/// Picks our variables. What can't be merged in one way only is a problem and left out:
/// characters that mean something in a path, two spellings of one key, and a value where `file`
/// or a longer variable has a section.
pub(super) fn layer(
    environment: &HashMap<String, String>,
    file: &Map<String, Value>,
    notes: &Notes,
) -> Environment {
    let mut by_path: BTreeMap<Vec<String>, &str> = BTreeMap::new();
    let mut names: Vec<&String> = environment.keys().collect();
    names.sort();
    for name in names {
        let Some(path) = path_of(name) else { continue };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if path.iter().any(|part| part.is_empty() || !part.chars().all(plain)) {
            let expected = format!("names like {PREFIX}__SECTION__KEY of letters, digits, _ and -");
            notes.problem(name, "a variable that names no key", expected);
        } else if let Some(other) = by_path.insert(path, name) {
            notes.problem(name, format!("the same key as in {other}"), "one of the two");
        }
    }
    let is_section = |path: &[String]| {
        by_path.keys().any(|other| other.len() > path.len() && other.starts_with(path))
            || has_table(file, path)
    };
    let mut picked = Map::new();
    for (path, name) in &by_path {
        if is_section(path) {
            let expected = format!("a variable for each key in it, {name}__KEY");
            notes.problem(*name, "a value for a whole section", expected);
        } else if let Some(value) = environment.get(*name) {
            picked.insert((*name).to_owned(), value.clone());
        }
    }
    Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(picked))
}

/// Whether `value` was set by a variable.
pub(super) fn is_origin_of(value: &Value) -> bool {
    value.origin() == Some(ORIGIN)
}

/// The variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// The parts of the key that the variable `name` sets, if it is one of ours.
fn path_of(name: &str) -> Option<Vec<String>> {
    let key = name.strip_prefix(PREFIX)?.strip_prefix(SEPARATOR)?;
    Some(key.to_lowercase().split(SEPARATOR).map(str::to_owned).collect())
}

fn has_table(table: &Map<String, Value>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match table.get(first).map(|value| &value.kind) {
        Some(ValueKind::Table(inner)) => has_table(inner, rest),
        _ => false,
    }
}
