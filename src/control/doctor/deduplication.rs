//! Whether the meter drops a repeat, and nothing else.
//!
//! After an attempt of unknown outcome a batch is sent again, with the same bytes. Between the two
//! lies an outage, and what was under way beside it.

use std::time::Duration;

use serde_json::Value;

use super::{Definitions, Facts, Finding, Verdict, id_field, period};
use crate::mediation::export::{Task, duration};
use crate::mediation::form::shown;

/// Of a deduplicator that does not say: what Zuora documents.
const TTL: Duration = Duration::from_secs(60 * 86_400);

/// An outage of this length is to be borne.
const OUTAGE: Duration = Duration::from_secs(7 * 86_400);

/// An outage of this length will come.
const OUTAGE_LIKELY: Duration = Duration::from_secs(86_400);

/// What an operator does with an event that it knows.
enum Key {
    /// It goes by the event's own id, alone or beside other fields.
    Id,
    /// It goes by other fields: events with equal ones are dropped, repeats or not.
    Others(String),
    /// It cannot be told.
    Unclear(String),
}

/// Whether repeats are dropped, and for how long they are known.
pub(super) fn examine(facts: &Facts<'_>, definitions: &Definitions) -> Vec<Finding> {
    const CHECK: &str = "deduplication";
    let Some(id) = id_field(facts.meter).map(|id| &**id) else {
        let found = "without event_id_field, nothing tells a repeat from an event";
        return vec![Finding::new(CHECK, without_id(facts), found, "see the event id")];
    };
    let tasks = || definitions.meter.tasks();
    if let Some(task) = tasks().find(|task| task.is("DEDUPLICATE")) {
        let name = shown(task.name.as_ref());
        if task.setting_of("continueWhenDedup") == Some(&Value::Bool(true)) {
            let found = format!("{name:?} lets repeats go on");
            let advice = "set its continueWhenDedup to false";
            return vec![Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice)];
        }
        return match key(task, id) {
            Key::Id => {
                vec![Finding::ok(CHECK, format!("{name:?} on {id:?}")), memory(facts, task)]
            }
            Key::Others(fields) => {
                let found = format!("{name:?} goes by {fields}, not by {id:?}");
                let advice = format!(
                    "let it go by {id:?}: now it drops usage with equal fields, or misses repeats"
                );
                vec![Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice)]
            }
            Key::Unclear(what) => {
                let found = format!("{name:?}: {what}");
                let advice = "look at its fields in Mediation";
                vec![Finding::new(CHECK, Verdict::Unknown, found, advice)]
            }
        };
    }
    let by_store = definitions.schema.as_ref().is_ok_and(|schema| {
        schema.event_id_fields.iter().any(|name| name == id)
            && tasks().any(|it| it.is("EVENT_STORE"))
    });
    if by_store {
        return vec![Finding::ok(CHECK, format!("the event store keeps one event a {id:?}"))];
    }
    vec![by_usage_key(CHECK, definitions, id).unwrap_or_else(|| {
        let advice = format!(
            "add a Deduplicator on {id:?} behind the source; until then delivery.on_unknown = \"hold\" \
             lets a person decide about repeats"
        );
        Finding::new(CHECK, without_id(facts), "nothing in the meter drops repeats", advice)
    })]
}

/// With a person between an unknown outcome and the repeat, a repeat is nobody's accident.
fn without_id(facts: &Facts<'_>) -> Verdict {
    if facts.holds_unknown { Verdict::Warning } else { Verdict::MoneyAtRisk }
}

fn key(task: &Task, id: &str) -> Key {
    let check = task.setting_of("checkType").and_then(Value::as_str).unwrap_or_default();
    if check.to_ascii_lowercase().starts_with("all") {
        // A repeat has the same bytes, and two events never have the same id.
        return Key::Id;
    }
    let Some(fields) = texts(task.setting_of("specificFields")) else {
        return Key::Unclear(format!("checkType {check:?} without fields that can be read"));
    };
    if fields.iter().any(|field| field == id) { Key::Id } else { Key::Others(fields.join(", ")) }
}

