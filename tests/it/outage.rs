//! The far end is not there: everything waits in the store, and memory does not grow.

use crate::harness::config::STDIN;
use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, lines};

/// Debug builds included.
const MEMORY_BYTES_MAX: u64 = 150 << 20;

#[test]
fn an_outage_during_the_whole_input_costs_neither_events_nor_memory() -> Result {
    const EVENTS: u64 = 120_000;
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    folder.configure(&Config::new(&port.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    let mut stdin = agent.take_stdin()?;
    for start in (0..EVENTS).step_by(10_000) {
        std::io::Write::write_all(&mut stdin, lines(start..start + 10_000).as_bytes())?;
    }
    drop(stdin);
    folder.wait_counted("stored", EVENTS.cast_signed())?;
    let reason = folder.wait_state("retrying")?;
    assert!(reason.contains("connect"), "{reason}");
    assert!(agent.memory("VmHWM")? < MEMORY_BYTES_MAX, "{}", agent.memory("VmHWM")?);
    let sim = Sim::on(port)?;
    // The input has ended, so the agent ends with the last delivery.
    folder.wait_counted("delivered", EVENTS.cast_signed())?;
    agent.wait_success()?;
    sim.check_exactly_once(EVENTS)?;
    assert_eq!(folder.unknown_attempts()?, 0);
    Ok(())
}

#[test]
fn a_restart_in_the_middle_of_an_outage_changes_nothing() -> Result {
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    folder.configure(&Config::new(&port.url(), STDIN))?;
    for run in 0..3 {
        let mut agent = folder.start_with_pipe()?;
        agent.write(lines(run * 1000..(run + 1) * 1000).as_bytes())?;
        folder.wait_counted("stored", (run + 1).cast_signed() * 1000)?;
        agent.stop()?;
    }
    let sim = Sim::on(port)?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 3000)?;
    agent.stop()?;
    sim.check_exactly_once(3000)?;
    assert_eq!(folder.unknown_attempts()?, 0);
    Ok(())
}
