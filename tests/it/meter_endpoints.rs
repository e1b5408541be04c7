//! Every endpoint of the meter APIs, driven by its command: what is asked and answered, compared
//! with the documented forms.

use serde_json::Value;

use crate::harness::config::STDIN;
use crate::harness::{Folder, Result, Sim, fail, meter, text};

/// Drives a command, which has to succeed, and gives what it prints and what was exchanged.
fn drive(folder: &Folder, sim: &Sim, arguments: &[&str], input: &[u8]) -> Result<String> {
    let before = sim.exchanges().len();
    let all: Vec<&str> = ["meter"].iter().chain(arguments).copied().collect();
    let output = folder.command_with_input(&all, input)?;
    let printed = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return fail(format!("{arguments:?}: {}: {printed}{errors}", output.status));
    }
    let exchanges: Vec<Value> = sim.exchanges().split_off(before);
    let told = serde_json::to_string_pretty(&exchanges)?;
    Ok(meter::steady(&format!("{}\n\n{told}", printed.trim_end()), &sim.url()))
}

fn scene() -> Result<(Folder, Sim)> {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    let mediation = "entity_ids = \"e-1\"\norg_ids = \"o-1,o-2\"".to_owned();
    folder.configure(&crate::harness::Config { mediation, ..meter::config(&sim.url(), STDIN) })?;
    Ok((folder, sim))
}

#[test]
fn status_summary_and_stop() -> Result {
    let (folder, sim) = scene()?;
    let drive = |arguments: &[&str]| drive(&folder, &sim, arguments, b"");
    insta::assert_snapshot!(drive(&["status", "--meter", "m"])?);
    insta::assert_snapshot!(drive(&[
        "summary",
        "--meter",
        "m",
        "--from",
        "2026-11-01T00:00:00Z",
        "--to",
        "2026-11-21T06:14:11Z",
        "--group-by",
        "operator",
        "--group-by",
        "session",
        "--group-by",
        "error",
        "--operator",
        "2",
        "--session",
        "R-00000001",
    ])?);
    insta::assert_snapshot!(drive(&["stop", "--meter", "m", "--wait", "--interval", "10ms"])?);
    Ok(())
}

#[test]
fn run_with_a_file_and_days() -> Result {
    let (folder, sim) = scene()?;
    let drive = |arguments: &[&str]| drive(&folder, &sim, arguments, b"");
    drive(&["stop", "--meter", "m", "--force"])?;
    let file = folder.path("usage.csv");
    std::fs::write(&file, "CustomerId,UsageIdentifier,UsageDate,Quantity,EventId\nc,u,d,1.5,a\n")?;
    let file = file.display().to_string();
    insta::assert_snapshot!(drive(&[
        "upload",
        &file,
        "--has-header",
        "true",
        "--first-row",
        "1",
        "--delimiter",
        ",",
        "--sheet",
        "s",
        "--data-range",
        "A1:E2",
        "--resolve-file-name-conflict",
        "RENAME",
        "--target-folder",
        "f",
        "--overwrite-existing-file",
        "false",
    ])?);
    insta::assert_snapshot!(drive(&[
        "run",
        "--meter",
        "m",
        "--local-file",
        "1=1",
        "--event-store",
        "1=2026-01-01..2026-01-31",
        "--unique-key",
        "key-1",
        "--wait",
        "--interval",
        "10ms",
    ])?);
    insta::assert_snapshot!(drive(&[
        "audit",
        "--meter",
        "m",
        "--samples",
        "--from",
        "2020-01-01T00:00:00Z",
        "--to",
        "2099-01-01T00:00:00Z",
        "--session",
        "R-00000002",
        "--operator",
        "3",
        "--page-size",
        "30",
    ])?);
    Ok(())
}

#[test]
fn test_of_events_from_standard_input() -> Result {
    let (folder, sim) = scene()?;
    let events = br#"{"CustomerId":"c","UsageIdentifier":"u","UsageDate":"d","Quantity":1.10,"EventId":"a"}"#;
    let arguments =
        ["test", "--meter", "m", "--events", "1=-", "--save-as", "n", "--interval", "10ms"];
    let told = drive(&folder, &sim, &arguments, events)?;
    insta::assert_snapshot!(meter::masked_span(&told));
    Ok(())
}

#[test]
fn export_and_import() -> Result {
    let (folder, sim) = scene()?;
    let file = folder.path("meter.json").display().to_string();
    let drive = |arguments: &[&str]| drive(&folder, &sim, arguments, b"");
    let exported = drive(&["export", "--meter", "m", "--output", &file])?;
    insta::assert_snapshot!(exported.replace(&file, "FILE"));
    insta::assert_snapshot!(drive(&["import", &file, "--global-id", "g2"])?);
    Ok(())
}

#[test]
fn json_is_the_answer_as_it_came() -> Result {
    let (folder, sim) = scene()?;
    let status = folder.json(&["meter", "status", "--meter", "m", "--json"])?;
    assert_eq!(text(&status, "/data/runStatusDescription")?, "RUNNING");
    let summary = folder.json(&["meter", "summary", "--meter", "m", "--json"])?;
    assert_eq!(text(&summary, "/data/query/groupBy/0")?, "processorId");
    let stopped = folder.json(&["meter", "stop", "--meter", "m", "--json"])?;
    assert_eq!(stopped, serde_json::json!({"success": true}));
    folder.json(&["meter", "status", "--meter", "m", "--json"])?;
    let run = folder.json(&["meter", "run", "--meter", "m", "--json"])?;
    assert!(text(&run, "/unique_key")?.starts_with("meterd_it_"), "{run}");
    assert_eq!(run["existed"], false);
    assert_eq!(text(&run, "/answer/data/sessionId")?, "R-00000002");
    assert_eq!(folder.json(&["meter", "export", "--meter", "m"])?["name"], "simulated");
    assert_eq!(sim.stats().requests, 0);
    Ok(())
}
