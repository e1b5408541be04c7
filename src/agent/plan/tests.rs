//! What a reload does, told by two configurations as they are typed.

use super::*;
use crate::config::{Format, LoadFor, load_str};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const BASE: &str = r#"
    [agent]
    name = "edge"
    [mediation]
    base_url = "http://127.0.0.1:1"
    [admin]
    listen = ""
    [meters.calls]
    global_id = "g1"
    [meters.bytes]
    global_id = "g2"
    [sources.app]
    type = "file"
    meter = "calls"
    paths = ["/var/log/app.jsonl"]
    [sources.net]
    type = "tcp"
    meter = "bytes"
    listen = "127.0.0.1:9170"
    [sources.pipe]
    type = "stdin"
    meter = "calls"
    [sources.socket]
    type = "unix"
    meter = "calls"
    path = "/run/usage.sock"
"#;

fn settings(text: &str) -> Result<Settings, Box<dyn std::error::Error>> {
    Ok(load_str(LoadFor::Run, text, Format::Toml, std::iter::empty())?.settings)
}

/// What the plan from the base to the base with `edits` does: `+` added, `~` changed, `-` removed.
fn planned(edits: &[(&str, &str)]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut text = BASE.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    let plan = match plan(&settings(BASE)?, settings(&text)?) {
        Ok(plan) => plan,
        Err(fixed) => return Ok(fixed.iter().map(|fixed| format!("! {}", fixed.key)).collect()),
    };
    let rows = |kind: &'static str, changes: Changes| {
        changes.into_iter().map(move |(name, change)| match change {
            Change::Added => format!("+ {kind} {name}"),
            Change::Changed => format!("~ {kind} {name}"),
            Change::Removed => format!("- {kind} {name}"),
        })
    };
    Ok(rows("source", plan.sources).chain(rows("meter", plan.meters)).collect())
}

#[test]
fn only_what_differs_is_touched() -> TestResult {
    let check = |edits: &[(&str, &str)], expected: &[&str]| -> TestResult {
        assert_eq!(planned(edits)?, expected, "{edits:?}");
        Ok(())
    };
    check(&[], &[])?;
    check(&[("[agent]", "[agent]\nshutdown_grace = \"3s\"")], &[])?;
    check(&[("[mediation]", "[mediation]\nrequest_timeout = \"200s\"")], &[])?;
    // A meter that is set otherwise leaves its sources alone.
    let guarded = "[meters.calls]\nevent_id_field = \"EventId\"";
    check(&[("[meters.calls]", guarded)], &["~ meter calls"])?;
    check(&[("\"g2\"", "\"g3\"")], &["~ meter bytes"])?;
    let added = "[meters.more]\nglobal_id = \"g4\"\n[sources.app]";
    check(&[("[sources.app]", added)], &["+ meter more"])?;
    check(&[("app.jsonl", "apps.jsonl")], &["~ source app"])?;
    check(&[("meter = \"bytes\"", "meter = \"calls\"")], &["~ source net"])?;
    check(&[("9170", "9171")], &["~ source net"])?;
    check(&[("[sources.net]", "[sources.other]")], &["- source net", "+ source other"])?;
    let selected = "[sources.app]\nselect = \"kind == 1\"";
    let selected = selected.replace("select = \"kind == 1\"", "format = \"csv\"");
    check(&[("[sources.app]", &selected)], &["~ source app"])?;
    let breaker = "[sources.app]\ninvalid_window = 7";
    check(&[("[sources.app]", breaker)], &["~ source app"])?;
    // Limits are part of each meter.
    let limits = "[mediation.limits]\nevents_per_request_max = 5\n[admin]";
    check(&[("[admin]", limits)], &["~ meter bytes", "~ meter calls"])?;
    Ok(())
}

#[test]
fn what_cannot_change_is_refused_all_at_once() -> TestResult {
    let check = |edits: &[(&str, &str)], expected: &[&str]| -> TestResult {
        assert_eq!(planned(edits)?, expected, "{edits:?}");
        Ok(())
    };
    check(&[("\"edge\"", "\"other\"")], &["! agent.name"])?;
    check(&[("[agent]", "[agent]\nstate_dir = \"/x\"")], &["! agent.state_dir"])?;
    check(&[("listen = \"\"", "listen = \"127.0.0.1:9180\"")], &["! admin.listen"])?;
    check(
        &[("[admin]", "[batch]\nworkers = 3\ncompression_level = 9\n[admin]")],
        &["! batch.workers", "! batch.compression_level"],
    )?;
    check(
        &[("type = \"stdin\"", "type = \"stdin\"\nline_bytes_max = \"1KiB\"")],
        &["! sources.pipe"],
    )?;
    check(&[("[sources.pipe]", "[sources.pipes]")], &["! sources.pipes", "! sources.pipe"])?;
    let mode = "path = \"/run/usage.sock\"\n    mode = \"0666\"";
    check(&[("path = \"/run/usage.sock\"", mode)], &["! sources.socket"])?;
    check(
        &[("\"edge\"", "\"other\""), ("[sources.pipe]", "[sources.pipes]")],
        &["! agent.name", "! sources.pipes", "! sources.pipe"],
    )?;
    Ok(())
}

#[test]
fn a_meter_that_stays_is_the_same_one_and_one_that_changes_goes_on_counting() -> TestResult {
    let before = settings(BASE)?;
    before.meters.iter().for_each(|meter| meter.counters.events_stored.add(7));
    let changed = BASE.replacen("\"g2\"", "\"g3\"", 1);
    let after = plan(&before, settings(&changed)?).map_err(|fixed| format!("{fixed:?}"))?.settings;
    for meter in &before.meters {
        let now = after.meters.iter().find(|now| now.name == meter.name).ok_or("gone")?;
        assert_eq!(Arc::ptr_eq(meter, now), &*meter.name == "calls");
        assert_eq!(now.counters.events_stored.value(), 7);
    }
    for source in &after.sources {
        for of_source in source.destination.meters() {
            assert!(after.meters.iter().any(|meter| Arc::ptr_eq(meter, of_source)));
        }
    }
    Ok(())
}
