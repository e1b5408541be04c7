//! SIGHUP: another configuration for a running daemon, all of it or nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use meterd::simulator::Settings;
use rustix::process::Signal;

use crate::harness::agent::Input;
use crate::harness::config::{STDIN, TCP, file, file_of};
use crate::harness::log_writer::LogWriter;
use crate::harness::{Agent, Config, Folder, Result, Sim, lines, text, until};

pub(crate) const RELOADED: &str = "configuration reloaded";
pub(crate) const REFUSED: &str = "configuration refused, the one before stays in force";

/// Has the daemon read its configuration again, and waits until what it says comes once more.
pub(crate) fn reload(agent: &Agent, says: &str) -> Result {
    let before = agent.times_logged(says)?;
    agent.signal(Signal::HUP)?;
    until(&format!("the log to say {says:?} again"), || {
        Ok((agent.times_logged(says)? > before).then_some(()))
    })
}

/// The problems for which reloads were refused.
pub(crate) fn problems(agent: &Agent) -> Result<Vec<String>> {
    let refused = agent.all_logged(REFUSED)?;
    refused.iter().map(|record| Ok(text(record, "/problem")?.to_owned())).collect()
}

#[test]
fn a_connection_survives_a_reload_that_changes_its_meter() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let acked = format!("{TCP}ack = true\n");
    let config = Config::new(&sim.url(), acked);
    folder.configure(&config)?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    let mut acks = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(lines(0..10).as_bytes())?;
    sim.wait_events(10)?;
    let strict = "event_id_field = \"EventId\"\nunknown_fields = \"reject\"\n[meters.m.schema]\n\
                  fields = [{ name = \"CustomerId\", type = \"string\", required = true }]";
    folder.configure(&Config { meter: strict.to_owned(), ..config.clone() })?;
    reload(&agent, RELOADED)?;
    // The same connection, and the schema of now.
    stream.write_all(lines(10..15).as_bytes())?;
    folder.wait_counted("dead_lettered", 5)?;
    folder.configure(&config)?;
    reload(&agent, RELOADED)?;
    stream.write_all(lines(15..20).as_bytes())?;
    sim.wait_events(15)?;
    // All its lines were acknowledged, dead letters included.
    let last = acks.find(|ack| ack.as_ref().map_or(true, |ack| ack == r#"{"durable":20}"#));
    last.ok_or("no acknowledgement")??;
    assert_eq!(agent.times_logged("listening")?, 1);
    agent.stop()
}

#[test]
fn sources_and_meters_come_change_and_go_and_each_line_counts_once() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let logs = folder.directory("logs")?;
    let mut writer = LogWriter::new(&logs)?;
    let app = file(&logs.join("usage*.jsonl"));
    // A new port is beyond a sandbox; what it says to that is tested with it.
    let agent = "sandbox = false".to_owned();
    let config = Config { agent, ..Config::new(&sim.url(), app.clone()) };
    folder.configure(&config)?;
    let mut agent = folder.start()?;
    writer.write(100)?;
    sim.wait_events(100)?;
    // It goes on where it was, and a meter and a listener are new.
    let more = format!("{app}line_bytes_max = \"64KiB\"\n{TCP}[meters.n]\nglobal_id = \"g1\"\n");
    folder.configure(&Config {
        sources: more.replace("meter = \"m\"\nlisten", "meter = \"n\"\nlisten"),
        ..config.clone()
    })?;
    reload(&agent, RELOADED)?;
    writer.write(100)?;
    let address = agent.tcp_address()?;
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(lines(1000..1100).as_bytes())?;
    sim.wait_events(300)?;
    // The listener is gone, the file is not read for a while.
    folder.configure(&Config {
        sources: file_of("other", "m", &folder.path("none")),
        ..config.clone()
    })?;
    reload(&agent, RELOADED)?;
    until("the listener to be closed", || Ok(TcpStream::connect(address).is_err().then_some(())))?;
    writer.write(100)?;
    folder.configure(&config)?;
    reload(&agent, RELOADED)?;
    sim.wait_events(400)?;
    agent.stop()?;
    let status = folder.status()?;
    assert_eq!(status.pointer("/equation/read").and_then(serde_json::Value::as_i64), Some(400));
    let events = sim.events();
    assert!(events.len() == 400 && events.values().all(|times| *times == 1));
    Ok(())
}

