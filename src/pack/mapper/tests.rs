use super::*;
use crate::mapping::{Absent, Condition, Csv, Format, Input, Rule, Test};
use crate::pack::testing::{bare, field, select, stream};
use crate::schema::FieldType;
use proptest::prelude::*;

fn copies(name: &str, at: Reference) -> Rule {
    Rule {
        name: name.into(),
        kind: FieldType::String,
        input: Input::From(at),
        absent: Absent::Refuse,
        trim: false,
        lowercase: false,
        table: None,
        conversion: None,
        time: None,
    }
}

/// What becomes of a line: for each record its offset, the event or why there is none, and what a
/// dead letter would keep.
fn read(mapping: &Mapping, header: Option<&str>, line: &str, position: u64) -> Vec<String> {
    let mut mapper = Mapper::new(&Arc::new(mapping.clone()), None);
    mapper.begin(&stream(header));
    let line = line.as_bytes();
    let letter = |mapper: &Mapper, index| {
        String::from_utf8_lossy(&mapper.letter(line, index, position)).into_owned()
    };
    match mapper.read(line, position) {
        Reading::Ignored => vec!["ignored".into()],
        Reading::Refused(refusal) => {
            vec![format!("{} [{}]", refusal.reason, letter(&mapper, None))]
        }
        Reading::Records(count) => {
            let mut found = Vec::new();
            for index in 0..count {
                let outcome = match mapper.map(line, index) {
                    Mapped::Ignored => "ignored".into(),
                    Mapped::AsItStands(_, (start, end)) => {
                        String::from_utf8_lossy(&line[start..end]).into_owned()
                    }
                    Mapped::Made(_) => String::from_utf8_lossy(mapper.event()).into_owned(),
                    Mapped::Refused(_, refusal) => refusal.reason.to_string(),
                };
                let (offset, letter) = (mapper.offset(index), letter(&mapper, Some(index)));
                found.push(format!("+{offset} {outcome} [{letter}]"));
            }
            found
        }
    }
}

#[test]
fn a_line_of_json_is_selected_and_goes_out_as_it_stands() {
    let test = Test::In(vec!["usage".into()]);
    let condition = Condition { at: field(&["type"]), test, is_negated: false };
    let mapping = Mapping { select: vec![condition], ..bare(Format::Json) };
    let usage = "{\"type\" : \"usage\",\"n\":1.0}";
    assert_eq!(read(&mapping, None, &format!("{usage}\r\n"), 5), [format!("+0 {usage} [{usage}]")]);
    assert_eq!(
        read(&mapping, None, "{\"type\":\"debug\"}\n", 5),
        ["+0 ignored [{\"type\":\"debug\"}]"]
    );
    assert_eq!(read(&mapping, None, "text\n", 5), ["+0 invalid_json [text]"]);
    assert_eq!(read(&mapping, None, " \r\n", 5), ["ignored"]);
    let ignoring = Mapping { on_unparsable: OnUnparsable::Ignore, ..mapping };
    assert_eq!(read(&ignoring, None, "text\n", 5), ["+0 ignored [text]"]);
    assert_eq!(read(&ignoring, None, "[1]\n", 5), ["+0 ignored [[1]]"]);
    let twice = "{\"type\":\"usage\",\"type\":\"usage\"}";
    assert_eq!(read(&ignoring, None, twice, 5), [format!("+0 duplicate_key [{twice}]")]);
}

#[test]
fn each_element_of_an_array_has_an_offset_and_a_letter_of_its_own() {
    let mapping = Mapping { select: select(&field(&["a"])), ..bare(Format::JsonArray) };
    let found = read(&mapping, None, " [{\"a\":1}, {\"b\":2},3]\n", 100);
    assert_eq!(
        found,
        ["+2 {\"a\":1} [ {\"a\":1}]", "+11 ignored [ {\"b\":2}]", "+19 not_an_object [ 3]"]
    );
    assert_eq!(read(&mapping, None, "[]\n", 100), ["ignored"]);
    assert_eq!(read(&mapping, None, "[{\"a\":1},\n", 100), ["invalid_json [[{\"a\":1},]"]);
    // A letter of an element is that element again, at the position that it had.
    assert_eq!(read(&mapping, None, " {\"a\":1}", 102), ["+0  {\"a\":1} [ {\"a\":1}]"]);
}

#[test]
fn a_syslog_message_has_its_record_inside() {
    let place = Reference::Syslog(SyslogPart::Hostname);
    let rules = Some(vec![vec![copies("Host", place), copies("N", field(&["n"]))]]);
    let mapping = Mapping { is_syslog: true, rules, ..bare(Format::JsonArray) };
    let line = "<14>1 - h a - - - [{\"n\":1},{\"n\":\"2\"},{}]";
    let found = read(&mapping, None, line, 0);
    assert_eq!(
        found,
        [
            "+19 {\"Host\":\"h\",\"N\":\"1\"} [<14>1 - h a - - - {\"n\":1}]",
            "+27 {\"Host\":\"h\",\"N\":\"2\"} [<14>1 - h a - - - {\"n\":\"2\"}]",
            "+37 missing_field [<14>1 - h a - - - {}]",
        ]
    );
    assert_eq!(read(&mapping, None, "{\"n\":1}", 0), ["unparsable [{\"n\":1}]"]);
}

