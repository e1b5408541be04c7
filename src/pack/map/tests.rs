use super::*;
use crate::mapping::unit::{Factor, Ratio, Unit};
use crate::mapping::{Input, Piece, Reference, Rule};
use crate::pack::record::Kind;
use crate::pack::testing::field;
use proptest::prelude::*;

/// A rule that copies the field `a`.
fn rule(kind: FieldType) -> Rule {
    Rule {
        name: "F".into(),
        kind,
        input: Input::From(field(&["a"])),
        absent: Absent::Refuse,
        trim: false,
        lowercase: false,
        table: None,
        conversion: None,
        time: None,
    }
}

/// What the rule makes of a record with these values.
fn write(rule: Rule, values: &[(Reference, Kind, &str)]) -> Result<String, (Reason, String)> {
    let rules = vec![rule];
    let places = rules.iter().flat_map(mapping::Rule::references);
    let places = places.fold(Places::default(), Places::with);
    let rules = Rules::new(&rules, &places);
    let mut record = Record::default();
    record.clear(places.len());
    for (reference, kind, text) in values {
        record.put(places.slot(reference).unwrap_or(usize::MAX), *kind, text);
    }
    let mut out = "what was before".to_owned();
    rules.write(&record, &mut out).map(|()| out).map_err(|refusal| {
        assert_eq!(refusal.field.as_deref(), Some("F"));
        (refusal.reason, refusal.detail)
    })
}

fn written(rule: Rule, kind: Kind, text: &str) -> Result<String, Reason> {
    let written = write(rule, &[(field(&["a"]), kind, text)]).map_err(|(reason, _)| reason);
    let value = |event: String| {
        let value = event.strip_prefix("{\"F\":").and_then(|rest| rest.strip_suffix('}'));
        value.unwrap_or("{}").to_owned()
    };
    written.map(value)
}

