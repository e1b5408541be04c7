//! The meters that the events of a source are for.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::problem::{Notes, nearest, quoted};
use super::super::raw;
use crate::mapping::Reference;
use crate::meter::Meter;
use crate::routing::{Destination, Route, Routing};

/// Every meter of a source, and how it is found.
#[derive(Debug)]
pub(super) enum Target {
    One(Arc<Meter>),
    Routed(Routed),
}

/// As [`Routing`], but for the value, of which only the mapping knows what it means.
#[derive(Debug)]
pub(super) struct Routed {
    /// The whole key of the value.
    pub(super) key: String,
    pub(super) from: String,
    table: HashMap<String, usize>,
    default: Option<usize>,
    meters: Vec<Arc<Meter>>,
}

impl Target {
    /// What was typed for the source with this `key`; none when it cannot be used.
    pub(super) fn resolve(
        key: &str,
        typed: &raw::Target,
        meters: &[Arc<Meter>],
        notes: &Notes,
    ) -> Option<Self> {
        match typed {
            raw::Target::Named(name) => {
                named(&format!("{key}.meter"), name, meters, notes).cloned().map(Self::One)
            }
            raw::Target::Routed(route) => Self::routed(route, meters, notes),
        }
    }

    fn routed(route: &raw::Route, meters: &[Arc<Meter>], notes: &Notes) -> Option<Self> {
        let mut routed = Routed {
            key: format!("{}.from", route.key),
            from: route.from.clone().unwrap_or_default(),
            table: HashMap::new(),
            default: None,
            meters: Vec::new(),
        };
        let every = || meters.iter().map(|meter| (meter.name.to_string(), meter.name.to_string()));
        let rows = route.map.clone().unwrap_or_else(|| every().collect());
        let map = format!("{}.map", route.key);
        if rows.is_empty() && !notes.is_bad(&map) {
            notes.problem(&map, "an empty table", "values and the names of their meters");
        }
        for (value, name) in rows {
            if let Some(meter) = named(&format!("{map}.{value}"), &name, meters, notes) {
                let index = routed.index(meter);
                routed.table.insert(value, index);
            }
        }
        if let Some(name) = &route.default
            && let Some(meter) = named(&format!("{}.default", route.key), name, meters, notes)
        {
            routed.default = Some(routed.index(meter));
        }
        route.from.is_some().then_some(Self::Routed(routed))
    }

    /// Every meter, each once.
    pub(super) fn meters(&self) -> &[Arc<Meter>] {
        match self {
            Self::One(meter) => std::slice::from_ref(meter),
            Self::Routed(routed) => &routed.meters,
        }
    }

    /// The same, now that it is known what the value means.
    pub(super) fn into_destination(
        self,
        place: impl FnOnce(&Routed) -> Option<Reference>,
    ) -> Option<Destination> {
        let routed = match self {
            Self::One(meter) => return Some(Destination::Meter(meter)),
            Self::Routed(routed) => routed,
        };
        let from = place(&routed)?;
        let Routed { table, default, meters, .. } = routed;
        let (route, unrouted) = (Arc::new(Route { from, table, default }), Arc::default());
        Some(Destination::Routed(Arc::new(Routing { route, meters, unrouted })))
    }
}

impl Routed {
    fn index(&mut self, meter: &Arc<Meter>) -> usize {
        let known = self.meters.iter().position(|known| Arc::ptr_eq(known, meter));
        known.unwrap_or_else(|| {
            self.meters.push(Arc::clone(meter));
            self.meters.len() - 1
        })
    }
}

/// The names of the meters that were typed, whether they are right or not.
pub(super) fn names<'t>(typed: &'t raw::Target, meters: &'t [Arc<Meter>]) -> Vec<&'t str> {
    match typed {
        raw::Target::Named(name) => vec![name],
        raw::Target::Routed(raw::Route { map: Some(map), default, .. }) => {
            let listed = map.iter().map(|(_, name)| name.as_str());
            listed.chain(default.as_deref()).collect()
        }
        raw::Target::Routed(_) => meters.iter().map(|meter| &*meter.name).collect(),
    }
}

/// The meter called `name`, which stands at `key`.
pub(super) fn named<'m>(
    key: &str,
    name: &str,
    meters: &'m [Arc<Meter>],
    notes: &Notes,
) -> Option<&'m Arc<Meter>> {
    let known = meters.iter().find(|meter| *meter.name == *name);
    if known.is_none() {
        let names = || meters.iter().map(|meter| &*meter.name);
        let expected = match nearest(name, names()) {
            Some(near) => format!("the name of a meter; did you mean {near:?}?"),
            None if meters.is_empty() => {
                "the name of a meter: there is no [meters.NAME]".to_owned()
            }
            None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        notes.problem(key, quoted(name), expected);
    }
    known
}
