//! Commands that look at the store, while the daemon runs and behind pipes.

use std::io::Read;

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, Result, Sim, lines, number, until};

#[test]
fn commands_that_read_work_while_the_daemon_runs() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(format!("{}bad\n", lines(0..10)).as_bytes())?;
    let status = folder.wait_counted("delivered", 10)?;
    assert_eq!(number(&status, "/equation/dead_lettered")?, 1);
    assert_eq!(status["meters"]["m"]["state"], "running");
    for arguments in [
        ["status"].as_slice(),
        &["receipts", "list"],
        &["receipts", "show", "1"],
        &["dead-letters", "list"],
        &["dead-letters", "show", "1"],
    ] {
        let output = folder.command(arguments)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}: {errors}");
        let json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        folder.json(&json)?;
    }
    assert!(agent.is_running()?);
    agent.stop()
}

#[test]
fn a_receipt_is_found_by_its_track_id_and_its_number() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.run_to_end(&Config::new(&sim.url(), STDIN), lines(0..10).as_bytes())?;
    let receipts = folder.receipts()?;
    let receipt = receipts.first().ok_or("no receipt")?;
    assert_eq!(number(receipt, "/events")?, 10);
    assert_eq!(number(receipt, "/status")?, 200);
    assert_eq!(number(receipt, "/wire_bytes")?.cast_unsigned(), sim.stats().wire_bytes);
    assert_eq!(number(receipt, "/payload_bytes")?.cast_unsigned(), sim.stats().payload_bytes);
    assert_eq!(receipt["first_event_id"], "event-00000000");
    assert_eq!(receipt["last_event_id"], "event-00000009");
    for key in ["/track_id", "/batch"] {
        let name = receipt.pointer(key).ok_or("no name")?;
        let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        assert_eq!(&folder.json(&["receipts", "show", &name, "--json"])?, receipt);
    }
    assert_eq!(folder.command(&["receipts", "show", "no-such-77"])?.status.code(), Some(1));
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_error() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let config = Config {
        limits: "events_per_request_max = 1".to_owned(),
        ..Config::new(&sim.url(), STDIN)
    };
    // More receipts than a pipe holds.
    folder.run_to_end(&config, lines(0..600).as_bytes())?;
    for arguments in [["receipts", "list", "--json"].as_slice(), &["receipts", "list"]] {
        let mut child = folder.child(arguments)?;
        let mut first = [0; 1];
        child.stdout.take().ok_or("no output")?.read_exact(&mut first)?;
        let status = until("the command to end", || Ok(child.try_wait()?))?;
        let mut errors = String::new();
        child.stderr.take().ok_or("no errors")?.read_to_string(&mut errors)?;
        assert!(status.success() && errors.is_empty(), "{arguments:?}: {status}: {errors}");
    }
    Ok(())
}

#[test]
fn a_store_that_is_not_there_is_named_and_not_made() -> Result {
    let folder = Folder::new()?;
    folder.configure(&Config::new("http://127.0.0.1:1", STDIN))?;
    for command in [["status"].as_slice(), &["receipts", "list"], &["dead-letters", "list"]] {
        let output = folder.command(command)?;
        assert_eq!(output.status.code(), Some(73), "{command:?}");
        let errors = String::from_utf8(output.stderr)?;
        assert!(errors.contains(&folder.state().display().to_string()), "{errors}");
    }
    assert!(!folder.state().exists());
    Ok(())
}

#[test]
fn who_looks_at_the_store_needs_no_secret() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let config = Config::new(&sim.url(), STDIN);
    folder.run_to_end(&config, lines(0..10).as_bytes())?;
    // As it is for everybody but the service: the credential is there while it runs.
    let auth = "client_id = \"id\"\nclient_secret_file = \"/nowhere/secret\"".to_owned();
    folder.configure(&Config { auth, ..config.clone() })?;
    assert_eq!(folder.counted("delivered")?, 10);
    assert_eq!(folder.receipts()?.len(), 1);
    // What says where the store is has to be right all the same.
    folder.configure(&Config { agent: "state_dri = \"/x\"".to_owned(), ..config })?;
    let output = folder.command(&["status"])?;
    assert_eq!(output.status.code(), Some(78));
    Ok(())
}