#[test]
fn messages_of_other_programs_need_not_be_right() {
    let test = Test::In(vec!["app".into()]);
    let at = Reference::Syslog(SyslogPart::App);
    let select = vec![Condition { at, test, is_negated: false }];
    for format in [Format::Json, Format::JsonArray] {
        let mapping = Mapping { is_syslog: true, select: select.clone(), ..bare(format) };
        assert_eq!(read(&mapping, None, "<14>1 - h sshd - - - [text", 0), ["ignored"]);
        let line = "<14>1 - h app - - - {}";
        assert_eq!(read(&mapping, None, line, 0), [format!("+0 {{}} [{line}]")]);
    }
}

#[test]
fn the_first_line_of_a_file_is_its_header_or_a_dead_letter() {
    let csv = Csv { columns: None, delimiter: b',', quote: b'"' };
    let rules = Some(vec![vec![copies("A", field(&["a"]))]]);
    let mapping = Mapping { rules, ..bare(Format::Csv(csv)) };
    assert_eq!(read(&mapping, Some("b,a"), "b,a\n", 0), ["ignored"]);
    assert_eq!(read(&mapping, Some("b,a"), "1,2\n", 4), ["+0 {\"A\":\"2\"} [b,a\n1,2]"]);
    assert_eq!(read(&mapping, Some("b,a"), "1\n", 4), ["+0 unparsable [b,a\n1]"]);
    assert_eq!(read(&mapping, Some("1,2"), "1,2\n", 0), ["unparsable [1,2]"]);
    assert_eq!(read(&mapping, Some("1,2\r"), "1,2\r\r\n", 0), ["unparsable [1,2\r]"]);
    // Put back with the header that it lacked.
    assert_eq!(read(&mapping, Some("b,a"), "1,2\n", 0), ["+0 {\"A\":\"2\"} [b,a\n1,2]"]);
    assert_eq!(read(&mapping, Some("1,2"), "3,4\n", 4), ["+0 unparsable [1,2\n3,4]"]);
    assert_eq!(read(&mapping, None, "3,4\n", 4), ["+0 unparsable [3,4]"]);
    assert_eq!(mapping.split_letter(b"b,a\n1,2"), (Some(b"b,a".as_slice()), b"1,2".as_slice()));
    assert_eq!(mapping.split_letter(b"b,a"), (None, b"b,a".as_slice()));
}

#[test]
fn the_path_of_a_file_gives_values() {
    let parts = [FilePart::Path, FilePart::Name, FilePart::Capture("tenant".into())];
    let mut rules: Vec<Rule> = parts
        .into_iter()
        .zip(["P", "N", "T"])
        .map(|(part, name)| copies(name, Reference::File(part)))
        .collect();
    let file_pattern = regex::Regex::new("/(?<tenant>[^/]+)/usage|(?<other>x)").ok();
    let mapping = Mapping { rules: Some(vec![rules.clone()]), file_pattern, ..bare(Format::Json) };
    let expected = "{\"P\":\"/var/log/acme/usage.log\",\"N\":\"usage.log\",\"T\":\"acme\"}";
    assert_eq!(read(&mapping, None, "{}", 0), [format!("+0 {expected} [{{}}]")]);
    rules.push(copies("O", Reference::File(FilePart::Capture("other".into()))));
    let mapping = Mapping { rules: Some(vec![rules]), ..mapping };
    assert_eq!(read(&mapping, None, "{}", 0), ["+0 missing_field [{}]"]);
}

#[test]
fn what_is_not_utf8_is_a_dead_letter_also_where_unparsable_lines_are_ignored() {
    let mapping = Mapping { on_unparsable: OnUnparsable::Ignore, ..bare(Format::Logfmt) };
    let mut mapper = Mapper::new(&Arc::new(mapping), None);
    let Reading::Refused(refusal) = mapper.read(b"a=\xff\n", 0) else { unreachable!("read") };
    assert_eq!(
        (refusal.reason, refusal.detail.as_str()),
        (Reason::InvalidUtf8, "byte 2: the bytes are not UTF-8")
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(
        line in prop::collection::vec(any::<u8>(), 0..60), which in 0_usize..5, is_syslog: bool,
    ) {
        let csv = Csv { columns: None, delimiter: b';', quote: b'"' };
        let pattern = regex::Regex::new("(?<a>.)").expect("an expression");
        let formats =
            [Format::Json, Format::JsonArray, Format::Csv(csv), Format::Logfmt, Format::Regex(pattern)];
        let rules = Some(vec![vec![copies("A", field(&["a"]))]]);
        let mapping = Mapping { is_syslog, rules, ..bare(formats[which].clone()) };
        let mut mapper = Mapper::new(&Arc::new(mapping), None);
        mapper.begin(&stream(Some("a;b")));
        for line in [line.clone(), [b"<1>1 - - - - - - ".as_slice(), &line].concat()] {
            if let Reading::Records(count) = mapper.read(&line, 7) {
                for index in 0..count {
                    mapper.map(&line, index);
                    mapper.letter(&line, Some(index), 7);
                    mapper.offset(index);
                }
            }
        }
    }
}
