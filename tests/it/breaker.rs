//! A source whose lines are suddenly bad is held: dead letters stay few, others go on, and so
//! does the source when its lines are good again.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::config::{self, STDIN, TCP};
use crate::harness::events::bulky_event;
use crate::harness::log_writer::LogWriter;
use crate::harness::wait::write_until_blocked;
use crate::harness::{Agent, Config, Folder, Result, Sim, event, lines, number, text, until};

const HELD: &str = "source held: too many of its lines are no events";
const GOES_ON: &str = "the source is not held any more";

/// Keys of a source that is held after 50 bad lines.
fn breaker(hold: &str) -> String {
    format!("invalid_window = 100\ninvalid_hold = \"{hold}\"\n")
}

/// Little room for what is read ahead.
fn small(sim: &Sim, sources: String) -> Config {
    Config {
        agent: "intake_bytes_max = \"256KiB\"".to_owned(),
        limits: "payload_bytes_max = \"64KiB\"".to_owned(),
        ..Config::new(&sim.url(), sources)
    }
}

/// What an application writes that has lost a field.
fn bad_lines(count: u64) -> String {
    let bad = |number| event(number).replace("CustomerId", "Customer") + "\n";
    (0..count).map(bad).collect()
}

/// Waits until `source` is in `state`, and gives the reason.
fn wait_source(folder: &Folder, source: &str, state: &str) -> Result<String> {
    until(&format!("{source} to be {state}"), || {
        let status = folder.status()?;
        let at = |key| text(&status, &format!("/sources/{source}/{key}"));
        // Right after a start nothing is on record yet.
        let is_there = at("state").is_ok_and(|found| found == state);
        Ok(if is_there { Some(at("reason")?.to_owned()) } else { None })
    })
}

fn wait_read(folder: &Folder, source: &str, count: i64) -> Result {
    until(&format!("{count} lines of {source}"), || {
        let read = number(&folder.status()?, &format!("/sources/{source}/read"))?;
        Ok((read == count).then_some(()))
    })
}

fn check_logged_once(agent: &Agent) -> Result {
    assert_eq!(agent.times_logged(HELD)?, 1, "{}", agent.log()?);
    assert_eq!(agent.times_logged(GOES_ON)?, 1, "{}", agent.log()?);
    Ok(())
}

#[test]
fn a_bad_deploy_holds_its_source_and_no_other_until_its_lines_are_good_again() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    let source = |name: &str, meter: &str| {
        config::file(&folder.path(name))
            .replace("sources.app", &format!("sources.{name}"))
            .replace("\"m\"", &format!("\"{meter}\""))
    };
    folder.configure(&Config::new(
        &sim.url(),
        format!(
            "{}{}{}{}[meters.other]\nglobal_id = \"g2\"\n",
            config::file(&logs.join("usage.jsonl")),
            breaker("100ms"),
            source("neighbour", "m"),
            source("stranger", "other"),
        ),
    ))?;
    let mut log = LogWriter::new(&logs)?;
    log.write(150)?;
    let mut agent = folder.start()?;
    sim.wait_events(150)?;
    assert_eq!(wait_source(&folder, "app", "reading")?, "");

    log.write_text(&bad_lines(200))?;
    let reason = wait_source(&folder, "app", "held")?;
    assert!(reason.contains("lines are dead letters"), "{reason}");
    let record = agent.wait_logged(HELD)?;
    assert_eq!(text(&record, "/source")?, "app");
    wait_read(&folder, "app", 350)?;
    // Probes that find more of the same do not end the hold, and nothing is said of them.
    for round in 1..=2 {
        log.write_text(&bad_lines(30))?;
        wait_read(&folder, "app", 350 + round * 30)?;
        assert_eq!(text(&folder.status()?, "/sources/app/state")?, "held");
    }
    std::fs::write(folder.path("neighbour"), lines(10_000..10_500))?;
    std::fs::write(folder.path("stranger"), lines(20_000..20_500))?;
    sim.wait_events(150 + 500 + 500)?;
    let shown = String::from_utf8(folder.command(&["status"])?.stdout)?;
    assert!(shown.lines().any(|line| line.starts_with("app") && line.contains("held")), "{shown}");

    // The application is mended.
    log.write(300)?;
    sim.wait_events(150 + 500 + 500 + 300)?;
    assert_eq!(wait_source(&folder, "app", "reading")?, "");
    folder.wait_counted("dead_lettered", 260)?;
    folder.wait_counted("delivered", 1450)?;
    agent.stop()?;
    check_logged_once(&agent)?;
    assert_eq!(number(&folder.status()?, "/sources/app/read")?, 150 + 260 + 300);
    assert!(sim.events().values().all(|times| *times == 1));
    let letters = folder.dead_letters()?;
    assert!(letters.iter().all(|letter| letter["source"] == "app"));
    Ok(())
}

