//! What is wrong, how bad it is, and what to do about it: for probes, the page and `meterd top`.

use std::time::Duration;

use serde::Serialize;

use crate::settlement::{LaneState, SourceState};
use crate::store::tallies::{MeterStatus, Status};

/// From this share of its limit on, the store is said to fill up.
const FILLS: f64 = 0.8;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Passes by itself, or can wait for a person.
    Warn,
    /// The agent does not do what it is there for.
    Bad,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

impl Trouble {
    /// Something bad.
    pub(super) fn bad(what: impl Into<String>, advice: &'static str) -> Self {
        Self { level: Level::Bad, what: what.into(), advice }
    }

    fn warn(what: impl Into<String>, advice: &'static str) -> Self {
        Self { level: Level::Warn, what: what.into(), advice }
    }
}

/// What it depends on beside the status.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The last commit failed.
    pub commits_fail: bool,
    /// The store takes no more groups.
    pub is_full: bool,
    /// How long an event may wait.
    pub lag_max: Duration,
}

/// Everything that is wrong, the worst first. Sources are open as long as there is somebody to ask:
/// one that ends takes the agent with it.
pub fn troubles(status: &Status, facts: Facts) -> Vec<Trouble> {
    let mut troubles = of_store(status, facts);
    for (name, meter) in &status.meters {
        of_meter(name, meter, facts.lag_max, &mut troubles);
    }
    for (name, source) in &status.sources {
        if source.state == SourceState::Held.name() {
            let what = format!("source {name} is held: {}", source.reason);
            troubles.push(Trouble::bad(what, HELD_SOURCE));
        }
    }
    if !status.equation.holds {
        troubles.push(Trouble::bad("the equation does not hold", UNEQUAL));
    }
    match status.equation.dead_lettered {
        0 => {}
        1 => troubles.push(Trouble::warn("a dead letter waits for a decision", LETTERS)),
        letters => {
            let what = format!("{letters} dead letters wait for a decision");
            troubles.push(Trouble::warn(what, LETTERS));
        }
    }
    // Stable: what belongs together stays together.
    troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.level));
    troubles
}

fn of_store(status: &Status, facts: Facts) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if facts.commits_fail {
        troubles.push(Trouble::bad("the store takes no writes", NO_WRITES));
    }
    #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than a disk has")]
    let used = status.store.bytes_max.map(|max| status.store.bytes as f64 / max.max(1) as f64);
    if facts.is_full {
        troubles.push(Trouble::bad("the store is full", FULL));
    } else if let Some(used) = used.filter(|used| *used >= FILLS) {
        let what = format!("the store is full to {:.0} %", used * 100.0);
        troubles.push(Trouble::warn(what, FILLS_UP));
    }
    troubles
}

fn of_meter(name: &str, meter: &MeterStatus, lag_max: Duration, troubles: &mut Vec<Trouble>) {
    if meter.state == LaneState::Held.name() {
        let what = format!("meter {name} is held: {}", meter.reason);
        troubles.push(Trouble::bad(what, of_hold(&meter.reason)));
    } else if meter.state == LaneState::Retrying.name() {
        let what = format!("meter {name} is tried again: {}", meter.reason);
        troubles.push(Trouble::warn(what, RETRIES));
    }
    let waited = meter.oldest_undelivered_seconds;
    if waited > lag_max.as_secs_f64() {
        let what = format!("an event of meter {name} has waited for {waited:.0} s");
        troubles.push(Trouble::bad(what, WAITS));
    }
}

const NO_WRITES: &str = "Nothing is acknowledged meanwhile. Look at the disk and its room: the log \
                         has the error.";
const FULL: &str = "Sources wait until Mediation has taken something. A log must not be deleted \
                    before it is read; a larger store.bytes_max helps.";
const FILLS_UP: &str = "When it is full, sources wait. Find out why events are not delivered, or \
                        give it a larger store.bytes_max.";
