//! Reads errors of the audit trail: which are repeats, which are about events of ours, and what
//! cannot be told.

use std::time::Duration;

use crate::body::{Counted, Event, Fields};
use crate::clock::Timestamp;
use crate::mediation::audit::{Entry, Page};
use crate::mediation::error::{DUPLICATE_EVENT, clean};
use crate::mediation::form::{Text, shown};
use crate::meter::Meter;
use crate::quantity::Quantity;
use crate::store::editor::Editor;
use crate::store::refusals::{Filed, Filing, Refusal, Repeated};
use crate::store::{self, reconciliations::Amount};

/// What the trail holds.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// What became of the refusals of events with an id.
    pub(super) filed: Filed,
    /// Events that were dropped as repeats.
    pub(super) repeats: Amount,
    /// What is known of these.
    pub(super) repeated: Repeated,
    /// Refusals of events without an id: they are nobody's.
    pub(super) nameless: u64,
}

impl Trail {
    /// Counts the entries of a page, and files what is new in it.
    pub(super) fn take(
        &mut self,
        page: &Page<'_>,
        meter: &Meter,
        filing: &Filing,
        editor: &mut Editor,
    ) -> Result<(), store::Error> {
        let fields = Fields {
            id: meter.event_id_field.as_deref(),
            quantity: meter.quantity_field.as_deref(),
        };
        let (mut refusals, mut repeats) = (Vec::new(), Vec::new());
        for entry in page.data.iter().flatten() {
            let entry = Entry::read(entry);
            let event = event(&entry, fields);
            // What has no time is as old as the youngest that is looked at.
            let newest = || filing.settled_until.before(Duration::from_millis(1));
            let error_at = time(&entry).unwrap_or_else(newest);
            let quantity = known(event.quantity);
            if shown(entry.error_code.as_ref()) == DUPLICATE_EVENT {
                self.repeats.events += 1;
                self.repeats.total.add(quantity);
                repeats.extend(event.id.map(|id| (id, error_at)));
                continue;
            }
            let Some(event_id) = event.id else {
                self.nameless += 1;
                continue;
            };
            refusals.push(Refusal {
                event_id,
                error_at,
                code: entry.error_code.as_ref().map(|code| clean(&code.to_string())),
                detail: detail(&entry),
                quantity,
                event: event.bytes,
            });
        }
        self.filed = self.filed.plus(editor.file(filing, &refusals)?);
        let Repeated { stamped, put_back } = editor.repeated(&filing.meter, &repeats)?;
        self.repeated.stamped += stamped;
        self.repeated.put_back += put_back;
        Ok(())
    }

    /// Repeats of which each may have a receipt of its own: an application can write an event twice.
    pub(super) fn written_twice(&self) -> u64 {
        self.repeats.events.saturating_sub(self.repeated.stamped)
    }

    /// How many entries there are that are no repeats.
    pub(super) fn refusals(&self) -> u64 {
        let Filed { filed, known, foreign, postponed } = self.filed;
        filed + known + foreign + postponed + self.nameless
    }
}

/// No quantity is none; one that is no number is not known.
fn known(quantity: Counted) -> Option<Quantity> {
    match quantity {
        Counted::Nothing => Some(Quantity::ZERO),
        Counted::Known(quantity) => Some(quantity),
        Counted::Unknown => None,
    }
}

/// The event of an entry, which may be a text with JSON in it.
fn event(entry: &Entry<'_>, fields: Fields<'_>) -> Event {
    let payload = entry.payload.map_or("", |payload| payload.get());
    match serde_json::from_str::<String>(payload) {
        Ok(text) => Event::read(&text, fields),
        Err(_) => Event::read(payload, fields),
    }
}

/// When the error happened, by Mediation's clock.
fn time(entry: &Entry<'_>) -> Option<Timestamp> {
    let text = |text: &Text| text.as_ref().map(ToString::to_string);
    let millis = text(&entry.error_time).and_then(|millis| millis.trim().parse().ok());
    let words = || {
        let instant = text(&entry.timestamp)?.parse::<jiff::Timestamp>().ok()?;
        Some(instant.as_millisecond())
    };
    millis.or_else(words).map(Timestamp::from_millis)
}

/// `Mediation: NAME (TYPE): MESSAGE`.
fn detail(entry: &Entry<'_>) -> String {
    let [name, kind, message] = [&entry.operator_name, &entry.operator_type, &entry.error_message]
        .map(|text| clean(&shown(text.as_ref())));
    format!("Mediation: {name} ({kind}): {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    const FIELDS: Fields<'_> = Fields { id: Some("Id"), quantity: Some("Q") };

    fn read(json: &str) -> serde_json::Result<(Event, Option<Timestamp>, String)> {
        let raw = RawValue::from_string(json.to_owned())?;
        let entry = Entry::read(&raw);
        Ok((event(&entry, FIELDS), time(&entry), detail(&entry)))
    }

    #[test]
    fn entries_are_read_in_every_form() -> serde_json::Result<()> {
        let check = |json: &str, id: Option<&str>, quantity: Counted, at: Option<i64>| {
            let (event, time, _) = read(json)?;
            assert_eq!((event.id.as_deref(), event.quantity), (id, quantity), "{json}");
            assert_eq!(time.map(Timestamp::as_millis), at, "{json}");
            Ok::<(), serde_json::Error>(())
        };
        let one = Counted::Known(Quantity::read(b"1.50").unwrap_or_default());
        let payload = r#""payload":{"Id":"a","Q":1.50}"#;
        check(&format!(r#"{{"errorTime":"17",{payload}}}"#), Some("a"), one, Some(17))?;
        check(&format!(r#"{{"errorTime":17,{payload}}}"#), Some("a"), one, Some(17))?;
        check(
            &format!(r#"{{"timestamp":"1970-01-01T00:00:01.5Z",{payload}}}"#),
            Some("a"),
            one,
            Some(1500),
        )?;
        check(r#"{"payload":"{\"Id\":7,\"Q\":1.5}"}"#, Some("7"), one, None)?;
        check(r#"{"payload":{"Q":"1"}}"#, None, Counted::Unknown, None)?;
        check(r#"{"payload":null}"#, None, Counted::Nothing, None)?;
        check("[1]", None, Counted::Nothing, None)
    }

    #[test]
    fn words_are_fit_for_a_log_line() -> serde_json::Result<()> {
        let (_, _, detail) =
            read(r#"{"operatorName":"Look\nup","operatorType":"MAP","errorMessage":"no"}"#)?;
        assert_eq!(detail, "Mediation: Look up (MAP): no");
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_is_an_entry(json: String) {
            if let Ok(raw) = RawValue::from_string(json) {
                let _ = read(raw.get());
            }
        }
    }
}
