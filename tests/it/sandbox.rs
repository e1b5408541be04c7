//! Landlock: the daemon reaches what its configuration named at the start, and nothing else.
//!
//! Every other test runs in the sandbox as well: it is on unless it is switched off.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::config::file;
use crate::harness::log_writer::LogWriter;
use crate::harness::{Agent, Config, Folder, Result, Sim, lines, text, until};

const HOLDS: &str = "the sandbox holds";
const DENIED: &str = "cannot read the file, trying again";
const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "configuration refused, the one before stays in force";

/// Whether the kernel has what is tested; says loudly that it has not.
fn holds(agent: &Agent) -> Result<bool> {
    if agent.logged("no sandbox: this kernel has no Landlock")?.is_some() {
        writeln!(std::io::stderr(), "SKIPPED: this kernel has no Landlock")?;
        return Ok(false);
    }
    assert_eq!(agent.times_logged(HOLDS)?, 1, "{}", agent.log()?);
    Ok(true)
}

/// Has the configuration read again, which is refused; gives the last problems.
fn refused(agent: &Agent, count: usize) -> Result<Vec<String>> {
    let before = agent.times_logged(REFUSED)?;
    agent.signal(Signal::HUP)?;
    until("the reload to be refused", || {
        Ok((agent.times_logged(REFUSED)? == before + count).then_some(()))
    })?;
    let last = agent.all_logged(REFUSED)?.split_off(before);
    last.iter().map(|record| Ok(text(record, "/problem")?.to_owned())).collect()
}

#[test]
fn a_link_to_elsewhere_is_denied_until_a_restart_and_nothing_is_lost() -> Result {
    let (folder, elsewhere, sim) = (Folder::new()?, Folder::new()?, Sim::start()?);
    let logs = folder.directory("logs")?;
    let mut writer = LogWriter::new(&logs)?;
    folder.configure(&Config::new(&sim.url(), file(&logs.join("*.jsonl"))))?;
    let mut agent = folder.start()?;
    if !holds(&agent)? {
        return Ok(());
    }
    writer.write(10)?;
    sim.wait_events(10)?;
    let secret = elsewhere.path("secret.jsonl");
    fs::write(&secret, lines(1000..1010))?;
    symlink(&secret, logs.join("link.jsonl"))?;
    let denied = agent.wait_logged(DENIED)?;
    assert_eq!(text(&denied, "/path")?, secret.display().to_string());
    assert!(text(&denied, "/error")?.contains("Permission denied"), "{denied}");
    // The other files go on, and a reload changes nothing of it.
    writer.write(10)?;
    folder.wait_counted("delivered", 20)?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged(RELOADED)?;
    writer.write(10)?;
    folder.wait_counted("delivered", 30)?;
    assert_eq!(folder.counted("read")?, 30);
    agent.stop()?;
    // What links lead to at the start is let in.
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 40)?;
    assert!(agent.logged(DENIED)?.is_none());
    agent.stop()?;
    let events = sim.events();
    assert!(events.len() == 40 && events.values().all(|times| *times == 1));
    Ok(())
}

#[test]
fn a_far_end_is_found_by_its_name() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let logs = folder.directory("logs")?;
    fs::write(logs.join("a.jsonl"), lines(0..10))?;
    let url = sim.url().replace("127.0.0.1", "localhost");
    folder.configure(&Config::new(&url, file(&logs.join("*.jsonl"))))?;
    let mut agent = folder.start()?;
    holds(&agent)?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    sim.check_exactly_once(10)
}

#[test]
fn more_directories_can_be_named_and_the_sandbox_switched_off() -> Result {
    for (agent, message) in [
        ("sandbox_read = [\"ELSEWHERE\"]", HOLDS),
        ("sandbox = false", "no sandbox: agent.sandbox is false"),
    ] {
        let (folder, elsewhere, sim) = (Folder::new()?, Folder::new()?, Sim::start()?);
        let pods = elsewhere.directory("pods")?;
        let agent = agent.replace("ELSEWHERE", &pods.display().to_string());
        let logs = folder.directory("logs")?;
        let sources = file(&logs.join("*.jsonl"));
        folder.configure(&Config { agent, ..Config::new(&sim.url(), sources) })?;
        let mut agent = folder.start()?;
        if message == HOLDS && !holds(&agent)? {
            continue;
        }
        assert_eq!(agent.times_logged(message)?, 1);
        fs::create_dir(pods.join("uid"))?;
        fs::write(pods.join("uid/0.log"), lines(0..10))?;
        symlink(pods.join("uid/0.log"), logs.join("app.jsonl"))?;
        sim.wait_events(10)?;
        agent.stop()?;
        sim.check_exactly_once(10)?;
    }
    Ok(())
}

