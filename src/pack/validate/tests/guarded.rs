//! Events of the right shape that the meter's guards and formats are about.

use std::time::Duration;

use super::*;
use crate::meter::Digits;

/// 2026-11-21T06:14:11.023Z, one tenth of a second before the time of `GOOD`.
const NOW: Timestamp = Timestamp::from_millis(1_795_241_651_023);

fn field(name: &str, kind: FieldType, format: Option<&str>) -> Field {
    let format = format.and_then(|format| format.parse().ok());
    Field { name: name.into(), kind, required: false, format }
}

fn validator(schema: Schema, guards: Guards) -> Validator {
    let mut meter = meter(schema, None, UnknownFields::Keep);
    meter.guards = guards;
    let mut validator = Validator::new(&meter);
    validator.set_now(NOW);
    validator
}

fn check(guards: Guards, event: &str, expected: Option<(Reason, Option<&str>, &str)>) {
    let found = refused(&mut validator(Schema::documented(), guards), event);
    let found =
        found.as_ref().map(|(reason, field, detail)| (*reason, field.as_deref(), detail.as_str()));
    assert_eq!(found, expected, "{event}");
}

#[test]
fn an_event_is_refused_for_its_age() {
    let guards = Guards {
        event_age_max: Some(Duration::from_secs(35 * 86_400)),
        event_ahead_max: Some(Duration::from_secs(300)),
        ..Guards::default()
    };
    let at = |time: &str| GOOD.replace("\"2026-11-21T06:14:11.123Z\"", time);
    let old = "byte 56: the time is more than event_age_max before 2026-11-21T06:14:11.023Z; the \
               limit is 35d";
    let new = "byte 56: the time is more than event_ahead_max after 2026-11-21T06:14:11.023Z; the \
               limit is 5m";
    let old = Some((Reason::TooOld, Some("UsageDate"), old));
    let new = Some((Reason::TooNew, Some("UsageDate"), new));
    check(guards, &at("\"2026-10-17T06:14:11.023Z\""), None);
    check(guards, &at("\"2026-10-17T07:14:11.022999999+01:00\""), old);
    check(guards, &at("1792217651"), old);
    check(guards, &at("\"2026-11-21T06:19:11.023\""), None);
    check(guards, &at("\"2026-11-21 06:19:11.024\""), new);
    check(guards, &at("1795241951024"), new);
    check(Guards::default(), &at("\"0000-01-01\""), None);
    check(Guards::default(), &at("99999999999999999999999"), None);
    let what = "byte 56: the number is no time in seconds or milliseconds since 1970";
    let no_time = Some((Reason::InvalidDateTime, Some("UsageDate"), what));
    check(guards, &at("99999999999999999999999"), no_time);
}

