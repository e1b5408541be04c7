//! Whether what is validated here is what the meter asks for.

use super::{Definitions, Finding, Verdict, id_field};
use crate::control::contract::flaw;
use crate::meter::Meter;
use crate::schema::difference::described;
use crate::schema::{Field, FieldType, Schema};

/// The schema, and the field of the event id in it.
pub(super) fn examine(meter: &Meter, definitions: &Definitions) -> Vec<Finding> {
    const CHECK: &str = "schema";
    let exported = match &definitions.schema {
        Ok(exported) => exported,
        Err(error) => {
            let advice = "give the meter's source a schema, or set schema.file";
            let found = format!("the export: {error}");
            return vec![Finding::new(CHECK, Verdict::Unknown, found, advice)];
        }
    };
    let id = event_id(meter, &exported.schema, &exported.event_id_fields);
    vec![compared(CHECK, meter, definitions, &exported.schema), id]
}

fn compared(
    check: &'static str,
    meter: &Meter,
    definitions: &Definitions,
    theirs: &Schema,
) -> Finding {
    let fields = theirs.fields().len();
    if let Some(flaw) = flaw(meter, theirs) {
        return Finding::new(check, Verdict::MoneyAtRisk, flaw, "mend the meter or its section");
    }
    let is_exported = meter.schema.refresh().is_some();
    let Some(ours) = meter.schema.now() else {
        let found = format!("{fields} fields in the export, and none is kept here yet");
        return Finding::new(check, Verdict::Ok, found, "the first start fetches it");
    };
    let (risks, others) = differences(meter, &ours.schema, theirs);
    if risks.is_empty() && others.is_empty() {
        return match definitions.warnings.as_slice() {
            [] => {
                Finding::ok(check, format!("{fields} fields, validated here as the meter has them"))
            }
            odd => {
                let advice = "see whether events of these fields come through: meterd meter test";
                Finding::new(check, Verdict::Warning, odd.join("; "), advice)
            }
        };
    }
    let (verdict, found) = if risks.is_empty() {
        (Verdict::Warning, others.join("; "))
    } else {
        (Verdict::MoneyAtRisk, risks.join("; "))
    };
    let advice = if is_exported {
        "it has changed since it was fetched: the daemon takes it within schema.refresh"
    } else {
        "set schema.from = \"export\", or mend the fields: what the meter does not take is refused \
         after the 200"
    };
    Finding::new(check, verdict, found, advice)
}

/// What the meter would refuse that is good here, and what is merely different. How times are written
/// is looked at elsewhere, and an event id that is not listed here is a text.
fn differences(meter: &Meter, ours: &Schema, theirs: &Schema) -> (Vec<String>, Vec<String>) {
    let (mut risks, mut others) = (Vec::new(), Vec::new());
    let known = |schema: &Schema, name: &str| {
        schema.fields().iter().find(|field| &*field.name == name).cloned()
    };
    for field in theirs.fields() {
        let name = &field.name;
        let wanted = described(field);
        match known(ours, name) {
            None if Some(name) == id_field(meter) => {}
            None => {
                let list = if field.required { &mut risks } else { &mut others };
                list.push(format!("{name:?} is {wanted} for the meter, and not known here"));
            }
            Some(own) if is_refused(&own, field) => {
                risks.push(format!("{name:?} is {wanted} for the meter, {} here", described(&own)));
            }
            Some(own) if (own.kind, own.required) != (field.kind, field.required) => {
                others
                    .push(format!("{name:?} is {wanted} for the meter, {} here", described(&own)));
            }
            Some(_) => {}
        }
    }
    let strangers = ours.fields().iter().filter(|field| known(theirs, &field.name).is_none());
    others
        .extend(strangers.map(|field| format!("{:?} goes out and is not known there", field.name)));
    (risks, others)
}

/// Whether a value that is good for `ours` may be wrong for `theirs`.
fn is_refused(ours: &Field, theirs: &Field) -> bool {
    use FieldType::{Any, DateTime, Integer, Number, String};
    let is_taken = match (ours.kind, theirs.kind) {
        (_, Any) | (Integer, Number) | (String, DateTime) | (DateTime, String) => true,
        (own, wanted) => own == wanted,
    };
    !is_taken || (theirs.required && !ours.required)
}

fn event_id(meter: &Meter, theirs: &Schema, named: &[String]) -> Finding {
    const CHECK: &str = "event id";
    let Some(id) = id_field(meter) else {
        let advice = "set event_id_field and give the meter such a field of type string: a repeat cannot \
                      be told from an event otherwise";
        return Finding::new(CHECK, Verdict::MoneyAtRisk, "no event_id_field is set", advice);
    };
    if !theirs.fields().iter().any(|field| field.name == *id) {
        let found = format!("{id:?}, which the meter's schema does not have");
        let advice = "add it to the schema as a field of type string";
        return Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice);
    }
    if named.is_empty() || named.iter().any(|name| **name == **id) {
        return Finding::ok(CHECK, format!("{id:?}"));
    }
    let found = format!("{id:?} here, {} for the meter", named.join(", "));
    Finding::new(CHECK, Verdict::Warning, found, "see that both name the same events")
}

#[cfg(test)]
mod tests {
    use super::*;
    use FieldType::{Any, DateTime, Integer, Number, String};

    #[test]
    fn only_what_the_meter_would_refuse_is_a_risk() {
        let field = |kind, required| Field { name: "a".into(), kind, required, format: None };
        let check = |ours: (FieldType, bool), theirs: (FieldType, bool), is_risk| {
            let found = is_refused(&field(ours.0, ours.1), &field(theirs.0, theirs.1));
            assert_eq!(found, is_risk, "{ours:?} {theirs:?}");
        };
        check((String, true), (String, true), false);
        check((String, true), (String, false), false);
        check((String, false), (String, true), true);
        check((Integer, true), (Number, true), false);
        check((Number, true), (Integer, true), true);
        check((DateTime, true), (String, true), false);
        check((Any, true), (String, true), true);
        check((Number, true), (Any, true), false);
        check((String, true), (Number, true), true);
    }
}
