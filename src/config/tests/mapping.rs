//! Formats, selection and fields of sources: what is made of them, and what is told when it is wrong.

use super::*;
use crate::mapping::{Absent, Format as RecordFormat, Input, Mapping, Piece, Reference, Rule};
use std::sync::Arc;

const METER: &str = r#"
mediation.base_url = "http://127.0.0.1:1"
[meters.m]
global_id = "g"
event_id_field = "Id"
[[meters.m.schema.fields]]
name = "Customer"
type = "string"
required = true
[[meters.m.schema.fields]]
name = "At"
type = "datetime"
[[meters.m.schema.fields]]
name = "Quantity"
type = "number"
[sources.s]
meter = "m"
"#;

const FILE: &str = "type = \"file\"\npaths = [\"/x\"]\n";

fn mapping(source: &str) -> Result<Option<Arc<Mapping>>, Box<dyn std::error::Error>> {
    let text = format!("{METER}{FILE}{source}");
    let loaded = load_with(&text, &[("REGION", "eu")])?;
    assert_eq!(loaded.warnings, []);
    Ok(loaded.settings.sources.into_iter().next().ok_or("no source")?.mapping)
}

/// The rules for the only meter.
fn rules_of(found: Option<Arc<Mapping>>) -> Option<Vec<Rule>> {
    found?.rules.clone()?.into_iter().next()
}

fn problems(source: &str) -> String {
    problems_of(load_with(&format!("{METER}{source}"), &[("REGION", "eu")]))
}

#[test]
fn a_source_that_says_nothing_new_has_no_mapping() -> Tested {
    for source in ["", "format = \"json\"", "on_unparsable = \"dead-letter\""] {
        assert!(mapping(source)?.is_none(), "{source}");
    }
    assert!(mapping("on_unparsable = \"ignore\"")?.is_some());
    assert!(mapping("format = \"json-array\"")?.is_some());
    Ok(())
}

#[test]
fn rules_stand_in_the_order_of_the_meter_and_say_their_places() -> Tested {
    let found = mapping(
        r#"
file_pattern = "/(?<tenant>[a-z]+)\\."
[sources.s.fields]
Quantity = { value = 1 }
Id = { template = "{{{/a~1b/0}}}-{env:REGION}-{file:tenant}", optional = true }
Customer = { from = "/a", default = "x" }
"#,
    )?;
    let rules = rules_of(found).ok_or("no rules")?;
    let names: Vec<&str> = rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["Customer", "Quantity", "Id"]);
    assert_eq!(rules[0].input, Input::From(Reference::Field(vec!["a".into()])));
    assert_eq!(rules[0].absent, Absent::Default("\"x\"".into()));
    assert_eq!(rules[1].input, Input::Constant("1".into()));
    let Input::Template(pieces) = &rules[2].input else { return Err("no template".into()) };
    let place = Piece::From(Reference::Field(vec!["a/b".into(), "0".into()]));
    assert_eq!(pieces[..3], [Piece::Text("{".into()), place, Piece::Text("}-eu-".into())]);
    assert_eq!(rules[2].absent, Absent::Omit);
    Ok(())
}

#[test]
fn without_rules_each_field_of_the_meter_has_the_value_of_its_name() -> Tested {
    let found = mapping("format = \"logfmt\"")?;
    let rules = rules_of(found).ok_or("no rules")?;
    let absent: Vec<_> = rules.iter().map(|rule| (&*rule.name, &rule.absent)).collect();
    let expected = [
        ("Customer", &Absent::Refuse),
        ("At", &Absent::Omit),
        ("Quantity", &Absent::Omit),
        ("Id", &Absent::Omit),
    ];
    assert_eq!(absent, expected);
    let found = mapping("format = \"regex\"\npattern = '(?<Customer>.)(?<At>.)(?<x>.)'")?;
    let rules = rules_of(found).ok_or("no rules")?;
    assert_eq!(rules.len(), 2);
    Ok(())
}

#[test]
fn a_syslog_source_has_json_inside_unless_it_says_otherwise() -> Tested {
    let found = mapping("format = \"syslog\"")?.ok_or("no mapping")?;
    assert!(found.is_syslog && matches!(found.format, RecordFormat::Json));
    let csv = "format = \"syslog\"\nmessage_format = \"csv\"\ncsv.columns = [\"Customer\"]";
    let found = mapping(csv)?.ok_or("no mapping")?;
    assert!(found.is_syslog && !found.has_header());
    Ok(())
}

