//! Outcomes that nobody can know: on record, and repeated byte for byte.

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, RawServer, Reply, Result, Sim, lines, number, text};

/// Ten events through `fault`, which accepts them without an answer that can be read.
fn check_repeated(fault: &str, repeats: i64) -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&[&format!("{fault}x{repeats}")])?;
    let config = Config { request_timeout: "1500ms", ..Config::new(&sim.url(), STDIN) };
    folder.run_to_end(&config, lines(0..10).as_bytes())?;
    sim.check_complete(10)?;
    let stats = sim.stats();
    assert_eq!(stats.repeats_altered, 0, "{fault}");
    let [repeat] = stats.repeats.as_slice() else {
        return Err(format!("{fault}: {:?}", stats.repeats).into());
    };
    assert_eq!((repeat.requests, repeat.bodies), (repeats.cast_unsigned() + 1, 1), "{fault}");
    let receipts = folder.receipts()?;
    let [receipt] = receipts.as_slice() else {
        return Err(format!("{fault}: {} receipts", receipts.len()).into());
    };
    assert_eq!(text(receipt, "/track_id")?, repeat.track_id);
    assert_eq!(number(receipt, "/outcome_unknown_attempts")?, repeats, "{fault}");
    assert_eq!(number(receipt, "/attempts")?, repeats + 1, "{fault}");
    let listed = folder.json(&["receipts", "list", "--unknown", "--json"])?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{fault}");
    Ok(())
}

#[test]
fn a_connection_that_is_reset_after_the_request_is_repeated_with_the_same_bytes() -> Result {
    check_repeated("reset-after", 2)
}

#[test]
fn a_gateway_that_fails_behind_the_request_is_an_unknown_outcome() -> Result {
    for status in [500, 502, 504] {
        check_repeated(&format!("gateway={status}"), 1)?;
    }
    Ok(())
}

#[test]
fn a_far_end_that_has_no_time_has_taken_nothing() -> Result {
    for status in [425, 429, 503] {
        let folder = Folder::new()?;
        let sim = Sim::with_faults(&[&format!("status={status}x1")])?;
        folder.run_to_end(&Config::new(&sim.url(), STDIN), lines(0..10).as_bytes())?;
        sim.check_exactly_once(10)?;
        assert_eq!(folder.unknown_attempts()?, 0, "{status}");
    }
    Ok(())
}

#[test]
fn an_answer_that_does_not_come_in_time_is_an_unknown_outcome() -> Result {
    check_repeated("hang=20s", 2)
}

#[test]
fn a_readable_status_is_an_answer_even_when_its_body_is_not() -> Result {
    for fault in ["half-answer", "rubbish"] {
        let folder = Folder::new()?;
        let sim = Sim::with_faults(&[&format!("{fault}x1")])?;
        folder.run_to_end(&Config::new(&sim.url(), STDIN), lines(0..10).as_bytes())?;
        sim.check_exactly_once(10)?;
        assert_eq!(folder.unknown_attempts()?, 0, "{fault}");
    }
    Ok(())
}

#[test]
fn half_a_status_line_is_an_unknown_outcome() -> Result {
    for answer in ["", "H", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-le", "SSH-2.0-OpenSSH\r\n"] {
        let folder = Folder::new()?;
        let server = RawServer::start(move |number, _| match number {
            0 => Reply::BytesThenClose(answer.as_bytes().to_vec()),
            _ => Reply::success(),
        })?;
        folder.run_to_end(&Config::new(&server.url(), STDIN), lines(0..10).as_bytes())?;
        let requests = server.requests();
        let [first, second] = requests.as_slice() else {
            return Err(format!("{answer:?}: {} requests", requests.len()).into());
        };
        assert_eq!(first.body, second.body, "{answer:?}");
        assert_eq!(first.header("zuora-track-id"), second.header("zuora-track-id"));
        assert_eq!(folder.unknown_attempts()?, 1, "{answer:?}");
    }
    Ok(())
}

#[test]
fn a_server_that_never_says_anything_is_left_after_the_time_out() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|number, _| match number {
        0 => Reply::Silence,
        _ => Reply::success(),
    })?;
    let config = Config { request_timeout: "1500ms", ..Config::new(&server.url(), STDIN) };
    folder.run_to_end(&config, lines(0..10).as_bytes())?;
    assert_eq!(folder.unknown_attempts()?, 1);
    Ok(())
}

#[test]
fn a_run_that_was_killed_leaves_its_open_outcomes_on_record() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["hang=60sx1"])?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    sim.wait_events(10)?;
    agent.kill()?;
    let mut agent = folder.start()?;
    agent.wait_logged("the run before was cut off: these may be sent twice")?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    assert_eq!(folder.unknown_attempts()?, 1);
    let stats = sim.stats();
    assert_eq!((stats.repeats.len(), stats.repeats_altered), (1, 0));
    Ok(())
}