#[test]
fn a_listener_that_changes_keeps_its_socket() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let net = |rest: &str| {
        format!(
            "[sources.net]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"{free}\"\nack = true\n{rest}"
        )
    };
    let socket = format!(
        "[sources.local]\ntype = \"unix\"\nmeter = \"m\"\npath = \"{}\"\n",
        folder.path("usage.sock").display()
    );
    folder.configure(&Config::new(&sim.url(), net("") + &socket))?;
    let mut agent = folder.start()?;
    let mut first = TcpStream::connect(free)?;
    first.write_all(lines(0..10).as_bytes())?;
    let changed = net("connections_max = 7\n") + &socket + "connections_max = 7\n";
    folder.configure(&Config::new(&sim.url(), changed))?;
    reload(&agent, RELOADED)?;
    // Drained in order: all that it has taken is acknowledged before the end.
    let acks: Vec<String> = BufReader::new(first).lines().collect::<std::io::Result<_>>()?;
    assert_eq!(acks.last().map(String::as_str), Some(r#"{"durable":10}"#));
    let mut second = TcpStream::connect(free)?;
    second.write_all(lines(10..20).as_bytes())?;
    let mut local = std::os::unix::net::UnixStream::connect(folder.path("usage.sock"))?;
    local.write_all(lines(20..30).as_bytes())?;
    sim.wait_events(30)?;
    agent.stop()?;
    assert!(!folder.path("usage.sock").exists());
    sim.check_exactly_once(30)
}

#[test]
fn a_bad_configuration_is_refused_with_every_problem_and_the_old_one_goes_on() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let log = folder.path("usage.jsonl");
    // What cannot be bound is for the system to say, not for a sandbox.
    let agent = "sandbox = false".to_owned();
    let config = Config { agent, ..Config::new(&sim.url(), file(&log)) };
    folder.configure(&config)?;
    let notify = folder.path("notify");
    let socket = UnixDatagram::bind(&notify)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let notify = notify.display().to_string();
    let environment = [("NOTIFY_SOCKET", notify.as_str())];
    let mut agent =
        Agent::spawn_with(&folder.config(), folder.as_ref(), Input::None, &environment)?;
    agent.wait_ready()?;

    let bad = Config { meter: "colour = 1\nevent_age_max = \"soon\"".to_owned(), ..config.clone() };
    folder.configure(&bad)?;
    reload(&agent, REFUSED)?;
    until("both problems", || Ok((problems(&agent)?.len() == 2).then_some(())))?;
    let said = problems(&agent)?;
    assert!(said[0].contains("meters.m.colour") && said[1].contains("meters.m.event_age_max"));

    // What cannot change is refused, and what cannot be had; what could be is not begun either.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let busy = format!(
        "{}{TCP}[sources.busy]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"{}\"\n",
        file(&log),
        taken.local_addr()?
    );
    folder.configure(&Config { sources: busy, ..config.clone() })?;
    reload(&agent, REFUSED)?;
    let last = problems(&agent)?.pop().ok_or("no problem")?;
    assert!(last.starts_with("sources.busy: cannot listen on"), "{last}");
    assert!(agent.logged("listening")?.is_none());
    let stdin = format!("{}{STDIN}", file(&log));
    folder.configure(&Config { sources: stdin, ..config })?;
    reload(&agent, REFUSED)?;
    let last = problems(&agent)?.pop().ok_or("no problem")?;
    assert!(last.starts_with("sources.pipe: "), "{last}");
    assert!(agent.logged(RELOADED)?.is_none());

    std::fs::write(&log, lines(0..10))?;
    sim.wait_events(10)?;
    // Each reload was framed, and the status says that the last one was refused.
    let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
    until("the status", || {
        let length = socket.recv(&mut buffer)?;
        heard.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
        let is_told = heard.last().is_some_and(|told| told.contains("reload refused: 1 problem"));
        let ready = heard.iter().filter(|told| told.contains("READY=1")).count();
        Ok((is_told && ready == 4).then_some(()))
    })?;
    let begun = |told: &&String| told.contains("RELOADING=1") && told.contains("MONOTONIC_USEC=");
    assert_eq!(heard.iter().filter(begun).count(), 3, "{heard:?}");
    agent.stop()?;
    sim.check_exactly_once(10)
}

#[test]
fn the_log_changes_its_level_and_its_format() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&Config::new(&sim.url(), TCP))?;
    let mut agent = folder.start()?;
    let change = |from: &str, to: &str| -> Result {
        let text = std::fs::read_to_string(folder.config())?;
        assert!(text.contains(from), "{text}");
        Ok(std::fs::write(folder.config(), text.replace(from, to))?)
    };
    change("level = \"info\"", "level = \"error\"")?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged("reading the configuration again")?;
    change("level = \"error\"", "level = \"info\"\ncolour = 1")?;
    // Errors are still told, and nothing else: not that it was reloaded.
    reload(&agent, REFUSED)?;
    assert!(agent.logged(RELOADED)?.is_none());
    change("\ncolour = 1", "")?;
    change("format = \"json\"", "format = \"text\"")?;
    agent.signal(Signal::HUP)?;
    until("a line of text", || {
        let log = agent.log()?;
        let is_text = |line: &str| line.contains(RELOADED) && !line.starts_with('{');
        Ok(log.lines().any(is_text).then_some(()))
    })?;
    agent.stop()
}