#[test]
fn a_held_source_leaves_its_lines_where_they_are_through_a_stop() -> Result {
    const BAD: u64 = 20_000;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let file = folder.path("usage.jsonl");
    std::fs::write(&file, bad_lines(BAD) + &lines(0..500))?;
    folder.configure(&small(&sim, config::file(&file) + &breaker("1h")))?;
    let mut agent = folder.start()?;
    wait_source(&folder, "app", "held")?;
    let signalled = Instant::now();
    agent.stop()?;
    assert!(signalled.elapsed() < Duration::from_secs(10), "{:?}", signalled.elapsed());
    // What was read ahead fits the intake, beside one chunk that waited for room.
    let letters = folder.counted("dead_lettered")?.cast_unsigned();
    assert!((51..BAD / 2).contains(&letters), "{letters}");
    assert_eq!(folder.counted("read")?.cast_unsigned(), letters);

    // A start looks again, and is held again where it had come to.
    let mut agent = folder.start()?;
    agent.wait_logged(HELD)?;
    agent.stop()?;
    let more = folder.counted("dead_lettered")?.cast_unsigned();
    assert!((letters + 51..BAD).contains(&more), "{letters}, then {more}");

    // A person has decided that the rest are dead letters.
    let never = config::file(&file) + &breaker("1h") + "invalid_share_max = 1\n";
    folder.configure(&small(&sim, never))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 500)?;
    agent.stop()?;
    assert_eq!(agent.times_logged(HELD)?, 0);
    assert_eq!(folder.counted("dead_lettered")?.cast_unsigned(), BAD);
    sim.check_exactly_once(500)
}

#[test]
fn a_hang_up_ends_a_hold() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    let source = config::file(&logs.join("usage.jsonl")) + &breaker("1h");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut log = LogWriter::new(&logs)?;
    log.write_text(&bad_lines(60))?;
    let mut agent = folder.start()?;
    wait_source(&folder, "app", "held")?;
    log.write(200)?;
    agent.signal(Signal::HUP)?;
    sim.wait_events(200)?;
    wait_source(&folder, "app", "reading")?;
    agent.stop()?;
    check_logged_once(&agent)?;
    assert_eq!(folder.counted("dead_lettered")?, 60);
    sim.check_exactly_once(200)
}

#[test]
fn a_held_connection_makes_its_sender_wait_and_loses_nothing() -> Result {
    const BAD: u64 = 8000;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&small(&sim, format!("{TCP}{}", breaker("1h"))))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    let bad = |number| bulky_event(number, 2000).replace("CustomerId", "Customer") + "\n";
    let sent = (0..BAD).map(bad).collect::<String>() + &lines(0..500);
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let written = write_until_blocked(&mut stream, sent.as_bytes())?;
    assert!(written < sent.len(), "nothing made the sender wait");
    wait_source(&folder, "net", "held")?;
    let letters = folder.counted("dead_lettered")?.cast_unsigned();
    assert!((51..BAD / 4).contains(&letters), "{letters}");

    let rest = sent.into_bytes().split_off(written);
    stream.set_write_timeout(None)?;
    let writer = std::thread::Builder::new().spawn(move || stream.write_all(&rest))?;
    // Each time a little more becomes dead letters, until the good lines come.
    until("the good lines", || {
        agent.signal(Signal::HUP)?;
        Ok((sim.stats().distinct_ids == 500).then_some(()))
    })?;
    writer.join().map_err(|_| "the writer panicked")??;
    folder.wait_counted("delivered", 500)?;
    agent.stop()?;
    assert_eq!(folder.counted("dead_lettered")?.cast_unsigned(), BAD);
    sim.check_exactly_once(500)
}

/// A pipe cannot be read again: at a stop what lies in it passes, whatever it is.
#[test]
fn a_stop_reads_a_pipe_empty_though_it_is_held() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), format!("{STDIN}{}", breaker("1h"))))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(bad_lines(60).as_bytes())?;
    wait_source(&folder, "pipe", "held")?;
    agent.write(lines(0..50).as_bytes())?;
    agent.write(bad_lines(7).as_bytes())?;
    agent.stop()?;
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/read")?, 117, "{status}");
    assert_eq!(number(&status, "/equation/dead_lettered")?, 67, "{status}");
    assert_eq!(agent.times_logged(HELD)?, 1);
    Ok(())
}

#[test]
fn neither_a_share_of_one_nor_a_file_that_is_sent_is_ever_held() -> Result {
    const BAD: i64 = 3000;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let never = format!("{STDIN}{}invalid_share_max = 1.0\n", breaker("1h"));
    let agent = folder.run_to_end(&Config::new(&sim.url(), never), bad_lines(3000).as_bytes())?;
    assert_eq!(agent.times_logged(HELD)?, 0);
    assert_eq!(folder.counted("dead_lettered")?, BAD);

    let file = folder.path("sent.jsonl");
    std::fs::write(&file, bad_lines(3000) + &lines(0..1))?;
    let name = file.display().to_string();
    let output = folder.command(&["send", "--meter", "m", &name])?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(folder.counted("dead_lettered")?, 2 * BAD);
    sim.check_exactly_once(1)
}

#[test]
fn keys_with_wrong_values_are_told_all_at_once() -> Result {
    let folder = Folder::new()?;
    let keys = "invalid_share_max = 1.5\ninvalid_window = 0\ninvalid_hold = \"soon\"\n";
    folder.configure(&Config::new("http://127.0.0.1:1", format!("{STDIN}{keys}")))?;
    let output = folder.command(&["check"])?;
    assert_eq!(output.status.code(), Some(78));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said)?;
    for problem in [
        "sources.pipe.invalid_share_max: found 1.5, expected a number from 0 to 1",
        "sources.pipe.invalid_window: found 0, expected a whole number from 1 to 1000000",
        "sources.pipe.invalid_hold: found \"soon\", expected a duration",
    ] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    Ok(())
}
