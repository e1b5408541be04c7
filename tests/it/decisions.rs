//! With `on_unknown = "hold"` a person decides about batches that Mediation may have.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::config::{STDIN, file};
use crate::harness::{
    Config, Folder, RawServer, Reply, Request, Result, lines, number, pause, text, until,
};

const RESET: Reply = Reply::BytesThenClose(Vec::new());
const HELD: &str = "meter held: a person is needed";

/// A folder with the meters "m", of standard input, and "other", of a file.
fn folder(server: &RawServer, on_unknown: &str) -> Result<Folder> {
    let folder = Folder::new()?;
    let other = file(&folder.path("other.jsonl")).replace("\"m\"", "\"other\"");
    let sources = format!("{STDIN}[meters.other]\nglobal_id = \"g2\"\n{other}");
    let mut config = Config::new(&server.url(), sources);
    config.delivery = format!("{}\non_unknown = \"{on_unknown}\"", config.delivery);
    folder.configure(&config)?;
    Ok(folder)
}

/// The requests for the meter "m".
fn requests(server: &RawServer) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.line.contains("g1")).collect()
}

/// Ten events of the other meter, which have to come through.
fn deliver_other(folder: &Folder, round: u64) -> Result {
    let delivered = folder.counted("delivered")?;
    let log = OpenOptions::new().create(true).append(true).open(folder.path("other.jsonl"));
    log?.write_all(lines(1000 + round * 10..1010 + round * 10).as_bytes())?;
    folder.wait_counted("delivered", delivered + 10).map(|_| ())
}

/// What waits and may be there.
fn in_doubt(folder: &Folder) -> Result<Vec<Value>> {
    let listed = folder.json(&["batches", "list", "--unknown", "--json"])?;
    Ok(listed.as_array().cloned().unwrap_or_default())
}

/// Waits until the meter is held for so many batches.
fn wait_undecided(folder: &Folder, count: usize) -> Result<String> {
    let wanted = format!("has {count} batches");
    until(&format!("{count} undecided batches"), || {
        let status = folder.status()?;
        // A meter of which nothing was committed yet is not in the status.
        let Ok(reason) = text(&status, "/meters/m/reason") else { return Ok(None) };
        let is_there = text(&status, "/meters/m/state")? == "held" && reason.contains(&wanted);
        Ok(is_there.then(|| reason.to_owned()))
    })
}

/// A gateway that fails may have failed behind the events.
#[test]
fn an_answer_of_504_holds_its_meter_as_well() -> Result {
    let server = RawServer::start(|number, _| match number {
        0 => Reply::answer("504 Gateway Timeout", "", ""),
        _ => Reply::success(),
    })?;
    let folder = folder(&server, "hold")?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    wait_undecided(&folder, 1)?;
    // Long enough for many a retry.
    deliver_other(&folder, 0)?;
    assert_eq!(requests(&server).len(), 1);
    folder.json(&["batches", "resend", "--all", "--json"])?;
    until("the batch to be sent again", || Ok((requests(&server).len() == 2).then_some(())))?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()
}

#[test]
fn an_unknown_outcome_holds_its_meter_across_restarts_until_it_is_sent_again_on_request() -> Result
{
    let server = RawServer::start(|number, _| if number == 0 { RESET } else { Reply::success() })?;
    let folder = folder(&server, "hold")?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    let reason = wait_undecided(&folder, 1)?;
    let doubted = in_doubt(&folder)?;
    let [batch] = doubted.as_slice() else { return Err(format!("{doubted:?}").into()) };
    let track_id = text(batch, "/track_id")?;
    assert!(reason.contains(track_id) && reason.contains("meterd batches resend"), "{reason}");
    for (key, expected) in
        [("/events", 10), ("/attempts", 1), ("/outcome_unknown_attempts", 1), ("/batch", 1)]
    {
        assert_eq!(number(batch, key)?, expected, "{key}");
    }
    assert_eq!((&batch["undecided"], &batch["meter"]), (&Value::Bool(true), &Value::from("m")));
    // A batch behind it waits as well, and the other meter does not.
    agent.write(lines(10..20).as_bytes())?;
    folder.wait_counted("stored", 20)?;
    deliver_other(&folder, 0)?;
    assert_eq!(agent.log()?.matches(HELD).count(), 1);
    // After a kill, the second batch may have been under way too, for all that the store knows.
    for (round, signal, undecided) in [(1, Signal::TERM, 1), (2, Signal::KILL, 2)] {
        agent.signal(signal)?;
        agent.wait()?;
        agent = folder.start_with_pipe()?;
        agent.wait_logged(HELD)?;
        wait_undecided(&folder, undecided)?;
        deliver_other(&folder, round)?;
        assert_eq!(folder.counted("stored")?, 20);
    }
    assert_eq!(requests(&server).len(), 1);
    // One decision of two changes nothing yet.
    folder.json(&["batches", "resend", track_id, "--json"])?;
    wait_undecided(&folder, 1)?;
    deliver_other(&folder, 3)?;
    assert_eq!(requests(&server).len(), 1);
    let resent = folder.json(&["batches", "resend", "--all", "--meter", "m", "--json"])?;
    assert_eq!(number(&resent, "/resent")?, 1);
    folder.wait_counted("delivered", 60)?;
    folder.wait_state("running")?;
    let sent = requests(&server);
    let of_batch: Vec<&Request> =
        sent.iter().filter(|request| request.header("zuora-track-id") == Some(track_id)).collect();
    let [first, again] = of_batch.as_slice() else {
        return Err(format!("{} requests of {track_id}", of_batch.len()).into());
    };
    assert_eq!((sent.len(), &first.body), (3, &again.body));
    assert!(in_doubt(&folder)?.is_empty());
    let receipt = folder.json(&["receipts", "show", track_id, "--json"])?;
    assert!(number(&receipt, "/outcome_unknown_attempts")? >= 1, "{receipt}");
    agent.stop()
}

