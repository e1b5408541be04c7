use std::sync::Arc;

use super::*;
use crate::mapping::{FilePart, Reference, SyslogPart};
use crate::pack::mapper::{Mapped, Mapper, Reading};
use crate::pack::testing::{bare, stream};
use proptest::prelude::*;

fn transform(text: &str, around: &[(&[&str], Reference)]) -> Transform {
    let program = Program::compile(text).expect("a program");
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let around = around.iter().map(|(at, reference)| (keys(at), reference.clone())).collect();
    Transform { program, around }
}

fn mapper(mapping: Mapping, text: &str) -> Mapper {
    let transform = Some(transform(text, &[]));
    Mapper::new(&Arc::new(Mapping { transform, ..mapping }), None)
}

fn shown(mapper: &mut Mapper, line: &str) -> String {
    match mapper.read(line.as_bytes(), 9) {
        Reading::Records(1) => {}
        other => return format!("{other:?}"),
    }
    match mapper.map(line.as_bytes(), 0) {
        Mapped::Ignored => "ignored".to_owned(),
        Mapped::Made(0) => String::from_utf8_lossy(mapper.event()).into_owned(),
        Mapped::Refused(_, refusal) => format!("{} {}", refusal.reason, refusal.detail),
        other => format!("{other:?}"),
    }
}

/// What the program `text` makes of the record `line` in JSON.
fn check(text: &str, line: &str, expected: &str) {
    assert_eq!(shown(&mut mapper(bare(Format::Json), text), line), expected, "{text}");
}

