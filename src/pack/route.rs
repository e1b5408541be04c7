//! Which meter a record is for. Values are compared as the texts in which they came.

use std::sync::Arc;

use super::map::describe;
use super::record::{Places, Record};
use super::validate::Refusal;
use crate::dead_letter::Reason;
use crate::routing::Route;

/// How many values a dead letter lists that would have been right.
const LISTED_MAX: usize = 8;

/// Finds the meter of a record.
#[derive(Debug)]
pub struct Router {
    slot: usize,
    route: Arc<Route>,
    /// How people call the place of the value.
    words: String,
}

impl Router {
    /// Compiles `route`; none when `places` lack its value.
    pub fn new(route: &Arc<Route>, places: &Places) -> Option<Self> {
        let slot = places.slot(&route.from)?;
        Some(Self { slot, route: Arc::clone(route), words: describe(&route.from) })
    }

    /// Whether it was compiled of `route`.
    pub fn is_of(&self, route: &Arc<Route>) -> bool {
        Arc::ptr_eq(&self.route, route)
    }

    /// The index of the meter that `record` is for.
    pub fn meter(&self, record: &Record) -> Result<usize, Refusal> {
        let text = record.value(self.slot).text();
        let listed = text.and_then(|text| self.route.table.get(text)).copied();
        listed.or(self.route.default).ok_or_else(|| self.refusal(text.is_some()))
    }

    #[cold]
    fn refusal(&self, is_there: bool) -> Refusal {
        let mut listed: Vec<_> =
            self.route.table.keys().map(|value| format!("{value:?}")).collect();
        listed.sort();
        let expected = if listed.len() > LISTED_MAX {
            format!("one of {} that are listed", listed.len())
        } else {
            format!("one of {}", listed.join(", "))
        };
        let found = if is_there { "is a value for no meter" } else { "is no single value" };
        let detail = format!("{} {found}, {expected} was expected", self.words);
        Refusal { reason: Reason::UnknownMeter, field: None, detail }
    }
}
