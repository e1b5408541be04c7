//! Agents that send to an agent: sidecars, an aggregator, and the far end, with the same event ids
//! from end to end.

use rustix::process::Signal;

use crate::harness::config::{HTTP, STDIN};
use crate::harness::{Agent, Config, Folder, Result, Sim, lines, until};

/// An aggregator on a port that stays the same over its restarts.
struct Aggregator {
    folder: Folder,
    agent: Agent,
    url: String,
}

impl Aggregator {
    fn start(sim: &Sim) -> Result<Self> {
        let folder = Folder::new()?;
        folder.configure(&Config::new(&sim.url(), HTTP))?;
        let mut agent = folder.start()?;
        let address = agent.tcp_address()?;
        let source = HTTP.replace("127.0.0.1:0", &address.to_string());
        folder.configure(&Config::new(&sim.url(), source))?;
        Ok(Self { folder, agent, url: format!("http://{address}") })
    }

    /// SIGKILL, and a new start.
    fn cut_off(&mut self) -> Result {
        self.agent.kill()?;
        self.agent = self.folder.start()?;
        Ok(())
    }
}

/// A sidecar with a pipe.
struct Sidecar {
    folder: Folder,
    agent: Agent,
}

impl Sidecar {
    fn start(url: &str, name: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let config = Config::new(url, STDIN).text(&folder.state());
        std::fs::write(folder.config(), config.replace("\"it\"", &format!("\"{name}\"")))?;
        let agent = folder.start_with_pipe()?;
        Ok(Self { folder, agent })
    }

    /// Writes and waits until all of it is in the store.
    fn write(&mut self, numbers: std::ops::Range<u64>) -> Result {
        let before = self.folder.counted("read")?;
        let count = i64::try_from(numbers.end - numbers.start)?;
        self.agent.write(lines(numbers).as_bytes())?;
        self.folder.wait_counted("read", before + count).map(|_| ())
    }

    fn cut_off(&mut self) -> Result {
        self.agent.kill()?;
        self.agent = self.folder.start_with_pipe()?;
        Ok(())
    }
}

#[test]
fn sidecars_an_aggregator_and_the_far_end_agree_on_every_event() -> Result {
    const EVENTS_EACH: u64 = 2000;
    let sim = Sim::start()?;
    let mut aggregator = Aggregator::start(&sim)?;
    let mut sidecars = Vec::new();
    for number in 0..3 {
        sidecars.push(Sidecar::start(&aggregator.url, &format!("side-{number}"))?);
    }
    for (start, sidecar) in (0..).step_by(EVENTS_EACH.try_into()?).zip(&mut sidecars) {
        sidecar.write(start..start + EVENTS_EACH)?;
    }
    for sidecar in &mut sidecars {
        sidecar.folder.wait_counted("delivered", EVENTS_EACH.cast_signed())?;
        sidecar.agent.stop()?;
    }
    sim.wait_events(3 * EVENTS_EACH)?;
    aggregator.folder.wait_counted("delivered", (3 * EVENTS_EACH).cast_signed())?;
    aggregator.agent.stop()?;
    sim.check_exactly_once(3 * EVENTS_EACH)
}

#[test]
fn kills_of_a_sidecar_or_the_aggregator_lose_nothing_and_store_nothing_twice() -> Result {
    const ROUNDS: u64 = 12;
    const EVENTS: u64 = 500;
    let sim = Sim::start()?;
    let mut aggregator = Aggregator::start(&sim)?;
    let mut sidecar = Sidecar::start(&aggregator.url, "side")?;
    for round in 0..ROUNDS {
        sidecar.write(round * EVENTS..(round + 1) * EVENTS)?;
        // Somewhere between reading, sending, committing and hearing of it.
        match round % 3 {
            0 => aggregator.cut_off()?,
            1 => sidecar.cut_off()?,
            _ => {
                sidecar.cut_off()?;
                aggregator.cut_off()?;
            }
        }
    }
    let all = ROUNDS * EVENTS;
    sidecar.folder.wait_counted("delivered", all.cast_signed())?;
    // However often the sidecar had to ask again: the aggregator has each event once.
    let stored = aggregator.folder.counted("read")?;
    assert_eq!(stored, all.cast_signed());
    sim.wait_events(all)?;
    aggregator.folder.wait_counted("delivered", all.cast_signed())?;
    sidecar.agent.stop()?;
    aggregator.agent.stop()?;
    sim.check_complete(all)?;
    // What the far end has twice, the aggregator sent twice after an outcome that a kill hid.
    let twice = sim.events().values().filter(|times| **times > 1).count();
    assert!(twice == 0 || aggregator.folder.unknown_attempts()? > 0, "{twice}");
    Ok(())
}

#[test]
fn an_answer_that_is_lost_makes_the_sidecar_ask_again_and_the_aggregator_answer_again() -> Result {
    let sim = Sim::start()?;
    let mut aggregator = Aggregator::start(&sim)?;
    let mut sidecar = Sidecar::start(&aggregator.url, "side")?;
    // Stopped, it takes the request into the kernel's buffers only, and cannot answer.
    aggregator.agent.signal(Signal::STOP)?;
    sidecar.write(0..100)?;
    until("the sidecar to have sent", || {
        Ok((sidecar.folder.counted("stored")? == 100).then_some(()))
    })?;
    sidecar.agent.kill()?;
    aggregator.agent.signal(Signal::CONT)?;
    // Its client is gone; what it got whole it stores.
    sidecar.agent = sidecar.folder.start_with_pipe()?;
    sidecar.folder.wait_counted("delivered", 100)?;
    assert!(sidecar.folder.unknown_attempts()? > 0);
    sim.wait_events(100)?;
    aggregator.folder.wait_counted("delivered", 100)?;
    assert_eq!(aggregator.folder.counted("read")?, 100);
    sidecar.agent.stop()?;
    aggregator.agent.stop()?;
    sim.check_exactly_once(100)
}
