mod guarded;

use super::*;
use crate::schema::{Field, Schema};
use proptest::prelude::*;

fn meter(schema: Schema, id: Option<&str>, unknown_fields: UnknownFields) -> Meter {
    let event_id_field = id.map(Into::into);
    let schema = schema.into();
    Meter { schema, event_id_field, unknown_fields, ..Meter::new("m", String::new()) }
}

fn documented(id: Option<&str>) -> Validator {
    Validator::new(&meter(Schema::documented(), id, UnknownFields::Keep))
}

const GOOD: &str = r#"{"CustomerId":"C-1","UsageIdentifier":"api","UsageDate":"2026-11-21T06:14:11.123Z","Quantity":12.50}"#;

/// Checks `event` alone, and again behind two good ones so that the guess is warm.
fn refused(validator: &mut Validator, event: &str) -> Option<(Reason, Option<String>, String)> {
    let cold = validator.check(event.as_bytes());
    for _ in 0..2 {
        assert!(validator.check(GOOD.as_bytes()).is_ok());
    }
    let warm = validator.check(event.as_bytes());
    assert_eq!(cold, warm, "{event}");
    warm.err().map(|refusal| (refusal.reason, refusal.field, refusal.detail))
}

fn check(event: &str, reason: Reason, field: Option<&str>, detail: &str) {
    let expected = Some((reason, field.map(str::to_owned), detail.to_owned()));
    assert_eq!(refused(&mut documented(None), event), expected, "{event}");
}

#[test]
fn good_events_are_accepted_in_every_order_and_spacing() {
    let spaced = r#"  { "Quantity" : 0 , "UsageDate" : "2026-11-21" ,"CustomerId":"é", "UsageIdentifier":"", "more":[{"a":null}] }  "#;
    let escaped = r#"{"\u0043ustomerId":"C","UsageIdentifier":"a","UsageDate":1763705651123,"Quantity":1.5e3}"#;
    for good in [GOOD, spaced, escaped, &format!("{GOOD}\r\n")] {
        assert_eq!(refused(&mut documented(None), good), None, "{good}");
    }
}

#[test]
fn the_braces_are_found() {
    let checked = documented(None).check(format!(" {GOOD} \n").as_bytes());
    let expected =
        Checked { start: 1, close: GOOD.len(), has_members: true, id: None, drops_members: false };
    assert_eq!(checked, Ok(expected));
}

#[test]
fn every_mistake_has_its_reason_field_and_place() {
    let edit = |from: &str, to: &str| GOOD.replace(from, to);
    check(
        &edit("12.50", "\"12.50\""),
        Reason::WrongType,
        Some("Quantity"),
        "byte 94: a number was expected, a string was found",
    );
    check(
        &edit("\"C-1\"", "17"),
        Reason::WrongType,
        Some("CustomerId"),
        "byte 14: a string was expected, a number was found",
    );
    check(
        &edit("\"C-1\"", "null"),
        Reason::MissingField,
        Some("CustomerId"),
        "the required field is null",
    );
    check(
        &edit(",\"Quantity\":12.50", ""),
        Reason::MissingField,
        Some("Quantity"),
        "the required field is missing",
    );
    check(
        &edit("2026-11-21T", "2026-11-31T"),
        Reason::InvalidDateTime,
        Some("UsageDate"),
        "byte 56: a time such as 2026-11-21T06:14:11Z was expected",
    );
    check(
        &edit("12.50", "NaN"),
        Reason::InvalidJson,
        Some("Quantity"),
        "byte 94: a value was expected",
    );
    check(
        &edit("12.50}", "12.50,\"Quantity\":1}"),
        Reason::DuplicateKey,
        Some("Quantity"),
        "byte 111: the key stands twice in one object",
    );
    check(
        &edit("12.50}", "12.50,\"x\":1,\"x\":1}"),
        Reason::DuplicateKey,
        Some("x"),
        "byte 107: the key stands twice in one object",
    );
    check(
        &edit("12.50}", "12.50} x"),
        Reason::InvalidJson,
        None,
        "byte 101: something follows the event on its line",
    );
    check(
        &edit("12.50}", "12.50"),
        Reason::InvalidJson,
        None,
        "byte 99: a comma or the closing bracket was expected",
    );
    check("[1]", Reason::NotAnObject, None, "byte 0: an event must be an object");
    check(
        "2026-11-21 started",
        Reason::InvalidJson,
        None,
        "byte 4: something follows the value on its line",
    );
    check("no JSON", Reason::InvalidJson, None, "byte 0: a value was expected");
    check("<html>", Reason::InvalidJson, None, "byte 0: an object was expected");
    check("{}", Reason::MissingField, Some("CustomerId"), "the required field is missing");
}

