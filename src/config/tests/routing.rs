//! `meter` as a table: which meters a source has, and what is told when it is wrong.

use super::*;
use crate::mapping::Reference;

const METERS: &str = r#"
mediation.base_url = "http://127.0.0.1:1"
meters.api.global_id = "g1"
meters.storage.global_id = "g2"
[[meters.traffic.schema.fields]]
name = "Bytes"
type = "integer"
required = true
[meters.traffic]
global_id = "g3"
[sources.s]
type = "file"
paths = ["/x"]
"#;

/// The value that is looked at, what stands for which meter, and the default.
type Found = (Reference, Vec<(String, String)>, Option<String>);

fn routing(source: &str) -> Result<Found, Box<dyn std::error::Error>> {
    let settings = load_text(&format!("{METERS}{source}"))?.settings;
    let source = settings.sources.into_iter().next().ok_or("no source")?;
    assert!(source.mapping.is_none(), "JSON needs no mapping to be routed");
    let routing = source.destination.routing().ok_or("no routing")?;
    let name = |index: usize| routing.meters[index].name.to_string();
    let rows = routing.route.table.iter().map(|(value, index)| (value.clone(), name(*index)));
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    Ok((routing.route.from.clone(), rows, routing.route.default.map(name)))
}

fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(value, name)| ((*value).to_owned(), (*name).to_owned())).collect()
}

#[test]
fn a_table_says_which_value_is_which_meter() -> Tested {
    let (from, table, default) = routing(
        r#"meter = { from = "/usage/kind", map = { a = "api", b = "api", 3 = "storage" } }"#,
    )?;
    assert_eq!(from, Reference::Field(vec!["usage".into(), "kind".into()]));
    assert_eq!(table, rows(&[("3", "storage"), ("a", "api"), ("b", "api")]));
    assert_eq!(default, None);
    Ok(())
}

#[test]
fn without_a_table_the_value_is_the_name_of_a_meter() -> Tested {
    let (_, table, default) = routing(r#"meter = { from = "meter", default = "storage" }"#)?;
    assert_eq!(table, rows(&[("api", "api"), ("storage", "storage"), ("traffic", "traffic")]));
    assert_eq!(default.as_deref(), Some("storage"));
    Ok(())
}

#[test]
fn a_rule_is_for_every_meter_that_has_its_field() -> Tested {
    let fields = "[sources.s.fields]\nBytes = { from = \"b\" }\nCustomerId = { from = \"c\" }\n\
                  UsageIdentifier = { value = \"u\" }\nUsageDate = { from = \"t\" }\n\
                  Quantity = { from = \"b\" }\n";
    let source = format!("{METERS}meter = {{ from = \"m\" }}\n{fields}");
    let settings = load_text(&source)?.settings;
    let mapping = settings.sources.first().and_then(|source| source.mapping.clone());
    let rules = mapping.and_then(|mapping| mapping.rules.clone()).ok_or("no rules")?;
    let names = |index: usize| rules[index].iter().map(|rule| &*rule.name).collect::<Vec<_>>();
    assert_eq!(names(0), ["CustomerId", "UsageIdentifier", "UsageDate", "Quantity"]);
    assert_eq!(names(2), ["Bytes"]);
    Ok(())
}

#[test]
fn every_mistake_of_a_routing_is_told_at_once() {
    let other = "[sources.t]\ntype = \"file\"\nmeter = \"api\"\npaths = [\"/x\"]\n";
    let problems = |meter: &str| {
        let text = format!("{METERS}format = \"logfmt\"\n{meter}\n{other}");
        problems_of(load_with(&text, &[("REGION", "eu")]))
    };
    insta::assert_snapshot!(
        problems(
            "meter = { from = \"/a/b\", map = { x = \"apis\", y = 1.5 }, default = \"s\", to = \"api\" }",
        ),
        @r#"
    sources.s.meter.default: found "s", expected one of api, storage, traffic
    sources.s.meter.from: found "/a/b", expected a single name: logfmt has no values within values
    sources.s.meter.map.x: found "apis", expected the name of a meter; did you mean "api"?
    sources.s.meter.map.y: found 1.5, expected a text in quotes, a whole number, true or false
    sources.s.meter.to: found an unknown key, expected one of default, from, map
    "#
    );
    for (meter, expected) in [
        ("meter = { map = {} }", "sources.s.meter.from: found nothing"),
        ("meter = { map = {} }", "sources.s.meter.map: found an empty table"),
        ("meter = { from = \"env:REGION\" }", "expected a value of the record"),
        ("meter = { from = \"m\" }", "\"/x\", which sources.s reads for the same meter"),
        ("meter = 5", "sources.s.meter: found 5, expected a text in quotes"),
    ] {
        let told = problems(meter);
        assert!(told.contains(expected), "{meter}: {told}");
    }
}
