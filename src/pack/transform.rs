//! Runs the program of a source, which makes an event of each record.
//!
//! The record is `.` when it begins, and what is `.` when it ends is the event. What goes wrong
//! becomes a dead letter with the compiler's words, and its neighbours go on. The same record makes
//! the same event: the zone of times is UTC wherever the agent runs.

mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};

use vrl::compiler::state::RuntimeState;
use vrl::compiler::{Context, ExpressionError, TargetValue, TimeZone};
use vrl::diagnostic::DiagnosticMessage;
use vrl::path::{OwnedSegment, OwnedValuePath};
use vrl::value::{ObjectMap, Secrets, Value};

use super::decode::Decoder;
use super::record::{self, Places, Record};
use super::validate::Refusal;
use crate::dead_letter::Reason;
use crate::mapping::transform::{Program, Transform};
use crate::mapping::{Format, Mapping};

/// Characters of what the compiler says that a dead letter keeps: values of a record may be in them.
const WORDS_MAX: usize = 300;

/// Runs one program for one record after the other.
#[derive(Debug)]
pub struct Runner {
    state: RuntimeState,
    /// Where it finds a value behind `%`, and the slot of the value.
    around: Vec<(OwnedValuePath, usize)>,
    /// Of times that do not say theirs.
    time_zone: TimeZone,
}

impl Runner {
    /// A runner for `transform`; what is around its records is in `places`.
    pub fn new(transform: &Transform, places: &Places) -> Self {
        let around = transform.around.iter().filter_map(|(keys, reference)| {
            let segments = keys.iter().map(|key| OwnedSegment::field(key)).collect();
            Some((OwnedValuePath { segments }, places.slot(reference)?))
        });
        Self { state: RuntimeState::default(), around: around.collect(), time_zone: utc() }
    }

    /// Writes the event that `program` makes of an `object` to `out`, which is overwritten; false:
    /// it says that there is none.
    pub fn run(
        &mut self,
        program: &Program,
        object: ObjectMap,
        around: &Record,
        out: &mut String,
    ) -> Result<bool, Refusal> {
        let metadata = self.metadata(around);
        let mut target =
            TargetValue { value: Value::Object(object), metadata, secrets: Secrets::default() };
        self.state.clear();
        let mut context = Context::new(&mut target, &mut self.state, &self.time_zone);
        // A panic in VRL's library would end the agent, and at each start again at the same line.
        let run = catch_unwind(AssertUnwindSafe(|| program.compiled().resolve(&mut context)));
        match run {
            Ok(Ok(_) | Err(ExpressionError::Return { .. })) => {}
            Ok(Err(ExpressionError::Abort { .. })) => return Ok(false),
            Ok(Err(error)) => return Err(failed(program, &error)),
            Err(_) => {
                self.state = RuntimeState::default();
                return Err(refusal(None, "the program panicked: a defect of VRL's library"));
            }
        }
        let Value::Object(event) = &target.value else {
            let found = target.value.kind_str();
            let detail = format!(
                "the program made of the record a value of type {found}, an object was expected"
            );
            return Err(refusal(None, detail));
        };
        out.clear();
        value::write(event, out)?;
        Ok(true)
    }

    fn metadata(&self, around: &Record) -> Value {
        let mut metadata = Value::Object(ObjectMap::new());
        for (path, slot) in &self.around {
            let value = match around.value(*slot) {
                record::Value::Nothing => Value::Null,
                value => value.text().map_or(Value::Null, Value::from),
            };
            metadata.insert(path, value);
        }
        metadata
    }
}

fn utc() -> TimeZone {
    TimeZone::parse("UTC").expect("UTC is a zone")
}

/// The record `text` as an object: of JSON with its types, of other formats with a text for each field.
pub fn object(text: &str, mapping: &Mapping, decoder: &mut Decoder) -> Result<ObjectMap, Refusal> {
    if matches!(mapping.format, Format::Json | Format::JsonArray) {
        return value::read(text);
    }
    let mut object = ObjectMap::new();
    let mut repeated = None;
    decoder.each(text, &mut |name, value| {
        if object.insert(name.into(), Value::from(value)).is_some() {
            repeated.get_or_insert_with(|| name.to_owned());
        }
    })?;
    match repeated {
        None => Ok(object),
        Some(name) => {
            let detail = "the key stands twice on the line".to_owned();
            Err(Refusal { reason: Reason::DuplicateKey, field: Some(name), detail })
        }
    }
}

#[cold]
fn failed(program: &Program, error: &ExpressionError) -> Refusal {
    let labels = error.labels();
    let label = labels.iter().find(|label| label.primary).or(labels.first());
    let Some(span) = label.map(|label| label.span) else {
        return refusal(None, shortened(&error.message()));
    };
    // A call says its place in bytes; people count lines.
    let in_bytes = format!(" at ({}:{})", span.start(), span.end());
    let words = shortened(&error.message().replace(&in_bytes, ""));
    refusal(None, format!("{}: {words}", program.place(span.start())))
}

fn shortened(words: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    match words.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => words[..end].chars().map(plain).chain("...".chars()).collect(),
        None => words.chars().map(plain).collect(),
    }
}

#[cold]
fn refusal(field: Option<String>, detail: impl Into<String>) -> Refusal {
    Refusal { reason: Reason::TransformFailed, field, detail: detail.into() }
}

#[cfg(test)]
mod tests;