#[test]
fn only_the_time_of_the_event_is_judged() -> Result<(), crate::schema::Error> {
    let guards = Guards { event_age_max: Some(Duration::from_secs(1)), ..Guards::default() };
    let time = |name, required| Field { required, ..field(name, FieldType::DateTime, None) };
    let schema = Schema::new(vec![time("begin", false), time("end", true)])?;
    let mut validator = validator(schema, guards);
    let mut check = |event: &str, expected: Option<Reason>| {
        let reason = validator.check(event.as_bytes()).err().map(|refusal| refusal.reason);
        assert_eq!(reason, expected, "{event}");
    };
    check(r#"{"begin":0,"end":1795241651}"#, None);
    check(r#"{"begin":1795241651,"end":0}"#, Some(Reason::TooOld));
    check(r#"{"begin":0,"end":null}"#, Some(Reason::MissingField));
    Ok(())
}

#[test]
fn numbers_of_the_schema_keep_to_their_digits() {
    let with = |number: &str| GOOD.replace("12.50", number);
    let what = "byte 94: more than 13 digits before or 9 behind the decimal point";
    let expected = Some((Reason::NumberOutOfRange, Some("Quantity"), what));
    check(Guards::default(), &with("1e400"), expected);
    check(Guards::default(), &with("12345678901234"), expected);
    check(Guards::default(), &with("0.1234567891"), expected);
    check(Guards::default(), &with("1.0000000000000"), None);
    check(Guards::default(), &with("1,\"other\":1e400"), None);
    let digits = Digits { integer_max: 40, fraction_max: 40 };
    check(Guards { digits, ..Guards::default() }, &with("1e39"), None);
}

#[test]
fn characters_beyond_the_basic_plane_are_refused_where_they_are_not_welcome() {
    let guards = Guards { four_byte_characters: FourByteCharacters::Reject, ..Guards::default() };
    let refuse = |at| {
        let what = format!("byte {at}: a character beyond U+FFFF was found");
        move |event: &str| {
            check(Guards::default(), event, None);
            check(guards, event, Some((Reason::FourByteCharacter, None, &what)));
        }
    };
    refuse(15)(&GOOD.replace("C-1", "😀"));
    refuse(17)(&GOOD.replace("C-1", r"\\\ud83d\ude00"));
    refuse(2)(&GOOD.replace("{\"Cust", "{\"😀\":1,\"Cust"));
    refuse(7)(&GOOD.replace("{\"Cust", r#"{"a":["\ud83d\ude00"],"Cust"#));
    check(guards, &GOOD.replace("C-1", "é\u{ffff}"), None);
    check(guards, &GOOD.replace("C-1", r"\u00e9\\ud83d\\ude00"), None);
}

/// How `event` goes out with one time field in `format`.
fn rewritten(format: &str, event: &str) -> Result<String, Refusal> {
    let fields = vec![field("at", FieldType::DateTime, Some(format))];
    let schema = Schema::new(fields).unwrap_or_else(|_| Schema::documented());
    assert!(schema.fields().iter().all(|field| field.format.is_some()), "{format}");
    let mut validator = validator(schema, Guards::default());
    let Checked { start, close, .. } = validator.check(event.as_bytes())?;
    let mut out = Vec::new();
    validator.edits().copy(event.as_bytes(), (start, close + 1), &mut out);
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn a_time_goes_out_in_its_format_and_everything_else_as_it_came() {
    for (format, event, expected) in [
        (
            "epoch_ms",
            r#"{ "a" : 1.50, "at" : "2026-11-21T07:14:11.5+01:00" , "b":"é" }"#,
            r#"{ "a" : 1.50, "at" : 1795241651500 , "b":"é" }"#,
        ),
        ("epoch_s", r#"{"at":1795241651000}"#, r#"{"at":1795241651}"#),
        ("yyyy-MM-dd'T'HH:mm:ssX", r#"{"at":1795241651}"#, r#"{"at":"2026-11-21T06:14:11Z"}"#),
        ("yyyy-MM-dd", r#"{"at":"2026-11-21T01:00:00+0100"}"#, r#"{"at":"2026-11-21"}"#),
        ("epoch_ms", r#"{"at":null,"b":"2026-11-21"}"#, r#"{"at":null,"b":"2026-11-21"}"#),
        ("epoch_ms", "{}", "{}"),
    ] {
        assert_eq!(rewritten(format, event).as_deref(), Ok(expected), "{event}");
    }
}

#[test]
fn a_time_that_its_format_cannot_say_is_refused() {
    for (format, event, detail) in [
        (
            "epoch_s",
            r#"{"at":"2026-11-21T06:14:11.5Z"}"#,
            "byte 6: the time has a part of a second, the field's format has none",
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ss.SSSX",
            r#"{"at":"2026-11-21T06:14:11.0001Z"}"#,
            "byte 6: the time is finer than milliseconds, the field's format is not",
        ),
        (
            "yyyy-MM-dd",
            r#"{"at":"2026-11-21T00:00:00+01:00"}"#,
            "byte 6: the time has hours in UTC, the field's format has no HH",
        ),
        (
            "yyyy-MM-dd",
            r#"{"at":"1582-12-31"}"#,
            "byte 6: the field's format can only say the years 1583 to 9999 in UTC",
        ),
        (
            "epoch_ms",
            r#"{"at":9223372036854775808}"#,
            "byte 6: the number is no time in seconds or milliseconds since 1970",
        ),
    ] {
        let refused = rewritten(format, event);
        let expected = Refusal {
            reason: Reason::InvalidDateTime,
            field: Some("at".to_owned()),
            detail: detail.to_owned(),
        };
        assert_eq!(refused, Err(expected), "{event}");
    }
}
