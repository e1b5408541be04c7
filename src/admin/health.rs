//! Whether the agent makes progress, and whether it does what it is there for.

use serde::Serialize;

use super::verdict::{Facts, Level, troubles};
use crate::store::tallies::Status;

/// What `/healthz` and `/readyz` answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    /// `ok`, or `failing`.
    pub(super) status: &'static str,
    /// What is not as it should be, in words; empty when all is well.
    pub(super) failing: Vec<String>,
}

impl Health {
    pub(super) fn of(failing: Vec<String>) -> Self {
        let status = if failing.is_empty() { "ok" } else { "failing" };
        Self { status, failing }
    }

    pub(super) fn is_good(&self) -> bool {
        self.failing.is_empty()
    }
}

/// Ready: the store takes writes, no meter and no source is held, and no event waits for too long.
pub(super) fn readiness(status: &Status, facts: Facts) -> Health {
    let troubles = troubles(status, facts).into_iter();
    let bad = troubles.filter(|trouble| trouble.level == Level::Bad);
    Health::of(bad.map(|trouble| trouble.what).collect())
}