#[test]
fn the_record_is_changed_in_place_and_what_it_is_in_the_end_is_the_event() {
    check("", r#"{"b":1.10,"a":[null]}"#, r#"{"a":[null],"b":1.1}"#);
    check(".c = upcase(string!(.a)); del(.a); 7", r#"{"a":"x","b":2}"#, r#"{"b":2,"c":"X"}"#);
    check(". = {\"n\": int!(.a) * 3}", r#"{"a":5}"#, r#"{"n":15}"#);
    check(
        ".t = parse_timestamp!(.t, \"%F %T\")",
        r#"{"t":"2026-11-21 06:14:11"}"#,
        r#"{"t":"2026-11-21T06:14:11Z"}"#,
    );
    check(".a = 1; return .a; .a = 2", "{}", r#"{"a":1}"#);
}

#[test]
fn abort_is_no_event_and_an_error_is_a_dead_letter_with_its_place() {
    let text = "if .kind != \"usage\" { abort }\n\n.n = to_int!(.n)";
    check(text, r#"{"kind":"debug"}"#, "ignored");
    check(text, r#"{"kind":"usage","n":"12"}"#, r#"{"kind":"usage","n":12}"#);
    let told = "transform_failed line 3, column 6: function call error for \"to_int\": \
                Invalid integer \"x\": invalid digit found in string";
    check(text, r#"{"kind":"usage","n":"x"}"#, told);
    let long = format!("{{\"kind\":\"usage\",\"n\":\"\\n{}\"}}", "x".repeat(5_000));
    let told = shown(&mut mapper(bare(Format::Json), text), &long);
    assert!(told.len() < 400 && told.ends_with("xxx...") && !told.contains('\n'), "{told}");
}

#[test]
fn what_is_no_event_in_json_is_a_dead_letter() {
    let made = "transform_failed the program made of";
    check(
        ". = [1]",
        "{}",
        &format!("{made} the record a value of type array, an object was expected"),
    );
    check(
        ". = null",
        "{}",
        &format!("{made} the record a value of type null, an object was expected"),
    );
    check(".a = [{\"b\": r'x'}]", "{}", &format!("{made} /a/0/b a regular expression"));
    check(".a = decode_base64!(\"/w==\")", "{}", &format!("{made} /a bytes that are not UTF-8"));
    check(
        ".a = float!(.a) * 10.0",
        r#"{"a":1e308}"#,
        &format!("{made} /a a number without bounds"),
    );
}

#[test]
fn a_panic_in_the_library_is_a_dead_letter_and_the_next_record_an_event() {
    let mut runner = Runner::new(&transform(".a = 1", &[]), &Places::default());
    let program = Program::compile(".a = abs(int!(.n))").expect("a program");
    let mut out = String::new();
    for (n, is_event) in [(i64::MIN, false), (-5, true)] {
        let object = ObjectMap::from([("n".into(), Value::Integer(n))]);
        let made = runner.run(&program, object, &Record::default(), &mut out);
        let told = made.map_err(|refusal| refusal.detail);
        // Built with optimisation, the library counts on without looking.
        let is_event = is_event || !cfg!(debug_assertions);
        let expected = "the program panicked: a defect of VRL's library".to_owned();
        assert_eq!(told, if is_event { Ok(true) } else { Err(expected) });
    }
    assert_eq!(out, r#"{"a":5,"n":-5}"#);
}

#[test]
fn records_of_every_format_have_their_fields_as_texts() {
    let csv = |columns: Option<Vec<String>>| {
        Format::Csv(crate::mapping::Csv { columns, delimiter: b',', quote: b'"' })
    };
    let named = Some(vec!["a".to_owned(), "b".to_owned()]);
    let pattern =
        regex::Regex::new("^(?<a>\\S+)(?: (?<b>\\S+))?(?: (?<c>\\S+))?$").expect("a pattern");
    for (format, line, expected) in [
        (csv(named), "1,\"x \"\"y\"\"\"", r#"{"a":"1","b":"x \"y\""}"#),
        (Format::Logfmt, "a=1 flag b=\"x y\" c=", r#"{"a":"1","b":"x y","c":""}"#),
        (Format::Logfmt, "a=1 a=2", "duplicate_key the key stands twice on the line"),
        (Format::Logfmt, "text", "unparsable there is no key=value on the line"),
        (Format::Regex(pattern), "1 2", r#"{"a":"1","b":"2"}"#),
        (
            Format::Json,
            r#"{"a":1,"a":1}"#,
            "duplicate_key byte 8: the key stands twice in one object",
        ),
    ] {
        let found = shown(&mut mapper(bare(format), ""), line);
        assert_eq!(found, expected, "{line}");
    }
    let mut mapper = mapper(bare(csv(None)), "");
    assert!(shown(&mut mapper, "1,2").starts_with("unparsable"));
    mapper.begin(&stream(Some("b,a")));
    assert_eq!(shown(&mut mapper, "1,"), r#"{"a":"","b":"1"}"#);
}

#[test]
fn what_is_around_a_record_stands_behind_the_percent_sign() {
    let data = SyslogPart::Data { element: "o@1".into(), name: "ip".into() };
    let around: [(&[&str], _); 4] = [
        (&["file", "name"], Reference::File(FilePart::Name)),
        (&["syslog", "hostname"], Reference::Syslog(SyslogPart::Hostname)),
        (&["syslog", "o@1", "ip"], Reference::Syslog(data)),
        (&["syslog", "app"], Reference::Syslog(SyslogPart::App)),
    ];
    let text = ".f = %file.name\n.h = %syslog.hostname\n.i = %syslog.\"o@1\".ip\n.a = %syslog.app";
    let transform = Some(transform(text, &around));
    let mapping = Mapping { is_syslog: true, transform, ..bare(Format::Text) };
    let mut mapper = Mapper::new(&Arc::new(mapping), None);
    mapper.begin(&stream(None));
    let found = shown(&mut mapper, "<14>1 - h - - - [o@1 ip=\"::1\"] text");
    assert_eq!(found, r#"{"a":null,"f":"usage.log","h":"h","i":"::1"}"#);
}

proptest! {
    /// Values with JSON of any kind, and texts that are none.
    #[test]
    fn arbitrary_lines_do_no_harm_and_make_the_same_event_again(line in "\\PC*|\\{(\"[a-c]\":[-0-9.e\"\\[\\]]{1,8},?){0,4}\\}") {
        let text = ".a = .a.b; .d = to_string(.c) ?? \"none\"; .e = round(to_float(.b) ?? 0.0, 2)";
        let mut mapper = mapper(bare(Format::Json), text);
        let first = shown(&mut mapper, &line);
        prop_assert_eq!(shown(&mut mapper, &line), first);
    }
}
