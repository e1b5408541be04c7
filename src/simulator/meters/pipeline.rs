//! What happens to events after the 200: each goes through the operators until one refuses it.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::assumptions::{Assumptions, Question};
use super::dedupe::Keys;
use super::definition::{Definition, Field, Operator, Work};
use super::graph::Graph;
use super::late::{self, Newest};
use super::session::Session;
use super::trail::{Entry, Tally, Trail};
use crate::clock::Timestamp;

/// The code of an event that is not what the schema says.
const SCHEMA: &str = "70000000";

/// The code of an event that came before.
const DUPLICATE: &str = "70001204";

/// The code of an event that came after the newest one by more than its operator waits.
const LATE: &str = "70001203";

/// The operators of a meter, and what they remember.
#[derive(Debug)]
pub(super) struct Pipeline {
    operators: Vec<(Operator, Memory)>,
    graph: Graph,
    assumptions: Assumptions,
    /// Events so far: part of the ids that the trail gives them.
    events: u64,
}

/// What an operator remembers of the events before.
#[derive(Debug)]
enum Memory {
    Nothing,
    Keys(Keys),
    Newest(Newest),
}

/// Why an operator refuses an event.
struct Refusal {
    code: &'static str,
    message: String,
}

/// Counts of events that came to the same end at one operator.
type Counts = BTreeMap<(usize, Option<&'static str>), u64>;

impl Pipeline {
    /// A pipeline that remembers nothing.
    pub(super) fn new(definition: &Definition, assumptions: Assumptions) -> Self {
        let memory = |operator: &Operator| match &operator.work {
            Work::Deduplicate { ttl, keys_max, .. } => Memory::Keys(Keys::new(*ttl, *keys_max)),
            Work::Wait { .. } => Memory::Newest(Newest::default()),
            Work::Check(_) | Work::Pass => Memory::Nothing,
        };
        let operators: Vec<(Operator, Memory)> = definition
            .operators
            .iter()
            .map(|operator| (operator.clone(), memory(operator)))
            .collect();
        let graph = if assumptions.differ(Question::OperatorOrder) {
            Graph::as_listed(operators.len())
        } else {
            definition.graph.clone()
        };
        Self { operators, graph, assumptions, events: 0 }
    }

    /// Takes over what the operators of `old` with the same ids know of keys.
    pub(super) fn remember(&mut self, old: Self) {
        for (operator, memory) in old.operators {
            let same = self.operators.iter_mut().find(|(new, _)| new.id == operator.id);
            if let (Some((_, Memory::Keys(new))), Memory::Keys(keys)) = (same, memory) {
                *new = keys;
            }
        }
    }

    /// Processes `events`, writes counts and entries to `trail`, and counts the errors.
    pub(super) fn process(
        &mut self,
        trail: &mut Trail,
        session: &Session,
        events: &[Box<RawValue>],
        now: Timestamp,
    ) -> u64 {
        let mut counts = Counts::new();
        for event in events {
            self.events += 1;
            self.event(trail, (session, event), &mut counts, now);
        }
        let errors = counts.iter().filter(|((_, code), _)| code.is_some()).map(|(_, count)| count);
        let errors = errors.sum();
        for ((index, code), count) in counts {
            let Some((operator, _)) = self.operators.get(index) else { continue };
            trail.count(Tally {
                at: now,
                session: session.name(),
                is_debug: session.is_debug,
                operator_id: operator.id.clone(),
                is_sink: self.graph.is_sink(index),
                error_code: code,
                count,
            });
        }
        errors
    }

    /// Sends one event through the operators.
    fn event(
        &mut self,
        trail: &mut Trail,
        (session, event): (&Session, &RawValue),
        counts: &mut Counts,
        now: Timestamp,
    ) {
        let value: Value = serde_json::from_str(event.get()).unwrap_or_default();
        // How often the event came out of each operator.
        let mut came_out = vec![0_u32; self.operators.len()];
        let assumptions = self.assumptions;
        for index in self.graph.order.iter().copied() {
            let before = self.graph.before.get(index).map_or(&[][..], Vec::as_slice);
            let arrived = before.iter().filter_map(|place| came_out.get(*place)).sum();
            let times = match before {
                [] => 1,
                _ if assumptions.differ(Question::SeveralWays) => arrived,
                _ => arrived.min(1),
            };
            let is_sink = self.graph.is_sink(index);
            let Some((operator, memory)) = self.operators.get_mut(index) else { continue };
            for _ in 0..times {
                let refusal = look(operator, memory, &value, now, assumptions).err();
                let code = refusal.as_ref().map(|refusal| refusal.code);
                *counts.entry((index, code)).or_default() += 1;
                match came_out.get_mut(index) {
                    Some(times) if refusal.is_none() => *times += 1,
                    _ => {}
                }
                if refusal.is_some() || (is_sink && trail.wants_sample(session)) {
                    trail.enter(
                        Entry::new(session, operator, trail.payload(event), self.events, now)
                            .with(refusal.map(|refusal| (refusal.code, refusal.message))),
                    );
                }
            }
        }
    }
}

fn look(
    operator: &Operator,
    memory: &mut Memory,
    event: &Value,
    now: Timestamp,
    assumptions: Assumptions,
) -> Result<(), Refusal> {
    let refuse = |code, message: &str| Err(Refusal { code, message: message.to_owned() });
    match (&operator.work, memory) {
        (Work::Check(fields), _) => {
            let wrong = fields.iter().find_map(|field| wrong(field, event));
            wrong.map_or(Ok(()), |message| refuse(SCHEMA, &message))
        }
        (Work::Deduplicate { fields, .. }, Memory::Keys(keys)) => {
            // Maps are sorted, so that equal events print the same.
            let key = match fields {
                None => event.to_string(),
                Some(fields) => {
                    let values =
                        fields.iter().map(|field| event.get(field).unwrap_or(&Value::Null));
                    Value::from(values.cloned().collect::<Vec<_>>()).to_string()
                }
            };
            if keys.is_new(&key, now) {
                return Ok(());
            }
            if assumptions.differ(Question::RepeatRenewsKey) {
                keys.renew(&key, now);
            }
            refuse(DUPLICATE, "Duplicate event.")
        }
        (Work::Wait { field, patience }, Memory::Newest(newest)) => {
            let is_late = newest.is_late(late::time(event.get(field)), *patience);
            if is_late && !assumptions.differ(Question::LateData) {
                return refuse(LATE, "This event arrived after the processing window closed.");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What is wrong with a field of the event.
fn wrong(field: &Field, event: &Value) -> Option<String> {
    let Field { name, kind, required } = field;
    let value = event.get(name).filter(|value| !value.is_null());
    let Some(value) = value else {
        return required.then(|| format!("Required field {name} is missing."));
    };
    let is_right = match kind.as_str() {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "datetime" => value.is_string() || value.is_number(),
        _ => true,
    };
    (!is_right).then(|| format!("Field {name} is no {kind}."))
}

#[cfg(test)]
mod tests {
    use super::super::definition::DEFAULT;
    use super::super::events_of_json;
    use super::*;

    #[test]
    fn each_event_comes_out_or_has_an_entry() -> Result<(), String> {
        let definition = Definition::read(DEFAULT)?;
        let mut pipeline = Pipeline::new(&definition, Assumptions::default());
        let now = Timestamp::from_millis(0);
        let session = Session { number: 1, is_debug: false, started_at: now };
        let event = |id: &str, quantity: &str| {
            format!(
                r#"{{"CustomerId":"c","UsageIdentifier":"u","UsageDate":"d","Quantity":{quantity},"EventId":"{id}"}}"#
            )
        };
        let events = [event("a", "1"), event("b", "\"1\""), event("a", "1"), "{}".to_owned()];
        let mut trail = Trail::default();
        let events = events_of_json(format!("[{}]", events.join(",")).as_bytes());
        assert_eq!(pipeline.process(&mut trail, &session, &events, now), 3);
        let refused: Vec<_> = trail.errors().map(|entry| (entry.code(), entry.message())).collect();
        let expected = [
            ("70000000", "Field Quantity is no number."),
            ("70001204", "Duplicate event."),
            ("70000000", "Required field CustomerId is missing."),
        ];
        assert_eq!(refused, expected);
        Ok(())
    }
}