#[test]
fn a_batch_that_is_confirmed_is_delivered_without_a_further_request() -> Result {
    let server = RawServer::start(|number, _| if number == 0 { RESET } else { Reply::success() })?;
    let folder = folder(&server, "hold")?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    wait_undecided(&folder, 1)?;
    agent.write(lines(10..20).as_bytes())?;
    folder.wait_counted("stored", 20)?;
    // What is not in doubt, or not there, is not for a person to decide; then nothing is.
    for decision in ["confirm", "resend"] {
        for name in ["2", "nobody-7"] {
            let output = folder.command(&["batches", decision, "1", name])?;
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{errors}");
            assert!(errors.contains("nothing was decided"), "{errors}");
        }
    }
    assert_eq!(folder.counted("delivered")?, 0);
    wait_undecided(&folder, 1)?;
    let confirmed = folder.json(&["batches", "confirm", "1", "--json"])?;
    assert_eq!(number(&confirmed, "/confirmed")?, 1);
    // The batch behind it goes on its way.
    folder.wait_counted("delivered", 20)?;
    folder.wait_state("running")?;
    assert_eq!(requests(&server).len(), 2);
    let [confirmed, sent] = folder.receipts()?.try_into().map_err(|_| "two receipts")?;
    assert_eq!((number(&confirmed, "/status")?, number(&sent, "/status")?), (0, 200));
    assert_eq!(number(&confirmed, "/outcome_unknown_attempts")?, 1);
    let shown = String::from_utf8(folder.command(&["receipts", "show", "1"])?.stdout)?;
    assert!(shown.contains("0 confirmed by a person"), "{shown}");
    assert_eq!(folder.command(&["batches", "confirm", "1"])?.status.code(), Some(1));
    agent.stop()
}

#[test]
fn what_was_under_way_at_a_kill_is_held() -> Result {
    let server = RawServer::start(|_, _| Reply::Silence)?;
    let folder = folder(&server, "hold")?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    until("the request", || Ok((!requests(&server).is_empty()).then_some(())))?;
    agent.kill()?;
    let mut agent = folder.start_with_pipe()?;
    wait_undecided(&folder, 1)?;
    folder.json(&["batches", "confirm", "1", "--json"])?;
    folder.wait_state("running")?;
    assert_eq!((folder.counted("delivered")?, folder.counted("stored")?), (10, 0));
    agent.stop()?;
    assert_eq!(requests(&server).len(), 1);
    Ok(())
}

#[test]
fn a_confirmation_during_a_request_is_not_counted_twice() -> Result {
    let is_confirmed = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&is_confirmed);
    let server = RawServer::start(move |number, _| {
        if number == 0 {
            return RESET;
        }
        while !is_over.load(Ordering::Acquire) {
            pause(std::time::Duration::from_millis(5));
        }
        Reply::success()
    })?;
    let folder = folder(&server, "resend")?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    until("the repeat", || Ok((requests(&server).len() == 2).then_some(())))?;
    folder.json(&["batches", "confirm", "1", "--json"])?;
    assert_eq!(folder.counted("delivered")?, 10);
    is_confirmed.store(true, Ordering::Release);
    // The next events show that the answer was taken: a lane that failed sends one at a time.
    agent.write(lines(10..20).as_bytes())?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()?;
    assert_eq!((folder.counted("delivered")?, requests(&server).len()), (20, 3));
    let [confirmed, _] = folder.receipts()?.try_into().map_err(|_| "two receipts")?;
    assert_eq!(number(&confirmed, "/status")?, 0);
    Ok(())
}
