//! The schema of a meter comes with its export, and what is stored is held against it.

use serde_json::{Value, json};

use crate::harness::agent::Input;
use crate::harness::config::{self, HTTP, STDIN};
use crate::harness::log_writer::LogWriter;
use crate::harness::{
    Agent, Config, Folder, Result, Sim, client, event, lines, meter, number, text, until,
};

/// The meter of the simulator, exported, and changed by `change`.
fn defined(folder: &Folder, change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut definition = folder.json(&["meter", "export", "--meter", "m"])?;
    change(&mut definition);
    let path = folder.path("definition.json");
    std::fs::write(&path, definition.to_string())?;
    Ok(path.display().to_string())
}

/// Changes the schema of the meter in Mediation.
fn redefine(folder: &Folder, change: impl FnOnce(&mut Value)) -> Result {
    let file = defined(folder, |definition| change(&mut definition["schemas"][0]["schema"]))?;
    folder.json(&["meter", "import", &file, "--global-id", "g1", "--json"]).map(|_| ())
}

/// Says nothing about events that were refused after the 200: there are none.
fn check_nothing_refused(folder: &Folder) -> Result {
    let refused = folder.command(&["meter", "audit", "--meter", "m", "--errors"])?;
    assert_eq!(String::from_utf8(refused.stdout)?, "");
    Ok(())
}

fn wait_schema_seen(sim: &Sim) -> Result {
    let exports = || {
        let exchanges = sim.exchanges();
        exchanges.iter().filter(|exchange| exchange["operation"] == "export").count()
    };
    let before = exports();
    // The one that is under way may have begun before.
    until("two more exports", || Ok((exports() >= before + 2).then_some(())))
}

#[test]
fn a_drift_holds_what_is_stored_until_it_is_mended_and_judges_what_is_new() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    let logs = folder.directory("logs")?;
    folder.configure(&meter::contract(&sim.url(), config::file(&logs.join("usage*.jsonl"))))?;
    let mut log = LogWriter::new(&logs)?;
    let mut agent = folder.start()?;
    log.write(100)?;
    sim.wait_events(100)?;
    // What comes now is stored by the old schema and cannot be sent.
    sim.replace_faults(&["status=503@g1"])?;
    log.write(100)?;
    folder.wait_counted("stored", 100)?;
    redefine(&folder, |schema| schema["properties"]["Quantity"]["type"] = json!("string"))?;
    let changed = agent.wait_logged("the schema has changed")?;
    assert_eq!(
        text(&changed, "/differences")?,
        "\"Quantity\" was required number, is required string"
    );
    sim.replace_faults(&[])?;
    let reason = until("the hold for the schema", || {
        Ok(Some(folder.wait_state("held")?).filter(|reason| reason.contains("the schema")))
    })?;
    assert!(reason.contains("of 100 events do not fit, the first: Quantity"), "{reason}");
    // New events are judged by the new schema.
    log.write(10)?;
    folder.wait_counted("dead_lettered", 10)?;
    assert_eq!(sim.stats().distinct_ids, 100);
    // What fits and what does not is known after a power cut.
    agent.kill()?;
    let mut agent = folder.start()?;
    assert!(folder.wait_state("held")?.contains("the schema has changed"));
    wait_schema_seen(&sim)?;
    assert_eq!(sim.stats().distinct_ids, 100);
    // Mended: all goes on by itself, and the dead letters are events again.
    redefine(&folder, |schema| schema["properties"]["Quantity"]["type"] = json!("number"))?;
    agent.wait_logged("what is stored fits the schema, the meter goes on")?;
    folder.wait_counted("delivered", 200)?;
    assert_eq!(folder.wait_state("running")?, "");
    let replayed = folder.json(&["dead-letters", "replay", "--all", "--json"])?;
    assert_eq!(number(&replayed, "/replayed")?, 10, "{replayed}");
    folder.wait_counted("delivered", 210)?;
    agent.stop()?;
    sim.check_exactly_once(210)?;
    check_nothing_refused(&folder)
}

#[test]
fn a_drift_that_stored_events_fit_holds_nothing() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    folder.configure(&meter::contract(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.wait_logged("the schema has come")?;
    sim.replace_faults(&["status=503@g1"])?;
    agent.write(lines(0..100).as_bytes())?;
    folder.wait_counted("stored", 100)?;
    // A format that all of them have, and a field that none of them has.
    redefine(&folder, |schema| {
        schema["properties"]["UsageDate"] =
            json!({"type": "datetime", "timeFormat": "yyyy-MM-dd'T'HH:mm:ssZ"});
        schema["properties"]["Region"] = json!({"type": "string"});
    })?;
    agent.wait_logged("the schema has changed")?;
    sim.replace_faults(&[])?;
    sim.wait_events(100)?;
    // Times go out as the schema of the export says.
    agent.write(event(100).replace("T06:01:40+0000", "T07:01:40+01:00").as_bytes())?;
    agent.write(b"\n")?;
    agent.close_stdin();
    agent.wait_success()?;
    sim.check_exactly_once(101)?;
    assert_eq!(agent.times_logged("meter held: a person is needed")?, 0);
    let samples = folder.command(&["meter", "audit", "--meter", "m", "--samples"])?;
    let samples = String::from_utf8(samples.stdout)?;
    assert!(!samples.contains("+01:00"), "{samples}");
    check_nothing_refused(&folder)
}

#[test]
fn the_schema_that_is_kept_serves_when_mediation_cannot_be_reached() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    folder.run_to_end(&meter::contract(&sim.url(), STDIN), lines(0..10).as_bytes())?;
    sim.replace_faults(&["reset-before@api/export"])?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(10..20).as_bytes())?;
    agent.write(event(20).replace("\"Quantity\":", "\"Other\":").as_bytes())?;
    agent.write(b"\n")?;
    folder.wait_counted("delivered", 20)?;
    agent.wait_logged("cannot fetch the schema, the last one serves")?;
    let letters = folder.dead_letters()?;
    assert_eq!(letters.len(), 1);
    assert_eq!(text(&letters[0], "/reason")?, "missing_field");
    sim.replace_faults(&[])?;
    agent.wait_logged("the schema comes again")?;
    agent.stop()?;
    sim.check_exactly_once(20)
}