#[test]
fn a_secret_that_was_changed_ends_the_hold_for_the_wrong_one() -> Result {
    let folder = Folder::new()?;
    let credentials = Some(("agent".to_owned(), "right".to_owned()));
    let sim = Sim::with_settings(Settings { credentials, ..Settings::default() })?;
    let log = folder.path("usage.jsonl");
    std::fs::write(folder.path("secret"), "wrong\n")?;
    folder.configure(&Config {
        auth: "client_id = \"agent\"\nclient_secret_file = \"secret\"".to_owned(),
        delivery: "hold_interval = \"1h\"".to_owned(),
        ..Config::new(&sim.url(), file(&log))
    })?;
    let mut agent = folder.start()?;
    std::fs::write(&log, lines(0..10))?;
    folder.wait_state("held")?;
    std::fs::write(folder.path("secret"), "right\n")?;
    reload(&agent, RELOADED)?;
    folder.wait_counted("delivered", 10)?;
    folder.wait_state("running")?;
    // Nothing has changed now: the token that there is stays in use.
    let calls = sim.stats().token_calls;
    reload(&agent, RELOADED)?;
    std::fs::write(&log, lines(0..20))?;
    folder.wait_counted("delivered", 20)?;
    assert_eq!(sim.stats().token_calls, calls);
    agent.stop()?;
    sim.check_exactly_once(20)
}

#[test]
fn events_of_a_meter_that_is_gone_wait_until_it_is_back() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::with_faults(&["status=403"])?);
    let (log, other) = (folder.path("usage.jsonl"), folder.path("other.jsonl"));
    let both =
        format!("{}[meters.n]\nglobal_id = \"g2\"\n{}", file(&log), file_of("other", "n", &other));
    let with = Config::new(&sim.url(), both);
    let without = Config::new(&sim.url(), file(&log));
    folder.configure(&with)?;
    let mut agent = folder.start()?;
    std::fs::write(&other, lines(0..10))?;
    folder.wait_counted("stored", 10)?;
    folder.configure(&without)?;
    reload(&agent, RELOADED)?;
    agent.wait_logged("events of a meter wait that is not configured any more")?;
    let reason = until("the hold", || {
        let status = folder.status()?;
        let is_held = text(&status, "/meters/n/state")? == "held";
        Ok(if is_held { Some(text(&status, "/meters/n/reason")?.to_owned()) } else { None })
    })?;
    assert!(!reason.is_empty());
    sim.replace_faults(&[])?;
    std::fs::write(&log, lines(10..20))?;
    folder.wait_counted("delivered", 10)?;
    assert_eq!(folder.counted("stored")?, 10);
    folder.configure(&with)?;
    reload(&agent, RELOADED)?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()
}

#[test]
fn more_requests_at_one_time_are_on_record_before_they_leave() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::with_faults(&["hang=3600s"])?);
    let log = folder.path("usage.jsonl");
    let limited = |in_flight: u32| {
        let limits = format!("requests_in_flight_max = {in_flight}\nevents_per_request_max = 10");
        Config { limits, ..Config::new(&sim.url(), file(&log)) }
    };
    folder.configure(&limited(1))?;
    let mut agent = folder.start()?;
    std::fs::write(&log, lines(0..100))?;
    sim.wait_requests(1)?;
    folder.configure(&limited(4))?;
    reload(&agent, RELOADED)?;
    sim.wait_requests(4)?;
    folder.wait_counted("stored", 100)?;
    agent.kill()?;
    sim.replace_faults(&[])?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 100)?;
    agent.stop()?;
    // As many as may have been under way are marked.
    assert_eq!(folder.unknown_attempts()?, 4);
    Ok(())
}

#[test]
fn a_stop_comes_through_a_reload() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let log = folder.path("usage.jsonl");
    std::fs::write(&log, lines(0..1000))?;
    let config = Config::new(&sim.url(), file(&log));
    let changed = file(&log) + "line_bytes_max = \"64KiB\"\n";
    for round in 0..10 {
        let is_changed = round % 2 == 1;
        folder.configure(&if is_changed {
            Config { sources: changed.clone(), ..config.clone() }
        } else {
            config.clone()
        })?;
        let mut agent = folder.start()?;
        folder.configure(&Config { sources: changed.clone() + TCP, ..config.clone() })?;
        agent.signal(Signal::HUP)?;
        agent.stop()?;
    }
    folder.configure(&config)?;
    let mut agent = folder.start()?;
    sim.wait_events(1000)?;
    agent.stop()?;
    sim.check_exactly_once(1000)
}