/// The names in a list: texts, or objects with a name.
fn texts(list: Option<&Value>) -> Option<Vec<String>> {
    let name = |item: &Value| {
        let named = item.get("name").or_else(|| item.get("field")).unwrap_or(item);
        named.as_str().map(str::to_owned)
    };
    let names: Vec<String> = list?.as_array()?.iter().filter_map(name).collect();
    (!names.is_empty()).then_some(names)
}

/// How long and how many keys the deduplicator knows, against what lies between a try and its repeat.
fn memory(facts: &Facts<'_>, task: &Task) -> Finding {
    const CHECK: &str = "deduplication memory";
    let Some(ttl) = task.setting_of("ttl").map_or(Some(TTL), duration) else {
        let advice = "look at its time to live in Mediation: it must outlast an outage";
        return Finding::new(CHECK, Verdict::Unknown, "a time to live in no known form", advice);
    };
    let keys_max = task.setting_of("maxSize").and_then(Value::as_u64);
    // A lane sends no younger batch before the older ones are settled.
    let needed = u64::from(facts.requests_in_flight_max)
        .saturating_mul(facts.meter.limits.events_per_request_max.into());
    let (oldest, waiting) = match &facts.backlog {
        Ok(backlog) => (backlog.oldest, backlog.events),
        Err(_) => (Duration::ZERO, 0),
    };
    let keys =
        keys_max.map_or_else(|| "as many keys as it likes".to_owned(), |max| format!("{max} keys"));
    let found = format!("{} and {keys}", period(ttl));
    let at_risk =
        |found: String, advice: &str| Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice);
    if oldest >= ttl {
        let found =
            format!("{found}; the oldest of {waiting} events that wait is {} old", period(oldest));
        return at_risk(found, "lengthen its time to live: what was tried before counts twice");
    }
    if ttl < OUTAGE_LIKELY {
        return at_risk(
            found,
            "lengthen its time to live to a week or more: an outage outlasts it",
        );
    }
    if keys_max.is_some_and(|max| max < needed) {
        let found = format!("{found}; {needed} events can be under way here");
        return at_risk(found, "give it room for more keys, or lower requests_in_flight_max");
    }
    if ttl < OUTAGE {
        let advice =
            "lengthen its time to live to a week or more: after a longer outage repeats count";
        return Finding::new(CHECK, Verdict::Warning, found, advice);
    }
    match &facts.backlog {
        Ok(_) => Finding::ok(CHECK, found),
        Err(reason) => {
            let found = format!("{found}; what waits here is not known: {reason}");
            Finding::new(CHECK, Verdict::Unknown, found, "run it where the store is, as its user")
        }
    }
}

/// Whether the usage sink makes the same record of a repeat.
fn by_usage_key(check: &'static str, definitions: &Definitions, id: &str) -> Option<Finding> {
    let sink = definitions.meter.tasks().find(|task| task.is("ZUORA_USAGE"))?;
    let method = sink.setting_of("usageKeyGenerationMethod").and_then(Value::as_str)?;
    let found = |key: &str| format!("the usage key is {method} {key}");
    match method {
        "RAW" => {
            let key = sink.setting_of("uniqueKey").and_then(Value::as_str).unwrap_or_default();
            (key == id).then(|| Finding::ok(check, found(key)))
        }
        "SPECIFIC_FIELDS" => {
            let fields = texts(sink.setting_of("specificFields"))?;
            let is_there = fields.iter().any(|field| field == id);
            is_there.then(|| Finding::ok(check, found(&fields.join(", "))))
        }
        "INTERNAL" => {
            let advice =
                format!("better, add a Deduplicator on {id:?}: equal records are one usage");
            Some(Finding::new(check, Verdict::Warning, found("(a hash of the record)"), advice))
        }
        _ => None,
    }
}
