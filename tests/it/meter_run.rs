//! Runs that are started once, whatever happens on the way, and how commands fail.

use crate::harness::config::STDIN;
use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, meter, text, until};

const RUN: [&str; 5] = ["meter", "run", "--meter", "m", "--json"];

/// A meter that stands, behind these faults.
fn scene(faults: &[&str], request_timeout: &'static str) -> Result<(Folder, Sim)> {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(meter::settings())?;
    let config = meter::config(&sim.url(), STDIN);
    folder.configure(&config)?;
    folder.json(&["meter", "stop", "--meter", "m", "--force", "--json"])?;
    sim.replace_faults(faults)?;
    folder.configure(&Config { request_timeout, ..config })?;
    Ok((folder, sim))
}

fn runs(sim: &Sim) -> Vec<serde_json::Value> {
    sim.exchanges().into_iter().filter(|exchange| exchange["operation"] == "run").collect()
}

#[test]
fn a_run_that_times_out_twice_is_started_once() -> Result {
    // Each is started, or not, and answered long after the client has gone.
    let (folder, sim) = scene(&["hang=1hx2@api/run"], "1s")?;
    let run = folder.json(&RUN)?;
    assert_eq!((&run["existed"], &run["answer"]), (&true.into(), &serde_json::Value::Null));
    // The simulator hears late of clients that have gone; a slow machine may need a fourth try.
    let requests = until("three requests", || Ok(Some(runs(&sim)).filter(|all| all.len() >= 3)))?;
    assert!(requests.iter().all(|request| request["body"]["uniqueKey"] == run["unique_key"]));
    let answered = |status: Option<u16>| {
        requests.iter().filter(|request| request["status"] == serde_json::json!(status)).count()
    };
    assert_eq!(answered(Some(200)), 0);
    assert!(answered(None) >= 2 && answered(Some(400)) >= 1, "{requests:?}");
    folder.configure(&meter::config(&sim.url(), STDIN))?;
    let again = folder.json(&["meter", "stop", "--meter", "m", "--force", "--json"])?;
    assert_eq!(again["success"], true);
    // The meter ran as session 1, was started as 2, and nothing took a number in between.
    let next = folder.json(&RUN)?;
    assert_eq!(text(&next, "/answer/data/sessionId")?, "R-00000003");
    Ok(())
}

#[test]
fn every_way_to_lose_an_answer_leaves_one_run() -> Result {
    for fault in ["reset-afterx1@api/run", "half-answerx1@api/run", "rubbishx1@api/run"] {
        let (folder, sim) = scene(&[fault], "30s")?;
        let run = folder.json(&RUN)?;
        assert_eq!(run["existed"], true, "{fault}");
        let requests = runs(&sim);
        let keys: Vec<_> = requests.iter().map(|run| run["body"]["uniqueKey"].clone()).collect();
        assert_eq!(keys, [run["unique_key"].clone(), run["unique_key"].clone()], "{fault}");
        let track = |index: usize| requests[index]["headers"]["zuora-track-id"].clone();
        assert_eq!(track(0), track(1), "{fault}");
    }
    Ok(())
}