#[test]
fn a_line_that_is_not_utf8_is_refused_where_it_goes_wrong() {
    let mut line = GOOD.replace("api", "a?i").into_bytes();
    if let Some(byte) = line.iter_mut().find(|byte| **byte == b'?') {
        *byte = 0xff;
    }
    let refusal = documented(None).check(&line).map_err(|refusal| (refusal.reason, refusal.detail));
    assert_eq!(refusal, Err((Reason::InvalidUtf8, "byte 40: the bytes are not UTF-8".to_owned())));
}

#[test]
fn an_own_event_id_is_found_and_a_missing_one_is_no_mistake() {
    let mut validator = documented(Some("EventId"));
    assert_eq!(validator.check(GOOD.as_bytes()).map(|checked| checked.id), Ok(None));
    let own = GOOD.replace("12.50", "12.50,\"EventId\":\"abc\"");
    let found = validator.check(own.as_bytes()).map(|checked| checked.id);
    assert_eq!(
        found.map(|id| id.and_then(|(start, end)| own.get(start..end))),
        Ok(Some("\"abc\""))
    );
    for bad in ["null", "true", "[1]", "{}"] {
        let own = GOOD.replace("12.50", &format!("12.50,\"EventId\":{bad}"));
        let reason = validator.check(own.as_bytes()).map_err(|refusal| refusal.reason);
        assert_eq!(reason, Err(Reason::WrongType), "{bad}");
    }
}

#[test]
fn integers_and_booleans_are_told_from_numbers_and_strings() -> Result<(), crate::schema::Error> {
    let field = |name: &str, kind| Field { name: name.into(), kind, required: false, format: None };
    let fields = vec![field("i", FieldType::Integer), field("b", FieldType::Boolean)];
    let mut validator = Validator::new(&meter(Schema::new(fields)?, None, UnknownFields::Keep));
    for good in [r#"{"i":-12,"b":true}"#, r#"{"b":false}"#, r#"{"i":null}"#, "{}"] {
        assert!(validator.check(good.as_bytes()).is_ok(), "{good}");
    }
    for bad in [r#"{"i":1.0}"#, r#"{"i":1e2}"#, r#"{"i":"1"}"#, r#"{"b":1}"#, r#"{"b":"true"}"#] {
        let reason = validator.check(bad.as_bytes()).map_err(|refusal| refusal.reason);
        assert_eq!(reason, Err(Reason::WrongType), "{bad}");
    }
    Ok(())
}

#[test]
fn fields_outside_the_schema_are_kept_dropped_or_rejected() {
    let event = GOOD.replace("{\"Cust", "{\"x\":1,\"Cust").replace("50}", "50,\"y\":[2]}");
    let check = |policy| {
        let mut validator = Validator::new(&meter(Schema::documented(), None, policy));
        let checked = validator.check(event.as_bytes());
        let kept: Vec<&str> =
            validator.kept().iter().filter_map(|&(start, end)| event.get(start..end)).collect();
        (checked.map(|checked| checked.drops_members), kept.join(","))
    };
    assert_eq!(check(UnknownFields::Keep), (Ok(false), String::new()));
    assert_eq!(check(UnknownFields::Drop), (Ok(true), GOOD[1..GOOD.len() - 1].to_owned()));
    let (refused, _) = check(UnknownFields::Reject);
    assert_eq!(
        refused.map_err(|refusal| (refusal.reason, refusal.field)),
        Err((Reason::UnknownField, Some("x".to_owned())))
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_judged_without_harm(bytes: Vec<u8>) {
        let mut validator = documented(Some("EventId"));
        let _ = validator.check(&bytes);
    }

    #[test]
    fn a_good_event_with_one_byte_changed_is_still_json_when_accepted(
        at in 0..GOOD.len(), byte: u8,
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = byte;
        let mut validator = documented(None);
        let _ = validator.check(GOOD.as_bytes());
        if validator.check(&bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
    }
}
