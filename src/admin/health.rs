//! Whether the agent makes progress, and whether it does what it is there for.

use std::time::Duration;

use serde::Serialize;

use crate::settlement::LaneState;
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

/// What readiness depends on beside the status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// The last commit failed.
    pub(super) commits_fail: bool,
    /// The store takes no more groups.
    pub(super) is_full: bool,
    /// How long an event may wait.
    pub(super) lag_max: Duration,
}

/// Ready: the store takes writes, no meter and no source is held, and no event waits for too long.
/// Sources are open as long as there is somebody to ask: one that ends takes the agent with it.
pub(super) fn readiness(status: &Status, facts: Facts) -> Health {
    let mut failing = Vec::new();
    if facts.commits_fail {
        failing.push("the store takes no writes".to_owned());
    }
    if facts.is_full {
        failing.push("the store is full".to_owned());
    }
    for (name, meter) in &status.meters {
        if meter.state == LaneState::Held.name() {
            failing.push(format!("meter {name} is held: {}", meter.reason));
        }
        if meter.oldest_undelivered_seconds > facts.lag_max.as_secs_f64() {
            let waited = meter.oldest_undelivered_seconds;
            failing.push(format!("an event of meter {name} has waited for {waited:.0} s"));
        }
    }
    for (name, source) in &status.sources {
        if source.state == LaneState::Held.name() {
            failing.push(format!("source {name} is held: {}", source.reason));
        }
    }
    if !status.equation.holds {
        failing.push("the equation does not hold".to_owned());
    }
    Health::of(failing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tallies::{Equation, MeterStatus, SourceStatus, StoreStatus};

    fn good() -> Status {
        let equation = Equation {
            read: 0,
            delivered: 0,
            dead_lettered: 0,
            ignored: 0,
            discarded: 0,
            stored: 0,
            holds: true,
        };
        let meter = MeterStatus { state: "running".into(), ..MeterStatus::default() };
        let source = SourceStatus { state: "reading".into(), ..SourceStatus::default() };
        Status {
            equation,
            meters: [("m".to_owned(), meter)].into(),
            sources: [("app".to_owned(), source)].into(),
            store: StoreStatus { bytes: 0, bytes_max: None },
        }
    }

    const FACTS: Facts =
        Facts { commits_fail: false, is_full: false, lag_max: Duration::from_secs(900) };

    fn check(status: &Status, facts: Facts, expected: &[&str]) {
        assert_eq!(readiness(status, facts).failing, expected);
    }

    #[test]
    fn each_thing_that_is_wrong_is_said() {
        check(&good(), FACTS, &[]);
        check(&good(), Facts { commits_fail: true, ..FACTS }, &["the store takes no writes"]);
        check(&good(), Facts { is_full: true, ..FACTS }, &["the store is full"]);
        let mut status = good();
        status.meters.values_mut().for_each(|meter| {
            (meter.state, meter.reason) = ("held".into(), "403".into());
            meter.oldest_undelivered_seconds = 901.0;
        });
        status.sources.values_mut().for_each(|source| source.state = "held".into());
        status.equation.holds = false;
        let expected = [
            "meter m is held: 403",
            "an event of meter m has waited for 901 s",
            "source app is held: ",
            "the equation does not hold",
        ];
        check(&status, FACTS, &expected);
    }
}
