//! What the server asked for holds after the agent that it was said to has ended.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::config::{STDIN, file};
use crate::harness::{Config, Folder, RawServer, Reply, Request, Result, lines};

const ASKED: Duration = Duration::from_secs(3);

/// Which meter a request is for.
fn meter(request: &Request) -> &'static str {
    if request.line.contains("g2") { "g2" } else { "g1" }
}

/// A first request that is answered with `status`, an end by `signal`, a start with events of
/// another meter as well; gives the meters of all requests in order, and how long after the first
/// one the second came.
fn restart_after(status: &'static str, signal: Signal) -> Result<(Vec<&'static str>, Duration)> {
    let folder = Folder::new()?;
    let server = RawServer::start(move |number, _| match number {
        0 => Reply::answer(status, "Retry-After: 3\r\n", ""),
        _ => Reply::success(),
    })?;
    let log = folder.path("other.jsonl");
    let other = file(&log).replace("\"m\"", "\"other\"");
    let sources = format!("{STDIN}[meters.other]\nglobal_id = \"g2\"\n{other}");
    folder.configure(&Config::new(&server.url(), sources))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_state("retrying")?;
    agent.signal(signal)?;
    agent.wait()?;
    std::fs::write(log, lines(10..20))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()?;
    let requests = server.requests();
    let [first, second, _] = requests.as_slice() else {
        return Err(format!("{status}: {} requests", requests.len()).into());
    };
    let repeat = requests.iter().skip(1).find(|request| meter(request) == "g1");
    let repeat = repeat.ok_or("no repeat")?;
    assert_eq!(first.body, repeat.body, "{status}");
    assert!(repeat.at - first.at >= ASKED, "{status} {signal:?} {:?}", repeat.at - first.at);
    Ok((requests.iter().map(meter).collect(), second.at - first.at))
}

#[test]
fn a_meter_that_was_asked_to_wait_waits_after_a_restart_and_no_other_does() -> Result {
    for signal in [Signal::KILL, Signal::TERM] {
        let (meters, _) = restart_after("503 Service Unavailable", signal)?;
        assert_eq!(meters, ["g1", "g2", "g1"], "{signal:?}");
    }
    Ok(())
}

#[test]
fn a_tenant_that_was_over_its_rate_sends_nothing_after_a_restart_before_its_time() -> Result {
    for signal in [Signal::KILL, Signal::TERM] {
        let (_, pause) = restart_after("429 Too Many Requests", signal)?;
        assert!(pause >= ASKED, "{signal:?} {pause:?}");
    }
    Ok(())
}
