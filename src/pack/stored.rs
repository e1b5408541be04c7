//! Whether a frozen body still is what its meter asks for, after the meter's schema has changed.

use std::sync::Arc;

use super::validate::{Refusal, Validator};
use crate::body::{self, CutError};
use crate::dead_letter::Reason;
use crate::meter::Meter;
use crate::schema::edition::Edition;

/// Why the body, an array of `payload_bytes`, does not fit `edition`: in words, without a part of an
/// event; none when every event fits. Ages are not judged: they were when the events came.
pub fn misfit(
    meter: &Meter,
    edition: &Arc<Edition>,
    body: &[u8],
    payload_bytes: u64,
) -> Result<Option<String>, CutError> {
    let mut validator = Validator::of(meter, Arc::clone(edition));
    let mut out = Vec::new();
    let (mut events, mut wrong, mut first) = (0_u64, 0_u64, None);
    body::each(body, payload_bytes, |event| {
        events += 1;
        if let Some(words) = wrong_with(&mut validator, event, &mut out) {
            wrong += 1;
            first.get_or_insert(words);
        }
    })?;
    Ok(first.map(|first| format!("{wrong} of {events} events do not fit, the first: {first}")))
}

fn wrong_with(validator: &mut Validator, event: &[u8], out: &mut Vec<u8>) -> Option<String> {
    match validator.check(event) {
        // A key that the schema does not have is a part of the event.
        Err(Refusal { reason: Reason::UnknownField, .. }) => {
            Some("a field that the meter does not have any more".to_owned())
        }
        Err(Refusal { field: Some(field), detail, .. }) => Some(format!("{field}: {detail}")),
        Err(Refusal { detail, .. }) => Some(detail),
        Ok(checked) => {
            out.clear();
            validator.edits().copy(event, (checked.start, checked.close), out);
            let is_same = event.get(checked.start..checked.close) == Some(out);
            // What is stored goes out as it is.
            (!is_same).then(|| "a time is not in the format of its field".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::ArrayWriter;
    use crate::schema::{FieldType, Schema};

    const EVENTS: [&str; 3] = [
        r#"{"CustomerId":"a","UsageIdentifier":"b","UsageDate":"2026-11-21T06:14:11Z","Quantity":1.50}"#,
        r#"{"CustomerId":"a","UsageIdentifier":"b","UsageDate":"2026-11-21T06:14:12Z","Quantity":2}"#,
        r#"{"CustomerId":"a","UsageIdentifier":"b","UsageDate":"2026-11-21T06:14:13Z","Quantity":2.5}"#,
    ];

    fn found(change: impl Fn(&mut crate::schema::Field)) -> Result<Option<String>, CutError> {
        let mut writer = ArrayWriter::new(2);
        writer.begin();
        for event in EVENTS {
            writer.begin_event().extend_from_slice(event.as_bytes());
            writer.end_event()?;
        }
        let body = writer.finish()?;
        let mut fields = Schema::documented().fields().to_vec();
        fields.iter_mut().for_each(change);
        let schema = Schema::new(fields).unwrap_or(Schema::open());
        let edition = Arc::new(Edition::exported(schema, None));
        misfit(&Meter::new("m", String::new()), &edition, &body.bytes, body.payload_bytes)
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_first_is_told() -> Result<(), CutError> {
        let check = |field: &'static str, change: fn(&mut crate::schema::Field), expected: &str| {
            let found = found(|known| {
                if &*known.name == field {
                    change(known);
                }
            });
            found.map(|found| assert_eq!(found.as_deref().unwrap_or(""), expected, "{field}"))
        };
        check("", |_| {}, "")?;
        check("UsageDate", |field| field.kind = FieldType::String, "")?;
        check("UsageDate", |field| field.format = "yyyy-MM-dd'T'HH:mm:ss'Z'".parse().ok(), "")?;
        check(
            "UsageDate",
            |field| field.format = "epoch_s".parse().ok(),
            "3 of 3 events do not fit, the first: a time is not in the format of its field",
        )?;
        check(
            "Quantity",
            |field| field.kind = FieldType::Integer,
            "2 of 3 events do not fit, the first: Quantity: byte 86: a integer was expected, a \
             number with a fraction or an exponent was found",
        )?;
        check(
            "CustomerId",
            |field| field.name = "AccountId".into(),
            "3 of 3 events do not fit, the first: AccountId: the required field is missing",
        )
    }
}