#[test]
fn sources_wait_for_a_first_schema_and_nothing_is_lost() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    sim.replace_faults(&["status=503@api/export"])?;
    let logs = folder.directory("logs")?;
    let sources = format!("{}{STDIN}{HTTP}", config::file(&logs.join("usage*.jsonl")));
    folder.configure(&meter::contract(&sim.url(), sources))?;
    let mut log = LogWriter::new(&logs)?;
    log.write(50)?;
    let mut agent = Agent::spawn(&folder.config(), folder.as_ref(), Input::Pipe)?;
    let http = agent.listening("http")?;
    agent.write(lines(50..100).as_bytes())?;
    agent.wait_logged("cannot fetch the schema, the sources of the meter wait")?;
    assert!(folder.wait_state("held")?.contains("has not come"));
    let status = folder.status()?;
    for source in ["app", "pipe", "http"] {
        let reason = text(&status, &format!("/sources/{source}/reason"))?;
        assert_eq!(reason, "the schema of meter m has not come yet");
    }
    assert_eq!(client::post(http, event(100).as_bytes())?.status, 503);
    // Killed meanwhile, the file is read again; a pipe has nobody who would write it again.
    assert_eq!(folder.counted("read")?, 0);
    sim.replace_faults(&[])?;
    agent.wait_logged("the schema has come")?;
    until("the request to be taken", || {
        Ok((client::post(http, event(100).as_bytes())?.status == 200).then_some(()))
    })?;
    folder.wait_counted("delivered", 101)?;
    let status = folder.status()?;
    assert_eq!(text(&status, "/sources/app/state")?, "reading");
    assert_eq!(folder.wait_state("running")?, "");
    agent.stop()?;
    sim.check_exactly_once(101)?;
    check_nothing_refused(&folder)
}

#[test]
fn what_a_pipe_had_when_a_stop_came_before_the_schema_is_judged_before_it_is_sent() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    sim.replace_faults(&["status=503@api/export"])?;
    folder.configure(&meter::contract(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.wait_logged("cannot fetch the schema, the sources of the meter wait")?;
    agent.write(lines(0..10).as_bytes())?;
    agent.stop()?;
    assert_eq!(folder.counted("stored")?, 10);
    assert_eq!(sim.stats().distinct_ids, 0);
    sim.replace_faults(&[])?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    sim.check_exactly_once(10)
}

#[test]
fn a_schema_with_which_no_event_could_go_out_holds_the_meter() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    folder.configure(&Config { ..meter::contract(&sim.url(), STDIN) })?;
    let mut agent = folder.start_with_pipe()?;
    agent.wait_logged("the schema has come")?;
    folder.wait_state("running")?;
    redefine(&folder, |schema| schema["properties"]["EventId"]["type"] = json!("number"))?;
    let reason = folder.wait_state("held")?;
    assert!(reason.starts_with("event_id_field is \"EventId\""), "{reason}");
    // An export without a schema changes nothing.
    redefine(&folder, |schema| *schema = json!({"title": "nothing"}))?;
    agent.wait_logged("cannot fetch the schema, the last one serves")?;
    let original = json!({"type": "string"});
    redefine(&folder, |schema| {
        *schema =
            json!({"type": "object", "required": ["EventId"], "properties": {"EventId": original}});
    })?;
    folder.wait_state("running")?;
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    sim.check_exactly_once(10)
}

#[test]
fn lines_are_verified_by_the_schema_that_is_kept_without_mediation() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    folder.configure(&meter::contract(&sim.url(), STDIN))?;
    let verify = ["verify", "--meter", "m", "usage.jsonl"];
    let seats = event(0).replace("\"Quantity\"", "\"Seats\"");
    std::fs::write(folder.path("usage.jsonl"), format!("{}\n{seats}\n", event(1)))?;
    let before = folder.command(&verify)?;
    assert_eq!(before.status.code(), Some(78), "{before:?}");
    assert!(String::from_utf8(before.stderr)?.contains("is not in the store"));

    redefine(&folder, |schema| {
        schema["properties"]["Seats"] = json!({"type": "number"});
        schema["required"] = json!(["CustomerId", "Seats"]);
    })?;
    let mut agent = folder.start_with_pipe()?;
    agent.wait_logged("the schema has come")?;
    agent.stop()?;
    drop(sim);
    let output = folder.command(&verify)?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8(output.stdout)?;
    assert!(printed.contains("missing_field Seats"), "{printed}");
    assert!(printed.ends_with("1 valid, 1 refused, 0 ignored\n"), "{printed}");
    Ok(())
}
