//! The program of a source: where its text is, whether it compiles, and what it reads beside the record.

use super::super::super::raw;
#[cfg(feature = "vrl")]
use super::super::file;
use super::Scope;
#[cfg(feature = "vrl")]
use crate::mapping::transform::{Program, Transform};

/// The longest program that is read from a file.
#[cfg(feature = "vrl")]
const PROGRAM_BYTES_MAX: u64 = 1 << 20;

/// Whether a program is to make the events, and not rules.
pub(super) fn is_wanted(typed: &raw::Mapping) -> bool {
    key(typed).is_some()
}

/// The key that has the program or names its file.
fn key(typed: &raw::Mapping) -> Option<&'static str> {
    ["transform", "transform_file"].into_iter().find(|key| typed.is_set.contains(key))
}

/// Notes keys that exclude each other.
pub(super) fn check_keys(typed: &raw::Mapping, scope: &Scope<'_>) {
    let Some(key) = key(typed) else { return };
    let path = format!("{}.{key}", typed.key);
    if typed.transform.is_some() && typed.transform_file.is_some() {
        scope.problem(&path, "transform and transform_file", "one of the two");
    }
    if typed.fields.is_some() {
        let expected = "one of the two: the program makes all of the event";
        scope.problem(&format!("{}.fields", typed.key), format!("fields and {key}"), expected);
    }
    if !cfg!(feature = "vrl") {
        let expected = "the key to be left out: this meterd was built without VRL, and \
                        `cargo build --release --features vrl` makes one with it";
        scope.problem(&path, "a program in VRL", expected);
    }
}

/// The program, compiled; every mistake in it is a problem.
#[cfg(feature = "vrl")]
pub(super) fn resolve(typed: &raw::Mapping, scope: &Scope<'_>) -> Option<Transform> {
    let key = format!("{}.{}", typed.key, key(typed)?);
    let (text, named) = match (&typed.transform, &typed.transform_file) {
        (Some(text), _) => (text.clone(), String::new()),
        (None, Some(name)) => {
            let path = scope.around.locate(name);
            let text = file::text(&key, &path, PROGRAM_BYTES_MAX, scope.notes)?;
            (text, format!("{}, ", path.display()))
        }
        (None, None) => return None,
    };
    let mistakes = match Program::compile(&text) {
        Ok(program) => return around(program, &key, scope),
        Err(mistakes) => mistakes,
    };
    for mistake in mistakes {
        let found = format!("{named}{}: {}", mistake.place, mistake.what);
        scope.problem(&key, found, "a program that VRL compiles");
    }
    None
}

/// The places of the values behind `%`, which are named as everywhere: `%file.name` is `file:name`.
#[cfg(feature = "vrl")]
fn around(program: Program, key: &str, scope: &Scope<'_>) -> Option<Transform> {
    let mut found = Vec::new();
    let mut is_known = true;
    for keys in program.around() {
        let place = match keys.as_slice() {
            [kind, parts @ ..] if !parts.is_empty() && ["file", "syslog"].contains(&&**kind) => {
                scope.place(key, &format!("{kind}:{}", parts.join("/")))
            }
            keys => {
                let expected = "%file or %syslog and the name of a part, such as %file.name";
                scope.problem(key, format!("{:?}", format!("%{}", keys.join("."))), expected);
                None
            }
        };
        is_known &= place.is_some();
        found.extend(place.map(|place| (keys, place)));
    }
    is_known.then_some(Transform { program, around: found })
}
