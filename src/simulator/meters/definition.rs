//! A meter as it is exported and imported, as far as the simulator understands it.
//!
//! Understood are the fields that must be there and their types, deduplicators, aggregators that wait
//! for late events, and who hands events to whom. All other operators let events through as they are.

use std::time::Duration;

use serde_json::Value;

use super::graph::Graph;
use crate::units::Period;

/// A streaming meter with a deduplicator over `EventId`.
pub(super) const DEFAULT: &str = include_str!("default.json");

/// The deduplicator's limits where the definition has none: those that Zuora documents.
const TTL: Duration = Duration::from_secs(60 * 86_400);
const KEYS_MAX: usize = 10_000_000;

/// A meter.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Definition {
    /// As it came: an export gives it back to the last byte.
    pub(in super::super) text: String,
    pub(in super::super) document: Value,
    pub(in super::super) versions: Vec<String>,
    pub(super) operators: Vec<Operator>,
    pub(super) graph: Graph,
}

/// One operator.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Operator {
    pub(in super::super) id: String,
    pub(in super::super) name: String,
    /// As the audit trail names it.
    pub(in super::super) kind: String,
    pub(super) work: Work,
}

/// What an operator does.
#[derive(Debug, Clone, Default)]
pub(super) enum Work {
    /// Lets events through.
    #[default]
    Pass,
    /// Lets events through that have these fields.
    Check(Vec<Field>),
    /// Lets the first event with a key through.
    Deduplicate {
        /// The key's fields; none: the whole event.
        fields: Option<Vec<String>>,
        ttl: Duration,
        keys_max: usize,
    },
    /// Lets events through whose time is at most so far behind the newest one's.
    Wait {
        /// The field with the time.
        field: String,
        patience: Duration,
    },
}

/// A field of the schema.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) required: bool,
}

impl Definition {
    /// Reads an exported meter.
    pub(in super::super) fn read(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let versions = array(document.get("versions"));
        if document.get("name").is_none_or(|name| !name.is_string()) || versions.is_empty() {
            return Err("a name and at least one version are wanted".to_owned());
        }
        let fields = fields(&document);
        let time = event_time(&document);
        let tasks = array(versions.last().and_then(|version| version.get("tasks")));
        let before = |task: &Value| {
            let before = array(task.get("predecessors")).iter();
            (string(task.get("id")), before.map(|task| string(task.get("id"))).collect())
        };
        let graph = Graph::of(&tasks.iter().map(before).collect::<Vec<_>>())?;
        Ok(Self {
            text: text.to_owned(),
            versions: versions.iter().map(|version| string(version.get("version"))).collect(),
            operators: tasks.iter().map(|task| operator(task, &fields, time.as_deref())).collect(),
            graph,
            document,
        })
    }
}

fn operator(task: &Value, fields: &[Field], time: Option<&str>) -> Operator {
    let kind = string(task.get("operatorType"));
    let work = match kind.as_str() {
        "ZUORA_BULK_API" | "LOCAL_FILE" => Work::Check(fields.to_vec()),
        "DEDUPLICATE" => deduplicator(task.get("metadata").unwrap_or(&Value::Null)),
        "AGGREGATOR" | "REALTIME_EVENT_AGGREGATOR" => {
            waiting(task.get("metadata").unwrap_or(&Value::Null), time).unwrap_or_default()
        }
        _ => Work::Pass,
    };
    let shown = if kind == "ZUORA_BULK_API" { "STREAMING_API_SOURCE".to_owned() } else { kind };
    Operator { id: string(task.get("id")), name: string(task.get("name")), kind: shown, work }
}

fn deduplicator(metadata: &Value) -> Work {
    let is_all = metadata.get("checkType").and_then(Value::as_str) == Some("All");
    let fields = array(metadata.get("specificFields"));
    let fields = fields.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let ttl = metadata.get("ttl").and_then(Value::as_str).and_then(ttl);
    let keys_max = metadata.get("maxSize").and_then(Value::as_u64);
    Work::Deduplicate {
        fields: (!is_all).then_some(fields),
        ttl: ttl.unwrap_or(TTL),
        keys_max: keys_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(KEYS_MAX),
    }
}

/// What an aggregator waits for, when it says so and events have a time.
fn waiting(metadata: &Value, time: Option<&str>) -> Option<Work> {
    let patience = metadata.get("maxOutOfOrderness")?.as_str().and_then(ttl)?;
    Some(Work::Wait { field: time?.to_owned(), patience })
}

/// `1 day`, `30 days`, `12 hours`, `90m`.
fn ttl(text: &str) -> Option<Duration> {
    let (number, unit) = text.trim().split_once(' ').unwrap_or((text, ""));
    let seconds = match unit.trim().trim_end_matches('s') {
        "" => return text.trim().parse::<Period>().ok().map(Period::duration),
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

fn fields(document: &Value) -> Vec<Field> {
    let schema = document.pointer("/schemas/0/schema").unwrap_or(&Value::Null);
    let required = array(schema.get("required"));
    let properties = schema.get("properties").and_then(Value::as_object);
    let field = |(name, property): (&String, &Value)| Field {
        name: name.clone(),
        kind: string(property.get("type")),
        required: required.iter().any(|wanted| wanted.as_str() == Some(name)),
    };
    properties.into_iter().flatten().map(field).collect()
}

/// The field with the event's time: the one that says so, else the first one of that type.
fn event_time(document: &Value) -> Option<String> {
    let properties = document.pointer("/schemas/0/schema/properties")?.as_object()?;
    let is_time = |property: &Value| property.get("eventTime") == Some(&Value::Bool(true));
    let is_datetime = |property: &Value| string(property.get("type")) == "datetime";
    let named = properties.iter().find(|(_, property)| is_time(property));
    let named = named.or_else(|| properties.iter().find(|(_, property)| is_datetime(property)));
    named.map(|(name, _)| name.clone())
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Ids come as numbers and as texts.
fn string(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_understood() -> Result<(), String> {
        let definition = Definition::read(DEFAULT)?;
        assert_eq!(definition.versions, ["0.0.1"]);
        let kinds: Vec<&str> =
            definition.operators.iter().map(|operator| operator.kind.as_str()).collect();
        assert_eq!(kinds, ["STREAMING_API_SOURCE", "DEDUPLICATE", "EVENT_STORE"]);
        let Some(Work::Check(fields)) = definition.operators.first().map(|first| &first.work)
        else {
            return Err("the first operator checks nothing".to_owned());
        };
        assert_eq!(fields.iter().filter(|field| field.required).count(), 4);
        Ok(())
    }

    #[test]
    fn what_is_no_meter_is_refused() {
        for text in ["", "[]", "{}", r#"{"name":"m"}"#, r#"{"name":"m","versions":[]}"#] {
            assert!(Definition::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_to_live_are_read_as_definitions_write_them() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(ttl(text), seconds.map(Duration::from_secs), "{text}");
        };
        check("1 day", Some(86_400));
        check("30 days", Some(30 * 86_400));
        check("12 hours", Some(43_200));
        check("90m", Some(5_400));
        check("soon", None);
        check("x days", None);
    }
}
