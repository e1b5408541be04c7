//! What a service manager hears. What systemd makes of it is tried by `tests/system/run`.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::agent::Input;
use crate::harness::config::TCP;
use crate::harness::{Agent, Config, Folder, Result, Sim, until};

/// Everything that is told, until it is `wanted`.
fn hear(socket: &UnixDatagram, wanted: &str) -> Result<Vec<String>> {
    let mut heard = Vec::new();
    let mut buffer = [0; 1024];
    until(wanted, || {
        let length = socket.recv(&mut buffer)?;
        let told = String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned();
        let is_wanted = told.contains(wanted);
        heard.push(told);
        Ok(is_wanted.then_some(()))
    })
    .map_err(|error| format!("{error}, heard {heard:?}"))?;
    Ok(heard)
}

#[test]
fn it_is_ready_makes_progress_tells_what_waits_and_stops() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&Config::new(&sim.url(), TCP))?;
    let path = folder.path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let path = path.display().to_string();
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "600000")];
    let directory = folder.path("");
    let mut agent = Agent::spawn_with(&folder.config(), &directory, Input::None, &environment)?;
    agent.wait_ready()?;
    hear(&socket, "READY=1")?;
    hear(&socket, "STATUS=0 events wait, 0 dead letters")?;
    for _ in 0..3 {
        hear(&socket, "WATCHDOG=1")?;
    }
    agent.signal(Signal::TERM)?;
    let heard = hear(&socket, "STOPPING=1")?;
    agent.wait_success()?;
    assert!(!heard.iter().any(|told| told.contains("READY=1")), "{heard:?}");
    Ok(())
}