#[test]
fn every_mistake_of_a_mapping_is_told_at_once() {
    let source = r#"
type = "stdin"
format = "regex"
pattern = '^(?<user>\S+) (?<bytes>\d+)$'
message_format = "json"
csv.delimiter = "ab"
on_unparsable = "drop"
[[sources.s.select]]
field = "usr"
equals = 1.5
[[sources.s.select]]
field = "env:REGION"
exists = true
[[sources.s.select]]
field = "user"
equals = "a"
in = ["b"]
[[sources.s.select]]
field = "user"
matches = "a(b"
[sources.s.fields]
Custmer = { from = "user" }
At = { from = "/bytes/0", scale = "2" }
Quantity = { from = "file:name", unit = { from = "B", to = "h" }, scale = "0", decimals = 13 }
Id = { from = "env:NOBODY", value = "x" }
"#;
    insta::assert_snapshot!(problems(source), @r#"
    sources.s.csv: found a key that this format does not know, expected the key to be left out, or the format "csv"
    sources.s.csv.delimiter: found "ab", expected one ASCII character, no line end
    sources.s.fields: found no rule for "Customer", expected a rule for each field that the meter requires
    sources.s.fields.At.from: found "/bytes/0", expected a single name: regex has no values within values
    sources.s.fields.At.scale: found a conversion, for a field of type datetime, expected a field of another type, or the key to be left out
    sources.s.fields.Custmer: found a field that the meter does not have, expected a field of the meter; did you mean "Customer"?
    sources.s.fields.Id: found from and value, expected one of from, value, template
    sources.s.fields.Quantity.decimals: found 13, expected a whole number from 0 to 12
    sources.s.fields.Quantity.from: found "file:name", expected no part of a path: this source has no files
    sources.s.fields.Quantity.scale: found "0", expected a decimal number above 0 of at most 18 digits, in quotes
    sources.s.fields.Quantity.unit: found a size and a time, expected two units of one kind
    sources.s.message_format: found a key that this format does not know, expected the key to be left out, or format = "syslog"
    sources.s.on_unparsable: found "drop", expected one of "dead-letter", "ignore"
    sources.s.select[0].equals: found 1.5, expected a text in quotes, a whole number, true or false
    sources.s.select[0].field: found "usr", expected a capture of the pattern; did you mean "user"?
    sources.s.select[1].field: found "env:REGION", expected a value of the record, the file or the message
    sources.s.select[2]: found equals and in, expected one of equals, in, exists, matches
    sources.s.select[3].matches: found "a(b", expected a regular expression: unclosed group, at character 2
    "#);
}

#[test]
fn what_does_not_fit_the_field_is_told() {
    let source = format!(
        r#"{FILE}
[sources.s.fields]
Customer = {{ from = "file:tenant", optional = true, map = {{ a = "b", c = 1.5 }} }}
At = {{ value = "yesterday", default = "2026-11-21" }}
Quantity = {{ template = "{{a", default = "many" }}
Id = {{ from = "syslog:app", time_format = "yyyy-MM-dd Z", time_zone = "+01:00" }}
"#
    );
    insta::assert_snapshot!(problems(&source), @r#"
    sources.s.fields.At.value: found "yesterday", for a field of type datetime, expected a time such as 2026-11-21T06:14:11Z
    sources.s.fields.Customer.from: found "file:tenant", expected file: and one of path, name, or a capture of file_pattern
    sources.s.fields.Customer.map.c: found 1.5, expected a text in quotes, a whole number, true or false
    sources.s.fields.Customer.optional: found true, for a field that the meter requires, expected false
    sources.s.fields.Id.from: found "syslog:app", expected format = "syslog", or a field of the record
    sources.s.fields.Id.time_zone: found a zone for times that say theirs, expected one of the two
    sources.s.fields.Quantity.default: found "many", for a field of type number, expected a number
    sources.s.fields.Quantity.template: found "{a", expected references in braces, {name}; {{ and }} for braces themselves
    "#);
    let source = format!(
        r#"{FILE}format = "syslog"
message_format = "text"
[sources.s.fields]
Customer = {{ from = "user", lowercase = 1 }}
At = {{ from = "syslog:time", time_zone = "+01:00" }}
Quantity = {{ from = "syslog:message", map = {{ a = 1 }}, decimals = 1, colour = "red" }}
Id = {{ default = "x", optional = true, from = "syslog:data@1/n" }}
"#
    );
    insta::assert_snapshot!(problems(&source), @r#"
    sources.s.fields.At.from: found "syslog:time", expected syslog: and one of facility, severity, timestamp, hostname, app, process, message_id, message, ELEMENT/NAME
    sources.s.fields.At.time_format: found nothing, expected how the times are written that have this zone
    sources.s.fields.Customer.from: found "user", expected a part of the message: text has no fields
    sources.s.fields.Customer.lowercase: found 1, expected true or false
    sources.s.fields.Id.default: found both default and optional, expected one of the two
    sources.s.fields.Quantity.colour: found an unknown key, expected one of decimals, default, from, lowercase, map, optional, scale, template, time_format, time_zone, trim, unit, value
    sources.s.fields.Quantity.decimals: found a conversion beside a table, expected one of the two
    "#);
}

#[test]
fn what_a_format_needs_is_told() {
    for (source, expected) in [
        ("format = \"xml\"", "sources.s.format"),
        ("format = \"regex\"", "sources.s.pattern"),
        ("format = \"regex\"\npattern = \"(?<Customer>\"", "unclosed group, at character 1"),
        ("format = \"regex\"\npattern = \"(?<At>.)\"", "no \"Customer\" in the record"),
        ("format = \"csv\"\ncsv.columns = [\"At\", \"At\"]", "\"At\" a second time"),
        ("format = \"csv\"\ncsv.columns = [\"At\"]", "no \"Customer\" in the record"),
        ("format = \"csv\"\ncsv.quote = \",\"", "the same character as quote"),
        ("format = \"syslog\"\nmessage_format = \"csv\"", "sources.s.csv.columns"),
        ("format = \"syslog\"\nmessage_format = \"text\"", "a rule for each field"),
        ("pattern = \"a\"", "a key that this format does not know"),
        ("csv.columns = [\"a\"]", "a key that this format does not know"),
        ("fields = {}", "no rule for \"Customer\""),
        ("select = [{}]", "sources.s.select[0].field"),
        ("[sources.s.fields.Customer]", "one of from, value, template"),
    ] {
        let found = problems(&format!("{FILE}{source}"));
        assert!(found.contains(expected), "{source}: {found}");
    }
}

#[test]
fn a_program_is_all_that_makes_the_event_of_its_source() {
    for (source, expected) in [
        (
            "transform = '.'\nfields = {}",
            "sources.s.fields: found fields and transform, expected one",
        ),
        (
            "transform_file = 'x'\nfields = {}",
            "sources.s.fields: found fields and transform_file, ",
        ),
        (
            "transform = '.'\ntransform_file = 'x'",
            "transform: found transform and transform_file, ",
        ),
        ("transform = 1", "sources.s.transform: found 1, expected a text"),
    ] {
        let found = problems(&format!("{FILE}{source}"));
        assert!(found.contains(expected), "{source}: {found}");
    }
    let http = problems("type = \"http\"\nlisten = \"127.0.0.1:0\"\ntransform = '.'");
    assert!(http.contains("sources.s.transform: found"), "{http}");
    assert!(http.contains("requests hold events in JSON"), "{http}");
}

#[cfg(feature = "vrl")]
#[test]
fn a_program_is_compiled_and_what_it_reads_around_records_has_to_be_there() -> Tested {
    let program = "file_pattern = '/(?<tenant>[a-z]+)/'\ntransform = '.a = %file.tenant'";
    for format in ["json", "csv", "logfmt", "json-array"] {
        let found = mapping(&format!("format = {format:?}\n{program}"))?.ok_or("no mapping")?;
        let program = found.transform.as_ref().ok_or("no program")?;
        assert_eq!(format!("{:?}", program.program), "\".a = %file.tenant\"");
        assert_eq!(found.references().count(), 1);
        assert!(found.rules.is_none());
    }
    let told = [
        "transform = '.a = [%file.tenant, %nothing]'",
        "transform = \"\"\"\n.a = to_int(.b)\n.c = now()\"\"\"",
        "transform_file = '/nowhere/a.vrl'",
    ];
    let told = told.map(|source| problems(&format!("{FILE}{source}")));
    insta::assert_snapshot!(told.join("\n"), @r#"
    sources.s.transform: found "%nothing", expected %file or %syslog and the name of a part, such as %file.name
    sources.s.transform: found "file:tenant", expected file: and one of path, name, or a capture of file_pattern
    sources.s.transform: found line 1, column 6: unhandled fallible assignment; this expression is fallible because at least one argument's type cannot be verified to be valid; or change this to an infallible assignment: .a, err = to_int(.b), expected a program that VRL compiles
    sources.s.transform: found line 2, column 6: call to undefined function; meterd leaves it out: a record that is read again must become the same event, expected a program that VRL compiles
    sources.s.transform_file: found /nowhere/a.vrl: No such file or directory (os error 2), expected a readable file
    "#);
    Ok(())
}
