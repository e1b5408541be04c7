//! Which meter the events of a source are for: one for all of them, or the one that each record
//! names. Data only: `pack` reads the value, and writes what is for each meter into its own bodies.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dead_letter::Reason;
use crate::mapping::Reference;
use crate::meter::{Meter, Roster};
use crate::telemetry::Counts;

/// Where the events of a source go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// All of them to one meter.
    Meter(Arc<Meter>),
    /// Each to the meter that its record names.
    Routed(Arc<Routing>),
}

/// How the meter of a record is found, and the meters.
#[derive(Debug)]
pub struct Routing {
    /// As it is configured.
    pub route: Arc<Route>,
    /// Every meter that events can be for, each once.
    pub meters: Vec<Arc<Meter>>,
    /// Dead letters of no meter, by their reason.
    pub unrouted: Arc<Counts<Reason>>,
}

/// How the meter of a record is found.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The value that is looked at.
    pub from: Reference,
    /// For each value, the index of its meter.
    pub table: HashMap<String, usize>,
    /// The index of the meter for records without the value, or with another one; none: they are
    /// dead letters of no meter.
    pub default: Option<usize>,
}

impl Destination {
    /// Every meter that events can be for.
    pub fn meters(&self) -> &[Arc<Meter>] {
        match self {
            Self::Meter(meter) => std::slice::from_ref(meter),
            Self::Routed(routing) => &routing.meters,
        }
    }

    /// The meter called `name`, when events can be for it.
    pub fn meter(&self, name: &str) -> Option<&Arc<Meter>> {
        self.meters().iter().find(|meter| *meter.name == *name)
    }

    /// A meter whose schema has not come yet, if there is one.
    pub fn without_schema(&self) -> Option<&Arc<Meter>> {
        self.meters().iter().find(|meter| meter.schema.now().is_none())
    }

    /// Returns when the schema of each meter has come.
    pub async fn schemas_come(&self) {
        for meter in self.meters() {
            meter.schema.come().await;
        }
    }

    /// The same with each meter as it is now: a reload of the configuration may have changed it.
    #[must_use]
    pub fn current(&self, roster: &Roster) -> Self {
        let now = |meter: &Arc<Meter>| Arc::clone(roster.current(meter));
        match self {
            Self::Meter(meter) => Self::Meter(now(meter)),
            Self::Routed(routing) => {
                let meters: Vec<_> = routing.meters.iter().map(now).collect();
                let mut pairs = meters.iter().zip(&routing.meters);
                if pairs.all(|(now, before)| Arc::ptr_eq(now, before)) {
                    return self.clone();
                }
                let (route, unrouted) = (Arc::clone(&routing.route), Arc::clone(&routing.unrouted));
                Self::Routed(Arc::new(Routing { route, meters, unrouted }))
            }
        }
    }

    /// Whether both find the same meters in the same way, whatever the meters are like.
    pub fn is_set_as(&self, other: &Self) -> bool {
        let names = |of: &Self| -> Vec<Arc<str>> {
            of.meters().iter().map(|meter| Arc::clone(&meter.name)).collect()
        };
        let route = |of: &Self| of.routing().map(|routing| Arc::clone(&routing.route));
        names(self) == names(other) && route(self) == route(other)
    }

    /// How meters are found, where there is a choice.
    pub fn routing(&self) -> Option<&Routing> {
        match self {
            Self::Meter(_) => None,
            Self::Routed(routing) => Some(routing),
        }
    }

    /// Whether events for either may share a group.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Meter(one), Self::Meter(other)) => Arc::ptr_eq(one, other),
            (Self::Routed(one), Self::Routed(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Dead letters of no meter, since the start.
    pub fn unrouted(&self) -> u64 {
        self.routing().map_or(0, |routing| routing.unrouted.values().values().sum())
    }

    /// Counts a dead letter of the meter called `name`, or of none.
    pub fn count_dead_letter(&self, name: &str, reason: Reason) {
        match (self.meter(name), self) {
            (Some(meter), _) => meter.counters.dead_letters.add(reason, 1),
            (None, Self::Routed(routing)) => routing.unrouted.add(reason, 1),
            (None, Self::Meter(_)) => {}
        }
    }
}

impl From<Arc<Meter>> for Destination {
    fn from(meter: Arc<Meter>) -> Self {
        Self::Meter(meter)
    }
}
