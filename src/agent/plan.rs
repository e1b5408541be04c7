//! From the settings that hold and those that are wanted to what has to be done. Pure: nothing is
//! opened, started or ended here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Settings, Source};
use crate::meter::{Meter, Roster};
use crate::schema::edition::Edition;
use crate::source;
use crate::source::unix;

/// What a reload does.
#[derive(Debug)]
pub(super) struct Plan {
    /// What holds then. A meter that stays as it is is the one from before; one that changes goes
    /// on with what that one has counted.
    pub(super) settings: Settings,
    /// The schemas of meters that change, to be put in force; none: it has not come yet.
    pub(super) editions: Vec<(Arc<Meter>, Option<Arc<Edition>>)>,
    /// The sources that do not stay as they are.
    pub(super) sources: Changes,
    /// The meters that do not stay as they are.
    pub(super) meters: Changes,
}

/// By name, what does not stay as it is.
pub(super) type Changes = BTreeMap<Arc<str>, Change>;

/// What becomes of a part with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was not there.
    Added,
    /// It has other settings.
    Changed,
    /// It is gone.
    Removed,
}

/// What cannot change while the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    key: String,
    what: String,
}

impl fmt::Display for Fixed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: restart to change it", self.key, self.what)
    }
}

/// What has to be done so that `wanted` holds instead of `before`, or everything for which that
/// cannot be.
pub(super) fn plan(before: &Settings, wanted: Settings) -> Result<Plan, Vec<Fixed>> {
    let sources = changes(
        before.sources.iter().map(|source| (&source.name, source)),
        wanted.sources.iter().map(|source| (&source.name, source)),
        Source::is_set_as,
    );
    let meters = changes(
        before.meters.iter().map(|meter| (&meter.name, &**meter)),
        wanted.meters.iter().map(|meter| (&meter.name, &**meter)),
        Meter::is_set_as,
    );
    let mut fixed = fixed_keys(before, &wanted);
    fixed.extend(fixed_sources(before, &wanted, &sources));
    if !fixed.is_empty() {
        return Err(fixed);
    }
    let (mut settings, mut editions) = (wanted, Vec::new());
    for meter in &mut settings.meters {
        let Some(known) = before.meters.iter().find(|known| known.name == meter.name) else {
            continue;
        };
        if meters.contains_key(&meter.name) {
            let edition = meter.schema.now();
            *meter = Arc::new(meter.succeeding(known));
            editions.push((Arc::clone(meter), edition));
        } else {
            *meter = Arc::clone(known);
        }
    }
    let roster = Roster::new(&settings.meters);
    for source in &mut settings.sources {
        source.destination = source.destination.current(&roster);
    }
    Ok(Plan { settings, editions, sources, meters })
}

/// The parts of `before` and `wanted` that do not stay, by name.
fn changes<'s, T: 's>(
    before: impl Iterator<Item = (&'s Arc<str>, &'s T)>,
    wanted: impl Iterator<Item = (&'s Arc<str>, &'s T)>,
    is_same: impl Fn(&T, &T) -> bool,
) -> Changes {
    let mut before: BTreeMap<_, _> = before.collect();
    let mut changes = BTreeMap::new();
    for (name, wanted) in wanted {
        let change = match before.remove(name) {
            None => Change::Added,
            Some(known) if is_same(known, wanted) => continue,
            Some(_) => Change::Changed,
        };
        changes.insert(Arc::clone(name), change);
    }
    changes.extend(before.into_keys().map(|name| (Arc::clone(name), Change::Removed)));
    changes
}

fn fixed_keys(before: &Settings, wanted: &Settings) -> Vec<Fixed> {
    let rows = [
        ("agent.name", before.name == wanted.name, "it is part of every event id"),
        (
            "agent.state_dir",
            before.store.directory == wanted.store.directory,
            "the store is open there",
        ),
        (
            "batch.workers",
            before.pack.workers == wanted.pack.workers,
            "they are started with the agent",
        ),
        (
            "batch.compression_level",
            before.pack.compression_level == wanted.pack.compression_level,
            "workers are started with it",
        ),
        (
            "admin.listen",
            before.admin.listen == wanted.admin.listen,
            "it is bound with the agent's start",
        ),
    ];
    let changed = rows.into_iter().filter(|(_, is_same, _)| !is_same);
    changed.map(|(key, _, what)| Fixed { key: key.to_owned(), what: what.to_owned() }).collect()
}

/// Sources that cannot take the place of what is there.
fn fixed_sources(before: &Settings, wanted: &Settings, changes: &Changes) -> Vec<Fixed> {
    let fixed = |source: &Source, what: &str| Fixed {
        key: format!("sources.{}", source.name),
        what: what.to_owned(),
    };
    let is_changed = |source: &&Source| changes.contains_key(&source.name);
    let mut found = Vec::new();
    for source in wanted.sources.iter().filter(is_changed) {
        let has_changed_file = |known: &Source| match (&known.settings, &source.settings) {
            (source::Settings::Unix(known), source::Settings::Unix(wanted)) => {
                is_other_socket_there(known, wanted)
            }
            _ => false,
        };
        if source.settings.is_stdin() {
            found.push(fixed(source, "standard input is read from the start to its end"));
        } else if before.sources.iter().any(has_changed_file) {
            found.push(fixed(source, "its socket is in use with other rights, or of another kind"));
        }
    }
    let gone = before.sources.iter().filter(is_changed).filter(|source| {
        source.settings.is_stdin() && wanted.sources.iter().all(|other| other.name != source.name)
    });
    found.extend(gone.map(|source| fixed(source, "half a line may have been read of it")));
    found
}

/// Whether both are in one place and differ in what is made there.
fn is_other_socket_there(known: &unix::Settings, wanted: &unix::Settings) -> bool {
    known.place.to_string() == wanted.place.to_string()
        && (&known.place, known.kind) != (&wanted.place, wanted.kind)
}

impl Source {
    /// Whether both read the same in the same way. What their meter is like does not matter: lines
    /// are held against the meter as it is when they are packed.
    fn is_set_as(&self, other: &Self) -> bool {
        // Patterns have no equality; what is shown of a mapping is all of it.
        let mapping = |source: &Self| source.mapping.as_ref().map(|found| format!("{found:?}"));
        let Self { name, destination, mapping: _, settings, breaker } = self;
        (name, settings) == (&other.name, &other.settings)
            && destination.is_set_as(&other.destination)
            && *breaker == other.breaker
            && mapping(self) == mapping(other)
    }
}

#[cfg(test)]
mod tests;
