//! What was delivered: found by time, meter and doubt, written for other programs, forgotten after
//! its time.

use std::process::Output;

use serde_json::Value;

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, Result, Sim, fail, lines, number, text, until};

/// A receipt for each of 1200 events of the meter "m": more than a page. The first attempt of the
/// first one has no known outcome.
fn deliver(folder: &Folder) -> Result<Sim> {
    let sim = Sim::with_faults(&["reset-afterx1"])?;
    let config = Config {
        limits: "events_per_request_max = 1\nrequests_in_flight_max = 1".to_owned(),
        ..Config::new(&sim.url(), STDIN)
    };
    folder.run_to_end(&config, lines(0..1200).as_bytes())?;
    Ok(sim)
}

/// What a command printed; it has to succeed.
fn printed(output: Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && errors.is_empty() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    fail(format!("{}: {errors}", output.status))
}

#[test]
fn an_export_has_every_receipt_as_the_list_shows_it() -> Result {
    let folder = Folder::new()?;
    let _sim = deliver(&folder)?;
    let receipts = folder.receipts()?;
    assert_eq!(receipts.len(), 1200);
    let export = printed(folder.command(&["receipts", "export"])?)?;
    let exported: Vec<Value> =
        export.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    assert_eq!(exported, receipts);
    let path = folder.path("receipts.csv");
    let path_text = path.display().to_string();
    let arguments = ["receipts", "export", "--format", "csv", "--output", &path_text];
    assert_eq!(printed(folder.command(&arguments)?)?, "");
    let csv = std::fs::read_to_string(&path)?;
    assert_eq!(csv.lines().count(), 1201);
    for (line, receipt) in csv.lines().skip(1).zip(&receipts) {
        let expected = format!("{},{},m,1,", receipt["batch"], text(receipt, "/track_id")?);
        assert!(line.starts_with(&expected), "{line}");
    }
    // What is there is not written over.
    assert_eq!(folder.command(&arguments)?.status.code(), Some(73));
    Ok(())
}

#[test]
fn list_and_export_take_the_same_conditions() -> Result {
    let folder = Folder::new()?;
    let _sim = deliver(&folder)?;
    let receipts = folder.receipts()?;
    let at = |index: usize| -> Result<&str> {
        text(receipts.get(index).ok_or("no receipt")?, "/delivered_at")
    };
    let (from, to) = (at(400)?, at(800)?);
    let is_between = |receipt: &&Value| {
        // All in one form, so that texts are ordered as times are.
        text(receipt, "/delivered_at").is_ok_and(|at| at >= from && at < to)
    };
    let between = receipts.iter().filter(is_between).count();
    assert!(between > 0 && between < receipts.len(), "{between}");
    for (conditions, expected) in [
        (["--from", from, "--to", to].as_slice(), between),
        (&["--from", "1h"], 1200),
        (&["--to", "1h"], 0),
        (&["--meter", "m"], 1200),
        (&["--meter", "other"], 0),
        (&["--unknown"], 1),
        (&["--unknown", "--meter", "m", "--from", "1h"], 1),
    ] {
        let list: Vec<&str> =
            ["receipts", "list", "--json"].iter().chain(conditions).copied().collect();
        let listed = folder.json(&list)?;
        assert_eq!(listed.as_array().map(Vec::len), Some(expected), "{conditions:?}");
        for (format, header) in [("jsonl", 0), ("csv", 1)] {
            let export = ["receipts", "export", "--format", format];
            let export: Vec<&str> = export.iter().chain(conditions).copied().collect();
            let export = printed(folder.command(&export)?)?;
            assert_eq!(export.lines().count(), expected + header, "{conditions:?}");
        }
    }
    let wrong = folder.command(&["receipts", "list", "--from", "yesterday"])?;
    assert_eq!(wrong.status.code(), Some(2));
    Ok(())
}

#[test]
fn old_receipts_are_forgotten_while_the_daemon_runs() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let store = "receipts_keep = \"1s\"".to_owned();
    folder.configure(&Config { store, ..Config::new(&sim.url(), STDIN) })?;
    let mut agent = folder.start_with_pipe()?;
    for round in 0..2_u8 {
        let first = u64::from(round) * 10;
        agent.write(lines(first..first + 10).as_bytes())?;
        folder.wait_counted("delivered", i64::from(round) * 10 + 10)?;
        until("the receipts to go", || Ok(folder.receipts()?.is_empty().then_some(())))?;
    }
    let status = folder.status()?;
    assert_eq!(number(&status, "/meters/m/delivered")?, 20);
    agent.stop()
}
