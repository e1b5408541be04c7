//! Links, pipes, devices, names and owners in the places where the agent keeps its state and finds its logs:
//! nothing else is touched or waited for, and nobody else may read what it keeps.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::config::file;
use crate::harness::wait::until_within;
use crate::harness::{Agent, Config, Error, Folder, Result, Sim, fail, lines};
use crate::scorecard::Scored;

/// Whoever waits for so long waits for a pipe.
const PATIENCE: Duration = Duration::from_secs(20);

const EVENTS: u64 = 10;

/// What is in the file that nobody may touch.
const PRECIOUS: &str = "precious\n";

/// What stands in the place of a file of the store.
#[derive(Debug, Clone, Copy)]
enum Trap {
    /// A link to a file with something in it.
    Link,
    /// A link to an empty file.
    EmptyLink,
    /// A link to a file that is not there.
    Dangling,
    Pipe,
    Directory,
}

const STATE: [(&str, Trap); 14] = [
    ("meterd.db", Trap::Link),
    ("meterd.db", Trap::EmptyLink),
    ("meterd.db", Trap::Dangling),
    ("meterd.db", Trap::Pipe),
    ("meterd.db", Trap::Directory),
    ("meterd.lock", Trap::Link),
    ("meterd.lock", Trap::EmptyLink),
    ("meterd.lock", Trap::Dangling),
    ("meterd.lock", Trap::Pipe),
    ("meterd.db-wal", Trap::Link),
    ("meterd.db-wal", Trap::Dangling),
    ("meterd.db-wal", Trap::Pipe),
    ("meterd.db-shm", Trap::Link),
    ("meterd.db-journal", Trap::Link),
];

/// What lies among the logs.
const LOGS: [&str; 5] = ["pipe", "device", "loop", "name", "elsewhere"];

fn pipe(path: &Path) -> Result {
    let made = Command::new("mkfifo").arg(path).status()?;
    if made.success() { Ok(()) } else { fail("mkfifo") }
}

/// A folder with good events in a log.
fn folder(sim: &Sim) -> Result<Folder> {
    let folder = Folder::new()?;
    fs::write(folder.directory("logs")?.join("good.jsonl"), lines(0..EVENTS))?;
    folder.configure(&Config {
        // Not every kernel has one: without it nothing may be reached either.
        agent: "sandbox = false".to_owned(),
        ..Config::new(&sim.url(), file(&folder.path("logs/*.jsonl")))
    })?;
    Ok(folder)
}

/// Waits until the agent is ready or has ended; whether it is ready.
fn is_ready(agent: &mut Agent) -> Result<bool> {
    until_within(PATIENCE, "the agent to be ready, or to give up", || {
        if agent.logged("ready")?.is_some() {
            return Ok(Some(true));
        }
        Ok((!agent.is_running()?).then_some(false))
    })
}

/// Fails when something happened to what is outside of the state directory.
fn state_case((name, trap): (&str, Trap)) -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim)?;
    fs::create_dir(folder.state())?;
    let outside = folder.directory("outside")?;
    let (victim, trapped) = (outside.join("victim"), folder.state().join(name));
    match trap {
        Trap::Link => fs::write(&victim, PRECIOUS)?,
        Trap::EmptyLink => fs::write(&victim, "")?,
        Trap::Dangling => {}
        Trap::Pipe => pipe(&trapped)?,
        Trap::Directory => fs::create_dir(&trapped)?,
    }
    if matches!(trap, Trap::Link | Trap::EmptyLink | Trap::Dangling) {
        symlink(&victim, &trapped)?;
    }
    let mut agent = folder.spawn()?;
    if is_ready(&mut agent)? {
        agent.stop()?;
    } else {
        let code = agent.wait()?.code();
        assert!(matches!(code, Some(73 | 74)), "{code:?}: {}", agent.log()?);
        // Whoever reads it has to know which file is meant.
        assert!(agent.log()?.contains(name), "{}", agent.log()?);
    }
    let found = fs::read_to_string(&victim).ok();
    let wanted = match trap {
        Trap::Link => Some(PRECIOUS.to_owned()),
        Trap::EmptyLink => Some(String::new()),
        _ => None,
    };
    if found == wanted { Ok(()) } else { fail(format!("the victim has {found:?}")) }
}

/// Fails unless good events arrive all the same, alone, and no log line is broken.
fn log_case(name: &str) -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim)?;
    let logs = folder.path("logs");
    match name {
        "pipe" => pipe(&logs.join("pipe.jsonl"))?,
        "device" => symlink("/dev/zero", logs.join("device.jsonl"))?,
        "loop" => {
            symlink("b.jsonl", logs.join("a.jsonl"))?;
            symlink("a.jsonl", logs.join("b.jsonl"))?;
            symlink(".", logs.join("again.jsonl"))?;
        }
        "name" => fs::write(logs.join("\u{1b}[2J\n{\"level\":\"ERROR\"}\n.jsonl"), "no event\n")?,
        _ => symlink(folder.state().join("meterd.db"), logs.join("store.jsonl"))?,
    }
    let mut agent = folder.start()?;
    sim.wait_events(EVENTS)?;
    agent.stop()?;
    let log = agent.log()?;
    let is_record = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    let has_escape =
        log.contains('\u{1b}') || log.lines().any(|line| line.starts_with("{\"level\":"));
    assert!(!has_escape && log.lines().all(is_record), "{log}");
    sim.check_exactly_once(EVENTS)
}

