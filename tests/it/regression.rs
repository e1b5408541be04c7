//! One test for each bug that was found.

use std::fs;

use crate::harness::config::{STDIN, file};
use crate::harness::log_writer::LogWriter;
use crate::harness::{Config, Folder, Result, Sim, lines, text, until};
use crate::http::gzip;
use rustix::process::Signal;

/// The copy got no cursor before lines of the truncated log were committed: after a kill between
/// the two, nobody knew the copy any more.
#[test]
fn a_kill_after_a_truncation_does_not_forget_the_copy() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    folder.configure(&Config {
        limits: "events_per_request_max = 10".to_owned(),
        ..Config::new(&sim.url(), file(&logs.join("usage*.jsonl")))
    })?;
    let mut log = LogWriter::new(&logs)?;
    log.write(100)?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 100)?;
    agent.stop()?;
    // Written while nobody reads: these lines are in the copy only.
    log.write(3000)?;
    log.copy_and_truncate(false)?;
    log.write(6000)?;
    let mut agent = folder.start()?;
    until("anything new", || Ok((sim.stats().distinct_ids > 100).then_some(())))?;
    agent.kill()?;
    let mut agent = folder.start()?;
    let delivered = folder.wait_counted("delivered", log.next.cast_signed());
    sim.check_complete(log.next)?;
    delivered?;
    agent.stop()
}

/// Text that begins like a JSON value was called JSON that is no object.
#[test]
fn a_line_of_plain_text_is_invalid_json_whatever_it_begins_with() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let input = "2026-11-21 06:14:11 started\nno usage today\ntotal 12\n\"open\n[1,2\n";
    folder.run_to_end(&Config::new(&sim.url(), STDIN), input.as_bytes())?;
    let letters = folder.dead_letters()?;
    assert_eq!(letters.len(), 5);
    for letter in &letters {
        assert_eq!(text(letter, "/reason")?, "invalid_json", "{letter}");
    }
    Ok(())
}

/// SIGHUP ended the process at once: who asks for a reload does not ask for that.
#[test]
fn a_hang_up_does_not_end_the_daemon() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.signal(Signal::HUP)?;
    until("the signal to be heard", || agent.logged("configuration reloaded"))?;
    agent.write(lines(0..10).as_bytes())?;
    agent.close_stdin();
    agent.wait_success()?;
    sim.check_exactly_once(10)
}

/// A proxy in the environment was asked for loopback, too, and nothing was delivered.
#[test]
fn the_demo_adds_up_behind_a_proxy_that_is_not_there() -> Result {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_meterd"));
    command.args(["demo", "--events", "2000"]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:9");
    }
    let output = command.stdin(std::process::Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("it adds up"), "{text}");
    Ok(())
}

/// An archive that had been found cut off was not waited for once it was whole: what the log held before
/// its truncation was read again in it, under other ids.
#[test]
fn an_archive_that_was_cut_off_is_waited_for_when_its_log_is_truncated() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let logs = folder.directory("logs")?;
    folder.configure(&Config::new(&sim.url(), file(&logs.join("usage.jsonl*"))))?;
    let (log, archive) = (logs.join("usage.jsonl"), logs.join("usage.jsonl.1.gz"));
    fs::write(&log, lines(0..1000))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 1000)?;
    let packed = gzip(lines(0..1000).as_bytes())?;
    fs::write(&archive, &packed[..packed.len() / 2])?;
    agent.wait_logged("a compressed file is cut off or damaged")?;
    fs::write(&archive, &packed)?;
    fs::write(&log, lines(1000..1010))?;
    agent.wait_logged("the file was compressed")?;
    folder.wait_counted("delivered", 1010)?;
    agent.stop()?;
    sim.check_exactly_once(1010)
}