#[test]
fn a_reload_that_needs_more_is_refused_and_says_what() -> Result {
    let (folder, elsewhere, sim) = (Folder::new()?, Folder::new()?, Sim::start()?);
    let logs = folder.directory("logs")?;
    let config = Config::new(&sim.url(), file(&logs.join("*.jsonl")));
    folder.configure(&config)?;
    let mut agent = folder.start()?;
    if !holds(&agent)? {
        return Ok(());
    }
    let beyond = |key: &str, what: &str| {
        format!("{key}: {what} is outside of the sandbox: restart to let it in")
    };
    // Another directory, a port to listen on, a port to connect to.
    let other = file(&elsewhere.path("*.jsonl")).replace("app", "other");
    let listener = "[sources.net]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"127.0.0.1:7\"\n";
    let sources = format!("{}{other}{listener}", config.sources);
    folder.configure(&Config { sources, ..config.clone() })?;
    let directory = elsewhere.as_ref().display().to_string();
    assert_eq!(
        refused(&agent, 2)?,
        [beyond("sources.other.paths", &directory), beyond("sources.net.listen", "port 7")]
    );
    folder.configure(&Config { base_url: "http://127.0.0.1:9".to_owned(), ..config.clone() })?;
    let port = |key: &str| beyond(key, "port 9");
    assert_eq!(refused(&agent, 2)?, [port("mediation.base_url"), port("meters.m.upload_url")]);
    // Files of removal are written to, and those of a source are not.
    let removed = format!("{}remove_after = \"1h\"\n", config.sources);
    folder.configure(&Config { sources: removed, ..config.clone() })?;
    assert_eq!(refused(&agent, 1)?, [beyond("sources.app.paths", &logs.display().to_string())]);
    // A file of certificates is looked at before that, and the system says no.
    let authority = elsewhere.path("ca.pem");
    fs::write(&authority, "none")?;
    let mediation = format!("ca_file = \"{}\"", authority.display());
    folder.configure(&Config { mediation, ..config.clone() })?;
    let said = refused(&agent, 2)?;
    assert!(said[0].starts_with("mediation.ca_file: ") && said[0].contains("Permission denied"));
    assert!(said[1].starts_with("agent.sandbox: "), "{said:?}");
    let off = "sandbox = false".to_owned();
    folder.configure(&Config { agent: off, ..config.clone() })?;
    let said = refused(&agent, 1)?;
    assert!(said[0].starts_with("agent.sandbox: it is put up with the start"), "{said:?}");
    assert!(agent.logged(RELOADED)?.is_none());
    // The one before goes on, and what is within takes place.
    fs::write(logs.join("a.jsonl"), lines(0..10))?;
    sim.wait_events(10)?;
    let inner = file(&logs.join("inner/*.jsonl")).replace("app", "inner");
    folder.configure(&Config { sources: config.sources.clone() + &inner, ..config })?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged(RELOADED)?;
    fs::create_dir(logs.join("inner"))?;
    fs::write(logs.join("inner/b.jsonl"), lines(10..20))?;
    sim.wait_events(20)?;
    agent.stop()?;
    sim.check_exactly_once(20)
}

#[test]
fn a_directory_that_comes_later_is_let_in_by_the_one_above() -> Result {
    let (folder, elsewhere, sim) = (Folder::new()?, Folder::new()?, Sim::start()?);
    folder.configure(&Config::new(&sim.url(), file(&elsewhere.path("later/logs/*.jsonl"))))?;
    let mut agent = folder.start()?;
    if !holds(&agent)? {
        return Ok(());
    }
    let told = "a directory is not there yet: the sandbox lets in the one above";
    let record = agent.logged(told)?.ok_or("it was not told")?;
    let above: &Path = elsewhere.as_ref();
    assert_eq!(text(&record, "/path")?, above.display().to_string());
    let logs = elsewhere.directory("later/logs")?;
    fs::write(logs.join("a.jsonl"), lines(0..10))?;
    sim.wait_events(10)?;
    agent.stop()?;
    sim.check_exactly_once(10)
}