const HELD_SOURCE: &str = "Too many of its lines are no events: the dead letters say why. Nothing \
                           is lost, its lines wait. It goes on by itself when they are good again.";
const UNEQUAL: &str = "Lines are unaccounted for. Stop the agent, keep a copy of its state \
                       directory, and report it.";
const LETTERS: &str = "These lines could not become events. Mend the cause and replay them, or \
                       discard them: meterd dead-letters.";
const RETRIES: &str = "Nothing to do: its events are kept, and go out as soon as Mediation takes \
                       them.";
const WAITS: &str = "Events are kept as long as the store has room. Look at what its meter says, \
                     and at the network.";

/// What to look at, by how the reason of a hold begins.
const HOLDS: [(&str, &str); 9] = [
    ("token:", "Look at client_id, the secret and token_url, and whether the client still exists."),
    ("401", "The bearer token has expired, or the client may not use the endpoint."),
    ("403", "Look at the rights of the client, at entity_ids and org_ids, and at allow lists."),
    ("404", "Look at base_url, the global id, and which ingest path the tenant uses."),
    ("400", "The set-up of the tenant or the meter is wrong: the code says what."),
    ("3", "Look at base_url: this is another data center."),
    ("20 events in a row", "The schema here is probably not the meter's: see the dead letters."),
    ("nobody knows", "Look in Mediation, then decide: meterd batches confirm, or resend."),
    ("the meter is not configured", "Put it back into the configuration until it is delivered."),
];

fn of_hold(reason: &str) -> &'static str {
    let known = HOLDS.iter().find(|(begin, _)| reason.starts_with(begin));
    known.map_or(
        "Nothing is lost: one batch is tried from time to time, and the first success ends it.",
        |(_, advice)| advice,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tallies::{Equation, SourceStatus, StoreStatus};

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

    fn check(status: &Status, facts: Facts, expected: &[(Level, &str)]) {
        let found = troubles(status, facts);
        let found: Vec<_> = found.iter().map(|found| (found.level, found.what.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_thing_that_is_wrong_is_said_the_worst_first() {
        use Level::{Bad, Warn};
        check(&good(), FACTS, &[]);
        let fails = Facts { commits_fail: true, ..FACTS };
        check(&good(), fails, &[(Bad, "the store takes no writes")]);
        check(&good(), Facts { is_full: true, ..FACTS }, &[(Bad, "the store is full")]);
        let mut status = good();
        status.store = StoreStatus { bytes: 85, bytes_max: Some(100) };
        status.meters.values_mut().for_each(|meter| {
            (meter.state, meter.reason) = ("held".into(), "403".into());
            meter.oldest_undelivered_seconds = 901.0;
        });
        let other = MeterStatus {
            state: "retrying".into(),
            reason: "503".into(),
            ..status.meters["m"].clone()
        };
        let other = MeterStatus { oldest_undelivered_seconds: 3.0, ..other };
        status.meters.insert("n".into(), other);
        status.sources.values_mut().for_each(|source| source.state = "held".into());
        status.equation.holds = false;
        status.equation.dead_lettered = 2;
        let expected = [
            (Bad, "meter m is held: 403"),
            (Bad, "an event of meter m has waited for 901 s"),
            (Bad, "source app is held: "),
            (Bad, "the equation does not hold"),
            (Warn, "the store is full to 85 %"),
            (Warn, "meter n is tried again: 503"),
            (Warn, "2 dead letters wait for a decision"),
        ];
        check(&status, FACTS, &expected);
    }

    #[test]
    fn a_hold_has_the_advice_of_its_reason() {
        let check = |reason: &str, expected: &str| {
            let advice = of_hold(reason);
            assert!(advice.contains(expected), "{reason}: {advice}");
        };
        check("403 Forbidden", "rights");
        check("token: 401", "client_id");
        check("307; redirects are not followed", "data center");
        check("5 refusals without a known reason", "tried from time to time");
    }
}