#[test]
fn a_value_goes_out_as_its_field_wants_it() {
    use FieldType::{Any, Boolean, DateTime, Integer, Number, String};
    use Kind::{Composite, Literal, Text};
    let wrong = Err(Reason::WrongType);
    for (kind, found, text, expected) in [
        (String, Text, "a\"\\\n\u{1}é", Ok(r#""a\"\\\u000a\u0001é""#)),
        (String, Literal, "1.50", Ok("\"1.50\"")),
        (String, Composite, "{}", wrong),
        (Number, Text, "1.50", Ok("1.50")),
        (Number, Literal, "1e3", Ok("1e3")),
        (Number, Text, "12345678901234567890.1234567890", Ok("12345678901234567890.1234567890")),
        (Number, Text, "1,5", wrong),
        (Number, Text, "007", wrong),
        (Number, Literal, "true", wrong),
        (Integer, Text, "-7", Ok("-7")),
        (Boolean, Text, "true", Ok("true")),
        (Boolean, Literal, "false", Ok("false")),
        (Boolean, Text, "yes", wrong),
        (DateTime, Text, "2026-11-21T06:14:11Z", Ok("\"2026-11-21T06:14:11Z\"")),
        (DateTime, Text, "1795241651", Ok("1795241651")),
        (DateTime, Literal, "-5", Ok("-5")),
        (DateTime, Text, "1795241651.5", Ok("\"1795241651.5\"")),
        (Any, Text, "5", Ok("\"5\"")),
        (Any, Literal, "5.0", Ok("5.0")),
        (Any, Composite, "[1, 2]", Ok("[1, 2]")),
    ] {
        assert_eq!(
            written(rule(kind), found, text).as_deref(),
            expected.as_ref().copied(),
            "{kind:?} {text}"
        );
    }
}

#[test]
fn what_is_not_there_is_refused_left_out_or_has_its_default() {
    let missing = |absent| written(Rule { absent, ..rule(FieldType::String) }, Kind::Text, "");
    assert_eq!(missing(Absent::Refuse), Err(Reason::MissingField));
    assert_eq!(missing(Absent::Omit).as_deref(), Ok("{}"));
    assert_eq!(missing(Absent::Default("\"x\"".into())).as_deref(), Ok("\"x\""));
    let blank = Rule { trim: true, ..rule(FieldType::String) };
    assert_eq!(written(blank, Kind::Text, " \t"), Err(Reason::MissingField));
    let (_, detail) = write(rule(FieldType::String), &[]).expect_err("refused");
    insta::assert_snapshot!(detail, @r#"there is nothing in "a""#);
}

#[test]
fn values_are_trimmed_made_small_and_looked_up() {
    let table = HashMap::from([("gold".to_owned(), "\"G\"".to_owned())]);
    let rule = Rule { trim: true, lowercase: true, ..rule(FieldType::String) };
    assert_eq!(written(rule.clone(), Kind::Text, " ÄB ").as_deref(), Ok("\"äb\""));
    let listed = Rule { table: Some(table), ..rule };
    assert_eq!(written(listed.clone(), Kind::Text, " Gold").as_deref(), Ok("\"G\""));
    assert_eq!(written(listed, Kind::Text, "silver"), Err(Reason::UnmappedValue));
}

#[test]
fn numbers_are_converted_exactly_or_not_at_all() {
    let convert = |factor, decimals| Rule {
        conversion: Some(Conversion { factor, decimals }),
        ..rule(FieldType::Number)
    };
    let milli = Factor::Fixed("0.001".parse().expect("a factor"));
    assert_eq!(written(convert(milli, None), Kind::Text, "1234").as_deref(), Ok("1.234"));
    assert_eq!(written(convert(milli, Some(1)), Kind::Literal, "1250").as_deref(), Ok("1.3"));
    assert_eq!(written(convert(milli, None), Kind::Text, "x"), Err(Reason::WrongType));
    let long = written(convert(milli, None), Kind::Text, "1e99");
    assert_eq!(long, Err(Reason::NumberOutOfRange));
    let hour = Factor::Written(Unit::named("h").expect("a unit"), Ratio::ONE);
    assert_eq!(written(convert(hour, None), Kind::Text, "90 min").as_deref(), Ok("1.5"));
    assert_eq!(written(convert(hour, None), Kind::Text, "1 MB"), Err(Reason::WrongType));
}

#[test]
fn times_are_read_by_their_pattern() {
    let read = |pattern: &str, text: &str| {
        let time = Some(pattern.parse().expect("a pattern"));
        written(Rule { time, ..rule(FieldType::DateTime) }, Kind::Text, text)
    };
    let nginx = "dd/MMM/yyyy:HH:mm:ss Z";
    let expected = Ok("\"2026-11-21T05:14:11Z\"");
    assert_eq!(read(nginx, "21/Nov/2026:06:14:11 +0100").as_deref(), expected);
    assert_eq!(read("epoch_s", "1795241651.120").as_deref(), Ok("\"2026-11-21T06:14:11.12Z\""));
    assert_eq!(read(nginx, "now"), Err(Reason::InvalidDateTime));
    assert_eq!(read("epoch_s", "999999999999999"), Err(Reason::InvalidDateTime));
}

#[test]
fn a_template_needs_all_of_its_values() {
    let from = |name: &str| Piece::From(field(&[name]));
    let pieces = vec![from("a"), Piece::Text("/".into()), from("b")];
    let rule = Rule { input: Input::Template(pieces), ..rule(FieldType::String) };
    let a = (field(&["a"]), Kind::Text, "x");
    let b = (field(&["b"]), Kind::Literal, "1.0");
    assert_eq!(write(rule.clone(), &[a.clone(), b]).as_deref(), Ok("{\"F\":\"x/1.0\"}"));
    let missing = write(rule.clone(), std::slice::from_ref(&a));
    insta::assert_snapshot!(missing.expect_err("refused").1, @r#"there is nothing in one of "a", "b""#);
    let composite = write(rule, &[a, (field(&["b"]), Kind::Composite, "[]")]);
    assert_eq!(composite.map_err(|(reason, _)| reason), Err(Reason::WrongType));
}

#[test]
fn details_name_places_as_the_configuration_does() {
    use crate::mapping::{FilePart, SyslogPart};
    for (reference, expected) in [
        (field(&["a b"]), "\"a b\""),
        (field(&["a/b", "c~d"]), "\"/a~1b/c~0d\""),
        (Reference::File(FilePart::Name), "file:name"),
        (Reference::File(FilePart::Capture("tenant".into())), "file:tenant"),
        (Reference::Syslog(SyslogPart::MessageId), "syslog:message_id"),
        (
            Reference::Syslog(SyslogPart::Data { element: "x@1".into(), name: "n".into() }),
            "syslog:x@1/n",
        ),
    ] {
        assert_eq!(describe(&reference), expected);
    }
}

proptest! {
    #[test]
    fn any_text_comes_back_from_its_json(text: String) {
        let mut out = String::new();
        write_string(&text, &mut out);
        prop_assert_eq!(serde_json::from_str::<String>(&out).ok(), Some(text));
    }

    #[test]
    fn any_instant_is_written_as_the_pack_reads_it(
        seconds in -62_167_219_200_i64..253_402_300_800, nanos in 0_u32..1_000_000_000,
    ) {
        let (time, mut out) = (EventTime { seconds, nanos }, String::new());
        prop_assert!(write_time(time, &mut out).is_some());
        prop_assert_eq!(crate::pack::datetime::instant(out.as_bytes()), Some(time));
    }
}
