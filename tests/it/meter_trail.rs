//! What a meter made of events that were delivered: audit trail, counts, tests, definitions.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::config::STDIN;
use crate::harness::{Folder, Result, Sim, event, lines, meter, number};

const SPAN: [&str; 4] = ["--from", "2020-01-01T00:00:00Z", "--to", "2099-01-01T00:00:00Z"];

/// Delivers 700 good events, 40 of them twice, and 25 that the schema refuses after the 200.
fn delivered() -> Result<(Folder, Sim)> {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    let schema = "[[meters.m.schema.fields]]\nname = \"EventId\"\ntype = \"string\"\n";
    let config = meter::config(&sim.url(), format!("{schema}{STDIN}"));
    let bad = |number: u64| event(number).replace("\"Quantity\":", "\"Quantity\":\"x\",\"Other\":");
    let bad: Vec<String> = (1000..1025).map(bad).collect();
    let input = format!("{}{}{}\n", lines(0..700), lines(0..40), bad.join("\n"));
    folder.run_to_end(&config, input.as_bytes())?;
    assert_eq!(folder.counted("delivered")?, 765);
    Ok((folder, sim))
}

fn entries(folder: &Folder, more: &[&str]) -> Result<Vec<Value>> {
    let arguments = ["meter", "audit", "--meter", "m"].iter().chain(&SPAN).chain(more);
    let output = folder.command(&arguments.copied().collect::<Vec<_>>())?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}

#[test]
fn the_trail_has_every_event_that_was_refused_after_the_200() -> Result {
    let (folder, sim) = delivered()?;
    for page_size in ["30", "500"] {
        let found = entries(&folder, &["--errors", "--page-size", page_size])?;
        let of_code = |code: &str| {
            let ids = found.iter().filter(|entry| entry["errorCode"] == code);
            ids.filter_map(|entry| entry["payload"]["EventId"].as_str()).collect::<BTreeSet<_>>()
        };
        assert_eq!(found.len(), 65);
        assert_eq!((of_code("70000000").len(), of_code("70001204").len()), (25, 40));
    }
    let pages = sim.exchanges().iter().filter(|exchange| exchange["operation"] == "audit").count();
    assert_eq!(pages, 3 + 1);
    assert_eq!(entries(&folder, &["--samples"])?.len(), 100);
    assert_eq!(entries(&folder, &["--test"])?, Vec::<Value>::new());
    assert_eq!(entries(&folder, &["--operator", "2"])?.len(), 40);
    Ok(())
}

#[test]
fn a_reader_of_the_trail_may_go_away() -> Result {
    use std::io::Read;
    let (folder, _sim) = delivered()?;
    let arguments = ["meter", "audit", "--meter", "m", "--page-size", "1"];
    let arguments: Vec<&str> = arguments.iter().chain(&SPAN).copied().collect();
    let mut child = folder.child(&arguments)?;
    child.stdout.take().ok_or("no output")?.read_exact(&mut [0; 1])?;
    let status = crate::harness::until("the command to end", || Ok(child.try_wait()?))?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn counts_are_told_by_operator_error_and_session() -> Result {
    let (folder, _sim) = delivered()?;
    let shown = |group: &str| -> Result<String> {
        let output = folder.command(&["meter", "summary", "--meter", "m", "--group-by", group])?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let all = ["operator", "error", "session"].map(shown);
    let all = all.into_iter().collect::<Result<Vec<_>>>()?.join("\n");
    insta::assert_snapshot!(all);
    Ok(())
}

#[test]
fn a_test_shows_what_becomes_of_each_event() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    folder.configure(&meter::config(&sim.url(), STDIN))?;
    let stop = folder.command(&["meter", "stop", "--meter", "m", "--force"])?;
    assert!(stop.status.success());
    let input = format!("{}{{\"CustomerId\":\"c\"}}\n", lines(0..2));
    let arguments = ["meter", "test", "--meter", "m", "--events", "-", "--interval", "10ms"];
    let output = folder.command_with_input(&arguments, input.as_bytes())?;
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stdout)?);
    let file = folder.path("events.jsonl");
    std::fs::write(&file, lines(0..3))?;
    let upload = file.display().to_string();
    let arguments =
        ["meter", "test", "--meter", "m", "--upload", &upload, "--interval", "10ms", "--json"];
    let tested = folder.json(&arguments)?;
    assert_eq!(tested["outputs"].as_array().map(Vec::len), Some(3));
    assert_eq!(number(&tested, "/answer/runType")?, 2);
    assert_eq!(tested["status"], "TESTING_PASSED (4)");
    Ok(())
}

#[test]
fn a_meter_that_went_out_and_in_again_is_the_same() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    folder.configure(&meter::config(&sim.url(), STDIN))?;
    let export = |name: &str| -> Result<Vec<u8>> {
        let path = folder.path(name);
        let file = path.display().to_string();
        let output = folder.command(&["meter", "export", "--meter", "m", "--output", &file])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(std::fs::read(path)?)
    };
    let first = export("first.json")?;
    let file = folder.path("first.json").display().to_string();
    let output = folder.command(&["meter", "import", &file])?;
    let printed = String::from_utf8(output.stdout)?;
    let line = |name: &str| {
        let mut lines = printed.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().map(|value| value.trim().to_owned()).ok_or(format!("no {name} in {printed}"))
    };
    assert_eq!(line("id ")?, "98");
    let url = line("upload url")?;
    assert_eq!(url, format!("{}/meters/streaming/ingestion/{}", sim.url(), line("global id")?));
    // As one that imported it would go on: the new id, and events to the new URL.
    let config = meter::config(&sim.url(), STDIN);
    let meter = config.meter.replace("id = 97", "id = \"98\"");
    folder.configure(&crate::harness::Config { meter, ..config })?;
    assert_eq!(export("second.json")?, first);
    // A file that is there is not overwritten.
    let output = folder.command(&["meter", "export", "--meter", "m", "--output", &file])?;
    assert_eq!(output.status.code(), Some(73));
    Ok(())
}