#[test]
fn a_stop_whose_answer_is_lost_is_no_failure() -> Result {
    let (folder, sim) = scene(&[], "30s")?;
    folder.json(&RUN)?;
    sim.replace_faults(&["reset-afterx1@api/stop"])?;
    let output = folder.command(&["meter", "stop", "--meter", "m"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    assert_eq!(printed, "meter 97 version 0.0.1: it stops, or stands already\n");
    Ok(())
}

#[test]
fn what_was_not_done_is_tried_again() -> Result {
    let faults = [
        "reset-beforex1@api/run",
        "status=503x1@api/run",
        "status=429x1@api/run",
        "no-success,code=70002005x1@api/run",
    ];
    let (folder, _sim) = scene(&faults, "30s")?;
    let run = folder.json(&RUN)?;
    assert_eq!(run["existed"], false);
    assert_eq!(text(&run, "/answer/data/statusDescription")?, "INITIALIZING");
    Ok(())
}

#[test]
fn a_key_of_ones_own_starts_one_run() -> Result {
    let (folder, _sim) = scene(&[], "30s")?;
    let keyed: Vec<&str> = RUN.iter().copied().chain(["--unique-key", "k"]).collect();
    assert_eq!(folder.json(&keyed)?["existed"], false);
    assert_eq!(folder.json(&keyed)?["existed"], true);
    let output = folder.command(&["meter", "run", "--meter", "m", "--unique-key", "k"])?;
    let printed = String::from_utf8(output.stdout)?;
    assert_eq!(printed, "a run of meter 97 with the unique key k exists already\n");
    Ok(())
}

#[test]
fn an_import_that_may_have_been_done_is_not_repeated() -> Result {
    let (folder, sim) = scene(&[], "30s")?;
    let file = folder.path("m.json").display().to_string();
    let export = folder.command(&["meter", "export", "--meter", "m", "--output", &file])?;
    assert!(export.status.success());
    sim.replace_faults(&["reset-afterx1@api/import"])?;
    let output = folder.command(&["meter", "import", &file])?;
    assert_eq!(output.status.code(), Some(69));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("whether it was done is not known"), "{errors}");
    // With a global id it is the same meter twice.
    sim.replace_faults(&["reset-afterx1@api/import"])?;
    let output = folder.command(&["meter", "import", &file, "--global-id", "g7", "--json"])?;
    let imported: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(text(&imported, "/data/globalId")?, "g7");
    Ok(())
}

#[test]
fn a_refusal_is_told_with_its_code_and_words() -> Result {
    let (folder, _sim) = scene(&[], "30s")?;
    let output = folder.command(&["meter", "stop", "--meter", "m"])?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr)?;
    let expected =
        "meterd: Mediation refuses: 400 The meter version is not running. (code 70002122)\n";
    assert_eq!(errors, expected);
    Ok(())
}

#[test]
fn a_service_that_is_not_there_is_69() -> Result {
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    folder.configure(&meter::config(&port.url(), STDIN))?;
    let output = folder.command(&["meter", "status", "--meter", "m", "--timeout", "300ms"])?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains("could not be reached in time"), "{errors}");
    Ok(())
}

#[test]
fn a_token_is_renewed_once_and_wrong_credentials_are_told() -> Result {
    let folder = Folder::new()?;
    let credentials = Some(("id".to_owned(), "secret".to_owned()));
    let sim = Sim::with_settings(meterd::simulator::Settings { credentials, ..meter::settings() })?;
    let config = |secret: &str| {
        let auth = format!("client_id = \"id\"\nclient_secret = \"{secret}\"");
        Config { auth, ..meter::config(&sim.url(), STDIN) }
    };
    folder.configure(&config("secret"))?;
    sim.replace_faults(&["unauthorizedx1@api/status"])?;
    folder.json(&["meter", "status", "--meter", "m", "--json"])?;
    assert_eq!(sim.stats().token_calls, 2);
    folder.configure(&config("wrong"))?;
    let output = folder.command(&["meter", "status", "--meter", "m"])?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("are client_id and client_secret right?"), "{errors}");
    assert!(!errors.contains("wrong"), "{errors}");
    Ok(())
}

#[test]
fn a_meter_without_an_id_is_a_problem_of_the_configuration() -> Result {
    let folder = Folder::new()?;
    folder.configure(&Config::new("http://127.0.0.1:1", STDIN))?;
    let output = folder.command(&["meter", "status", "--meter", "m"])?;
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("meters.m.id: found nothing, expected the meter's id"), "{errors}");
    let output = folder.command(&["meter", "status", "--meter", "other"])?;
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("there is no meter \"other\"; there are m"), "{errors}");
    Ok(())
}
