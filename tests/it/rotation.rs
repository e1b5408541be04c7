//! Files under the hands of their writers: rotations, many files, and what idling costs.

use std::io::Write;
use std::time::Duration;

use crate::harness::config::file;
use crate::harness::log_writer::LogWriter;
use crate::harness::{Config, Folder, Result, Sim, lines, pause, until};

/// Writes and rotates with `rotate`, waiting before each rotation until the file is known.
fn follow(rotate: impl Fn(&mut LogWriter, bool) -> Result, rotations: u32) -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    folder.configure(&Config::new(&sim.url(), file(&logs.join("usage*.jsonl"))))?;
    let mut agent = folder.start()?;
    let mut log = LogWriter::new(&logs)?;
    for rotation in 0..rotations {
        for _ in 0..5 {
            log.write(200)?;
            log.write_in_parts(400, || pause(Duration::from_millis(5)))?;
        }
        let first = log.first_in_file;
        until("the file to be known", || Ok(sim.has_event(first).then_some(())))?;
        log.write(500)?;
        rotate(&mut log, rotation % 2 == 0)?;
    }
    log.write(100)?;
    folder.wait_counted("delivered", log.next.cast_signed())?;
    agent.stop()?;
    sim.check_exactly_once(log.next)?;
    assert_eq!(folder.counted("read")?, log.next.cast_signed());
    assert_eq!(folder.counted("dead_lettered")?, 0);
    Ok(())
}

#[test]
fn a_log_that_is_renamed_again_and_again_is_read_once() -> Result {
    follow(LogWriter::rename, 8)
}

#[test]
fn a_log_that_is_copied_and_truncated_is_read_once() -> Result {
    follow(LogWriter::copy_and_truncate, 6)
}

#[test]
fn rotations_while_the_agent_is_down_lose_and_repeat_nothing() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    folder.configure(&Config::new(&sim.url(), file(&logs.join("usage*.jsonl"))))?;
    let mut log = LogWriter::new(&logs)?;
    for round in 0..6 {
        log.write(300)?;
        let mut agent = folder.start()?;
        until("the file to be known", || Ok(sim.has_event(log.first_in_file).then_some(())))?;
        if round % 2 == 0 {
            agent.stop()?;
        } else {
            agent.kill()?;
        }
        log.write(300)?;
        log.rename(round % 3 == 0)?;
        log.write(50)?;
    }
    let mut agent = folder.start()?;
    folder.wait_counted("read", log.next.cast_signed())?;
    folder.wait_counted("delivered", log.next.cast_signed())?;
    agent.stop()?;
    sim.check_complete(log.next)?;
    assert_eq!(sim.stats().repeats_altered, 0);
    Ok(())
}

#[test]
fn a_log_that_is_copied_and_truncated_while_the_agent_is_down_is_read_once() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    folder.configure(&Config::new(&sim.url(), file(&logs.join("usage*.jsonl"))))?;
    let mut log = LogWriter::new(&logs)?;
    for round in 0..4 {
        log.write(300)?;
        let mut agent = folder.start()?;
        folder.wait_counted("delivered", log.next.cast_signed())?;
        agent.stop()?;
        log.write(300)?;
        log.copy_and_truncate(round % 2 == 0)?;
        log.write(50)?;
    }
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", log.next.cast_signed())?;
    agent.stop()?;
    sim.check_exactly_once(log.next)
}

#[test]
fn an_unfinished_last_line_waits_for_its_end_over_a_restart() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let path = folder.path("usage.jsonl");
    let text = lines(0..10);
    let (start, rest) = text.split_at(text.len() - 40);
    std::fs::write(&path, start)?;
    folder.configure(&Config::new(&sim.url(), file(&path)))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 9)?;
    agent.stop()?;
    assert_eq!(folder.counted("read")?, 9);
    let mut agent = folder.start()?;
    std::fs::OpenOptions::new().append(true).open(&path)?.write_all(rest.as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    sim.check_exactly_once(10)
}

#[test]
fn reading_from_the_end_leaves_out_what_was_there_before() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let path = folder.path("usage.jsonl");
    std::fs::write(&path, lines(1_000_000..1_001_000))?;
    folder.configure(&Config::new(
        &sim.url(),
        format!("{}read_from = \"end\"\n", file(&folder.path("usage*.jsonl"))),
    ))?;
    let mut agent = folder.start()?;
    let store = rusqlite::Connection::open(folder.state().join("meterd.db"))?;
    until("the file to be known", || {
        let known = "SELECT count(*) FROM cursors";
        let known: i64 = store.query_row(known, [], |row| row.get(0))?;
        Ok((known > 0).then_some(()))
    })?;
    // A file that comes later is read whole.
    std::fs::write(folder.path("usage-later.jsonl"), lines(0..10))?;
    sim.wait_events(10)?;
    std::fs::OpenOptions::new().append(true).open(&path)?.write_all(lines(10..20).as_bytes())?;
    sim.wait_events(20)?;
    agent.stop()?;
    sim.check_exactly_once(20)
}

#[test]
fn a_hundred_files_are_read_and_cost_nothing_while_they_are_quiet() -> Result {
    const FILES: u64 = 100;
    const EACH: u64 = 100;
    /// Ticks are hundredths of a second: 1 % of five seconds.
    const TICKS_MAX: u64 = 5;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let logs = folder.directory("logs")?;
    for number in 0..FILES {
        let text = lines(number * EACH..(number + 1) * EACH);
        std::fs::write(logs.join(format!("{number}.jsonl")), text)?;
    }
    // The usual interval: the price of idling depends on it.
    let sources = file(&logs.join("*.jsonl")).replace("poll_interval = \"100ms\"\n", "");
    folder.configure(&Config::new(&sim.url(), sources))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", (FILES * EACH).cast_signed())?;
    // A regression guard: one of a few windows has to be quiet, whatever the machine does.
    let mut windows = Vec::new();
    for _ in 0..3 {
        let before = agent.processor_ticks()?;
        pause(Duration::from_secs(5));
        windows.push(agent.processor_ticks()? - before);
        if windows.iter().any(|ticks| *ticks <= TICKS_MAX) {
            break;
        }
    }
    assert!(windows.iter().any(|ticks| *ticks <= TICKS_MAX), "{windows:?} ticks in 5 s each");
    agent.stop()?;
    sim.check_exactly_once(FILES * EACH)
}
