//! The status in a terminal.

use std::num::NonZero;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::config::STDIN;
use crate::harness::terminal::Terminal;
use crate::harness::{Config, Folder, Result, Sim, event, lines};

fn size(rows: u16, columns: u16) -> Result<[NonZero<u16>; 2]> {
    Ok([NonZero::try_from(rows)?, NonZero::try_from(columns)?])
}

fn top(folder: &Folder, rows: u16, columns: u16) -> Result<Terminal> {
    Terminal::run(folder.prepare(&["top"]), size(rows, columns)?)
}

#[test]
fn the_terminal_shows_what_happens_and_is_given_back() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    let mut terminal = top(&folder, 30, 120)?;
    terminal.wait("All is well")?;
    terminal.wait("read 10 = delivered 10 + dead-lettered 0")?;
    terminal.wait("in, a second")?;

    sim.replace_faults(&["status=403"])?;
    let wrong = event(1)
        .replace("api-call", "\\u001b[2J")
        .replace("\"Quantity\":", "\"Quantity\":\"x\",\"Was\":");
    agent.write(format!("{}{wrong}\n", lines(10..15)).as_bytes())?;
    terminal.wait("meter m is held: 403")?;
    terminal.wait("Look at the rights of the client")?;
    terminal.wait("waiting 5 ")?;
    terminal.wait("dead letters 1 ")?;
    // Narrower: still the state first, and nothing of the old width is left.
    terminal.resize(size(20, 60)?)?;
    terminal.wait("meter m is held: 403")?;
    sim.replace_faults(&[])?;
    terminal.wait("a dead letter waits for a decision")?;
    terminal.wait("delivered 15")?;
    terminal.press(b"q")?;
    assert_eq!(terminal.wait_restored()?, Some(0));
    agent.stop()
}

#[test]
fn every_end_gives_the_terminal_back() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.run_to_end(&Config::new(&sim.url(), STDIN), lines(0..3).as_bytes())?;
    for keys in [b"\x1b".as_slice(), b"\x03"] {
        let mut terminal = top(&folder, 24, 80)?;
        terminal.wait("delivered 3")?;
        terminal.press(keys)?;
        assert_eq!(terminal.wait_restored()?, Some(0), "{keys:?}");
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = top(&folder, 24, 80)?;
        terminal.wait("delivered 3")?;
        let process = Pid::from_raw(terminal.child.id().cast_signed()).ok_or("no process id")?;
        kill_process(process, signal)?;
        assert_eq!(terminal.wait_restored()?, Some(0), "{signal:?}");
    }
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_use() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.run_to_end(&Config::new(&sim.url(), STDIN), b"")?;
    let output = folder.command(&["top"])?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr)?.contains("meterd status"));
    Ok(())
}
