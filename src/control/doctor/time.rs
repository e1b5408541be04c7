//! Times: late data, formats, and the clock.

use std::time::Duration;

use super::{Definitions, Facts, Finding, Verdict, period};
use crate::mediation::export::{Meter as Definition, Task, duration};
use crate::mediation::form::{Loose, shown};
use crate::meter::Meter;
use crate::schema::{Field, FieldType};

/// Clocks that differ by less are taken for equal: the header has whole seconds, and is on its way.
const SKEW_OK: Duration = Duration::from_secs(5);

/// Clocks that differ by more make ages wrong that somebody cares for.
const SKEW_MAX: Duration = Duration::from_secs(300);

/// An outage of this length is to be expected.
const OUTAGE: Duration = Duration::from_secs(24 * 3600);

/// The windows of operators that refuse late events, against what waits here.
pub(super) fn late(facts: &Facts<'_>, definition: &Definition) -> Finding {
    const CHECK: &str = "late data";
    let window = |task: &Task| {
        Some((duration(task.setting_of("maxOutOfOrderness")?), shown(task.name.as_ref())))
    };
    let mut windows: Vec<(Option<Duration>, String)> =
        definition.tasks().filter_map(window).collect();
    windows.sort();
    let Some((window, operator)) = windows.into_iter().next() else {
        return Finding::ok(CHECK, "no operator has a window that events can be late for");
    };
    let Some(window) = window else {
        let found = format!("the window of {operator:?} is in no known form");
        return Finding::new(CHECK, Verdict::Unknown, found, "look at its maxOutOfOrderness");
    };
    let oldest = facts.backlog.as_ref().map_or(Duration::ZERO, |backlog| backlog.oldest);
    let found = format!("{operator:?} takes events up to {} late", period(window));
    let advice = "widen its maxOutOfOrderness, or bring what is refused as 70001203 in by another way: \
                  late events are not billed";
    if oldest >= window {
        let found = format!("{found}, the oldest that waits is {} old", period(oldest));
        return Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice);
    }
    if window < OUTAGE {
        let found = format!("{found}: an outage can be longer");
        return Finding::new(CHECK, Verdict::Warning, found, advice);
    }
    Finding::ok(CHECK, found)
}

/// Whether times go out as the meter reads them.
pub(super) fn formats(meter: &Meter, definitions: &Definitions) -> Option<Finding> {
    const CHECK: &str = "times";
    let exported = definitions.schema.as_ref().ok()?;
    let ours = meter.schema.now();
    let ours = ours.as_ref().map_or(&exported.schema, |edition| &edition.schema);
    let own = |name: &str| ours.fields().iter().find(|field| &*field.name == name);
    let mut wrong = Vec::new();
    let written = |field: Option<&Field>| {
        let format = field.and_then(|field| field.format.as_ref());
        format.map_or_else(|| "as they come".to_owned(), |format| format!("as {format}"))
    };
    for field in exported.schema.fields() {
        let Some(format) = &field.format else { continue };
        let own = own(&field.name);
        if own.and_then(|own| own.format.as_ref()) != Some(format) {
            let goes_out = written(own);
            wrong.push(format!("{:?} is read as {format} and goes out {goes_out}", field.name));
        }
    }
    let definition = definitions.meter.type_definition.as_ref().and_then(Loose::known);
    let mappings = definition.into_iter().flat_map(|definition| &definition.field_mappings);
    for mapping in mappings.filter_map(Loose::known) {
        let (name, format) = (shown(mapping.field.as_ref()), shown(mapping.date_format.as_ref()));
        let own = own(&name);
        let goes_out = own.and_then(|own| own.format.as_ref()).map(ToString::to_string);
        if mapping.date_format.as_ref().and_then(Loose::known).is_some_and(|it| !it.is_empty())
            && goes_out.as_ref() != Some(&format)
        {
            wrong.push(format!("{name:?} is mapped as {format} and goes out {}", written(own)));
        }
    }
    if !wrong.is_empty() {
        let advice = "set `format` of these fields, or schema.from = \"export\": a time in another form is \
                      refused after the 200, or read as another one";
        return Some(Finding::new(CHECK, Verdict::MoneyAtRisk, wrong.join("; "), advice));
    }
    let times = ours.fields().iter().filter(|field| field.kind == FieldType::DateTime);
    let shown: Vec<String> =
        times.map(|field| format!("{:?} {}", field.name, written(Some(field)))).collect();
    let found = if shown.is_empty() { "no field is a time".to_owned() } else { shown.join(", ") };
    Some(Finding::ok(CHECK, found))
}

/// The clock here against that of Mediation.
pub(super) fn clock(meter: &Meter, ahead_millis: Option<i64>) -> Finding {
    const CHECK: &str = "clock";
    let Some(ahead) = ahead_millis else {
        let advice = "see that the clock is kept right, such as by chrony";
        return Finding::new(CHECK, Verdict::Unknown, "Mediation did not tell the time", advice);
    };
    let skew = Duration::from_millis(ahead.unsigned_abs());
    if skew <= SKEW_OK {
        return Finding::ok(CHECK, "within 5s of Mediation's");
    }
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    let found = format!("{} {way} Mediation's", period(skew));
    let advice = "set the clock, and keep it right, such as by chrony";
    let has_guards = meter.guards.event_age_max.is_some() || meter.guards.event_ahead_max.is_some();
    if skew > SKEW_MAX && has_guards {
        let advice = format!("{advice}: event_age_max and event_ahead_max go by it");
        return Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice);
    }
    Finding::new(CHECK, Verdict::Warning, found, advice)
}