/// Fails when somebody else may read what the agent keeps, though it was started without a mask.
fn is_private() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim)?;
    let mut agent = Agent::spawn_after("umask 0", &folder.config(), folder.as_ref())?;
    agent.wait_ready()?;
    sim.wait_events(EVENTS)?;
    let open_to_others =
        |path: &Path| -> Result<bool> { Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0) };
    assert!(!open_to_others(&folder.state())?);
    for entry in fs::read_dir(folder.state())? {
        let path = entry?.path();
        assert!(!open_to_others(&path)?, "{}", path.display());
    }
    agent.stop()
}

/// Who owns the state directory, its mode, and who owns the store that is in it; the agent is nobody.
const OWNERS: [(u32, u32, Option<u32>); 4] =
    [(0, 0o700, None), (OTHER, 0o700, None), (NOBODY, 0o700, Some(0)), (0, 0o777, Some(0))];

const NOBODY: u32 = 65534;
const OTHER: u32 = 65533;

const OPEN: &str =
    "others may write to the state directory: they can take events away or make them up";

/// Gives `path`, and what is in it, to `user`.
fn give(path: &Path, user: u32) -> Result {
    for entry in fs::read_dir(path)? {
        chown(entry?.path(), Some(user), Some(user))?;
    }
    Ok(chown(path, Some(user), Some(user))?)
}

/// Fails unless an agent without rights refuses what belongs to others, says what it was, and leaves it
/// as it is.
fn owner_case((owner, mode, store): (u32, u32, Option<u32>)) -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim)?;
    let state = folder.state();
    if store.is_some() {
        folder.start()?.stop()?;
    } else {
        fs::create_dir(&state)?;
    }
    give(folder.as_ref(), NOBODY)?;
    give(&state, store.unwrap_or(owner))?;
    chown(&state, Some(owner), Some(owner))?;
    fs::set_permissions(&state, Permissions::from_mode(mode))?;
    let before = contents(&state)?;
    // The program itself may be where nobody can reach it.
    let program = folder.path("meterd");
    let nobody = format!(
        "cp \"$0\" {0}; exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {0} \"$@\"",
        program.display()
    );
    let mut agent = Agent::spawn_after(&nobody, &folder.config(), folder.as_ref())?;
    assert!(!is_ready(&mut agent)?);
    assert_eq!(agent.wait()?.code(), Some(77), "{}", agent.log()?);
    assert!(agent.log()?.contains(&state.display().to_string()), "{}", agent.log()?);
    assert_eq!(contents(&state)?, before);
    Ok(())
}

fn contents(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let entries = fs::read_dir(directory)?;
    let read = |path: PathBuf| Ok((path.clone(), fs::read(path)?));
    entries.map(|entry| read(entry?.path())).collect()
}

/// Fails unless root, in the directory of somebody else, says so and keeps its files for itself.
fn foreign_case() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim)?;
    fs::create_dir(folder.state())?;
    give(&folder.state(), OTHER)?;
    let mut agent = folder.start()?;
    sim.wait_events(EVENTS)?;
    assert_eq!(agent.times_logged(OPEN)?, 1);
    for entry in fs::read_dir(folder.state())? {
        let data = entry?.metadata()?;
        assert!(data.uid() == 0 && data.mode().trailing_zeros() >= 6, "{data:?}");
    }
    agent.stop()
}

/// Fails when an export follows a link.
fn export_case() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim)?;
    folder.start()?.stop()?;
    let (victim, link) = (folder.path("victim"), folder.path("export"));
    fs::write(&victim, PRECIOUS)?;
    symlink(&victim, &link)?;
    let link = link.display().to_string();
    let output = folder.command(&["dead-letters", "export", "--output", &link])?;
    assert!(!output.status.success());
    assert_eq!(fs::read_to_string(victim)?, PRECIOUS);
    Ok(())
}

#[test]
fn no_trick_with_paths_reaches_what_is_not_the_agents() -> Result {
    let scored = Scored::begin("S3", "")?;
    for case in STATE {
        state_case(case).map_err(|error| Error::from(format!("{case:?}: {error}")))?;
    }
    for case in LOGS {
        log_case(case).map_err(|error| Error::from(format!("{case}: {error}")))?;
    }
    export_case()?;
    // Only root can start it as that takes.
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        is_private()?;
        foreign_case()?;
        for case in OWNERS {
            owner_case(case).map_err(|error| Error::from(format!("{case:?}: {error}")))?;
        }
    }
    let as_root = if is_root { OWNERS.len() + 2 } else { 0 };
    let cases = STATE.len() + LOGS.len() + 1 + as_root;
    scored.shown(&format!("{cases} cases, 0 successes"))
}
