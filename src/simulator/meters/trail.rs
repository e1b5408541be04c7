//! Counts and audit entries of a meter.
//!
//! Entries are kept until the simulator ends: all errors, and the first successes of a session.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::assumptions::{Assumptions, Question};
use super::definition::Operator;
use super::session::Session;
use crate::clock::Timestamp;

/// Successes of a session that are kept.
const SAMPLES_MAX: u64 = 100;

/// What became of the events of a meter.
#[derive(Debug, Default)]
pub(in super::super) struct Trail {
    entries: Vec<Entry>,
    tallies: Vec<Tally>,
    samples: BTreeMap<u64, u64>,
    assumptions: Assumptions,
}

/// One event at one operator.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Entry {
    error_time: String,
    timestamp: String,
    error_code: Option<&'static str>,
    error_message: Option<String>,
    payload: Box<RawValue>,
    event_id: String,
    trace_id: String,
    operator_type: String,
    operator_name: String,
    operator_id: String,
    #[serde(skip)]
    at: Timestamp,
    #[serde(skip)]
    session: Session,
}

/// Events of one request that came to the same end at one operator.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) at: Timestamp,
    pub(super) session: String,
    pub(super) is_debug: bool,
    pub(super) operator_id: String,
    /// Whether nobody gets events from the operator.
    pub(super) is_sink: bool,
    /// None: they came through.
    pub(super) error_code: Option<&'static str>,
    pub(super) count: u64,
}

/// Which entries or counts are meant. Both ends of the time belong to it.
#[derive(Debug, Default)]
pub(in super::super) struct Filter {
    pub(in super::super) is_debug: bool,
    pub(in super::super) from: Option<Timestamp>,
    pub(in super::super) to: Option<Timestamp>,
    /// Empty: all.
    pub(in super::super) sessions: Vec<String>,
    /// Empty: all.
    pub(in super::super) operators: Vec<String>,
}

/// What an entry or a count is about.
struct Of<'o> {
    is_debug: bool,
    at: Timestamp,
    session: &'o str,
    operator: &'o str,
}

impl Filter {
    fn fits(&self, of: &Of<'_>, assumptions: Assumptions) -> bool {
        let is_in = |list: &[String], item: &str| {
            list.is_empty() || list.iter().any(|wanted| wanted == item)
        };
        // Times have whole seconds: the last one belongs to it to its end.
        let second = |at: Timestamp| at.as_millis().div_euclid(1000);
        let end = i64::from(assumptions.differ(Question::SpanEnd));
        of.is_debug == self.is_debug
            && self.from.is_none_or(|from| second(of.at) >= second(from))
            && self.to.is_none_or(|to| second(of.at) + end <= second(to))
            && is_in(&self.sessions, of.session)
            && is_in(&self.operators, of.operator)
    }
}

impl Entry {
    pub(super) fn new(
        session: &Session,
        operator: &Operator,
        payload: Box<RawValue>,
        number: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            error_time: now.as_millis().to_string(),
            timestamp: now.to_string(),
            error_code: None,
            error_message: None,
            payload,
            event_id: format!("00000000-0000-4000-8000-{:012x}|{number}", session.number),
            trace_id: format!("{number:032x}"),
            operator_type: operator.kind.clone(),
            operator_name: operator.name.clone(),
            operator_id: operator.id.clone(),
            at: now,
            session: session.clone(),
        }
    }

    /// The same with an error.
    pub(super) fn with(mut self, error: Option<(&'static str, String)>) -> Self {
        (self.error_code, self.error_message) = error.unzip();
        self
    }
}

impl Trail {
    pub(super) fn new(assumptions: Assumptions) -> Self {
        Self { assumptions, ..Self::default() }
    }

    /// The event as an entry has it.
    pub(super) fn payload(&self, event: &RawValue) -> Box<RawValue> {
        let text = || serde_json::value::to_raw_value(event.get()).ok();
        let as_text = self.assumptions.differ(Question::Payload).then(text).flatten();
        as_text.unwrap_or_else(|| event.to_owned())
    }

    pub(super) fn enter(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(super) fn count(&mut self, tally: Tally) {
        self.tallies.push(tally);
    }

    /// Whether one more success of `session` is kept; it counts as kept.
    pub(super) fn wants_sample(&mut self, session: &Session) -> bool {
        let samples = self.samples.entry(session.number).or_default();
        *samples += 1;
        *samples <= SAMPLES_MAX || self.assumptions.differ(Question::Samples)
    }

    /// The entries that are meant, in the order in which they were written.
    pub(in super::super) fn entries(&self, filter: &Filter, is_error: bool) -> Vec<&Entry> {
        let is_meant = |entry: &&Entry| {
            let of = Of {
                is_debug: entry.session.is_debug,
                at: entry.at,
                session: &entry.session.name(),
                operator: &entry.operator_id,
            };
            entry.error_code.is_some() == is_error && filter.fits(&of, self.assumptions)
        };
        self.entries.iter().filter(is_meant).collect()
    }

    /// The counts that are meant, by `dimensions`. Of errors by code no output is told; by
    /// operator it is what that operator let through, else what the last ones did.
    pub(in super::super) fn summary(&self, filter: &Filter, dimensions: &[String]) -> Vec<Value> {
        let has = |name: &str| dimensions.iter().any(|dimension| dimension == name);
        let counts_all = has("processorId") || self.assumptions.differ(Question::Output);
        let by_code = has("errorCode");
        let mut rows: BTreeMap<Vec<(&str, &str)>, (u64, u64)> = BTreeMap::new();
        for tally in &self.tallies {
            let of = Of {
                is_debug: tally.is_debug,
                at: tally.at,
                session: &tally.session,
                operator: &tally.operator_id,
            };
            let is_meant = filter.fits(&of, self.assumptions);
            if !is_meant || (by_code && tally.error_code.is_none()) {
                continue;
            }
            let value = |dimension: &str| match dimension {
                "sessionId" => tally.session.as_str(),
                "processorId" => tally.operator_id.as_str(),
                _ => tally.error_code.unwrap_or_default(),
            };
            let group = dimensions.iter().map(|name| (name.as_str(), value(name))).collect();
            let (output, errors) = rows.entry(group).or_default();
            if tally.error_code.is_some() {
                *errors += tally.count;
            } else if counts_all || tally.is_sink {
                *output += tally.count;
            }
        }
        let row = |(group, (output, errors)): (Vec<(&str, &str)>, (u64, u64))| {
            let dimensions: BTreeMap<&str, &str> = group.into_iter().collect();
            json!({"dimensions": dimensions, "output": output, "totalErrorCount": errors})
        };
        rows.into_iter().map(row).collect()
    }
}

#[cfg(test)]
impl Trail {
    pub(super) fn errors(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.error_code.is_some())
    }
}

#[cfg(test)]
impl Entry {
    pub(super) fn code(&self) -> &str {
        self.error_code.unwrap_or_default()
    }

    pub(super) fn message(&self) -> &str {
        self.error_message.as_deref().unwrap_or_default()
    }
}
