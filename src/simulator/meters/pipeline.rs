//! What happens to events after the 200: each goes through the operators until one refuses it.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::dedupe::Keys;
use super::definition::{Definition, Field, Operator, Work};
use super::session::Session;
use super::trail::{Entry, Tally, Trail};
use crate::clock::Timestamp;

/// The code of an event that is not what the schema says.
const SCHEMA: &str = "70000000";

/// The code of an event that came before.
const DUPLICATE: &str = "70001204";

/// The operators of a meter, and what they remember.
#[derive(Debug)]
pub(super) struct Pipeline {
    operators: Vec<(Operator, Option<Keys>)>,
    /// Events so far: part of the ids that the trail gives them.
    events: u64,
}

/// Why an operator refuses an event.
struct Refusal {
    code: &'static str,
    message: String,
}

impl Pipeline {
    /// A pipeline that remembers nothing.
    pub(super) fn new(definition: &Definition) -> Self {
        let keys = |operator: &Operator| match &operator.work {
            Work::Deduplicate { ttl, keys_max, .. } => Some(Keys::new(*ttl, *keys_max)),
            _ => None,
        };
        let operators = definition.operators.iter();
        let operators = operators.map(|operator| (operator.clone(), keys(operator))).collect();
        Self { operators, events: 0 }
    }

    /// Processes `events`, writes counts and entries to `trail`, and counts the errors.
    pub(super) fn process(
        &mut self,
        trail: &mut Trail,
        session: &Session,
        events: &[Box<RawValue>],
        now: Timestamp,
    ) -> u64 {
        let mut counts: BTreeMap<(usize, Option<&'static str>), u64> = BTreeMap::new();
        let last = self.operators.len().saturating_sub(1);
        for event in events {
            self.events += 1;
            let value = serde_json::from_str(event.get()).unwrap_or_default();
            for (index, (operator, keys)) in self.operators.iter_mut().enumerate() {
                let refusal = look(operator, keys.as_mut(), &value, now).err();
                let code = refusal.as_ref().map(|refusal| refusal.code);
                *counts.entry((index, code)).or_default() += 1;
                let is_refused = refusal.is_some();
                if is_refused || (index == last && trail.wants_sample(session)) {
                    trail.enter(
                        Entry::new(session, operator, event, self.events, now)
                            .with(refusal.map(|refusal| (refusal.code, refusal.message))),
                    );
                }
                if is_refused {
                    break;
                }
            }
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
                is_last: index == last,
                error_code: code,
                count,
            });
        }
        errors
    }
}

fn look(
    operator: &Operator,
    keys: Option<&mut Keys>,
    event: &Value,
    now: Timestamp,
) -> Result<(), Refusal> {
    match (&operator.work, keys) {
        (Work::Check(fields), _) => {
            let wrong = fields.iter().find_map(|field| wrong(field, event));
            wrong.map_or(Ok(()), |message| Err(Refusal { code: SCHEMA, message }))
        }
        (Work::Deduplicate { fields, .. }, Some(keys)) => {
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
                Ok(())
            } else {
                Err(Refusal { code: DUPLICATE, message: "Duplicate event.".to_owned() })
            }
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
        let mut pipeline = Pipeline::new(&definition);
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
