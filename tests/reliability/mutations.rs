//! Bits, ends and tails of the store's files that are not what was written: nothing is lost without a
//! word, nothing ends by itself again and again, and what can be read comes out.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::config::file;
use crate::harness::seed::{is_full, say, seed};
use crate::harness::{Agent, Config, Folder, Result, Sim, event_id, fail, lines, number, pause};
use crate::scorecard::Scored;

/// Events that are delivered before, each with a receipt.
const DELIVERED: u64 = 200;

/// Those and the ones that wait in the store.
const STORED: u64 = 400;

/// Those and the ones that are written behind the damage: they show where a cursor is.
const WRITTEN: u64 = 450;

/// Lines that are no events.
const BAD: u64 = 3;

const MUTATIONS_SHORT: usize = 10;
const MUTATIONS_FULL: usize = 670;

/// A run that has neither delivered all nor said anything by then is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

const PAGE_BYTES: usize = 16_384;

/// First bytes of pages with rows or keys.
const TREES: [u8; 4] = [2, 5, 10, 13];

/// Exit codes that say what is wrong: the store is damaged, cannot be made, cannot be read.
const REFUSALS: [i32; 3] = [65, 73, 74];

/// The exit code of an agent that was told to end and had to leave something.
const GIVEN_UP: i32 = 70;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flip,
    Truncate,
    ZeroTail,
}

/// What is done to which file, and where.
#[derive(Debug)]
struct Mutation {
    kind: Kind,
    name: String,
    at: usize,
    bit: u8,
}

/// A store as a run has left it.
struct Base {
    folder: Folder,
    log: PathBuf,
    log_bytes: u64,
    kept: PathBuf,
}

impl Base {
    /// One whose agent was killed, so that all lies in its log, or has ended in order.
    fn new(is_killed: bool) -> Result<Self> {
        let (folder, sim) = (Folder::new()?, Sim::start()?);
        let (log, kept) = (folder.path("usage.jsonl"), folder.path("kept"));
        let bad = "no event\n".repeat(usize::try_from(BAD)?);
        fs::write(&log, lines(0..DELIVERED))?;
        folder.configure(&config(&sim, &log))?;
        let mut agent = folder.start()?;
        folder.wait_counted("delivered", DELIVERED.cast_signed())?;
        sim.replace_faults(&["status=503"])?;
        append(&log, &(bad + &lines(DELIVERED..STORED)))?;
        folder.wait_counted("stored", (STORED - DELIVERED).cast_signed())?;
        if is_killed {
            agent.kill()?;
        } else {
            agent.stop()?;
        }
        fs::rename(folder.state(), &kept)?;
        let log_bytes = fs::metadata(&log)?.len();
        Ok(Self { folder, log, log_bytes, kept })
    }

    /// Puts everything back to where it was.
    fn restore(&self) -> Result {
        for name in ["state", "damaged", "new"] {
            let path = self.folder.path(name);
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
        }
        let state = self.folder.directory("state")?;
        for entry in fs::read_dir(&self.kept)? {
            let entry = entry?;
            fs::copy(entry.path(), state.join(entry.file_name()))?;
        }
        Ok(OpenOptions::new().write(true).open(&self.log)?.set_len(self.log_bytes)?)
    }

    /// Something to be done to one of its files.
    fn draw(&self, kind: Kind, random: &mut fastrand::Rng) -> Result<Mutation> {
        let names = ["meterd.db", "meterd.db", "meterd.db-wal", "meterd.db-wal", "meterd.db-shm"];
        let name = match random.usize(0..names.len() * 4) {
            0 => "meterd.lock",
            drawn => names[drawn % names.len()],
        };
        let is_there = self.kept.join(name).exists();
        let name = if is_there { name } else { "meterd.db" }.to_owned();
        let bytes = fs::read(self.kept.join(&name))?;
        let at = match kind {
            // Rows that are not bodies are few, and all the rest hangs on them.
            Kind::Flip if name == "meterd.db" && random.u8(0..4) > 0 => in_a_tree(&bytes, random),
            _ => random.usize(0..bytes.len().max(1)),
        };
        Ok(Mutation { kind, name, at, bit: random.u8(0..8) })
    }
}

fn config(sim: &Sim, log: &Path) -> Config {
    let limits = "events_per_request_max = 25".to_owned();
    Config { limits, ..Config::new(&sim.url(), file(log)) }
}

fn append(log: &Path, text: &str) -> Result {
    Ok(OpenOptions::new().append(true).open(log)?.write_all(text.as_bytes())?)
}

/// A place in a page with rows or keys, where there is something.
fn in_a_tree(bytes: &[u8], random: &mut fastrand::Rng) -> usize {
    let is_tree = |page: &usize| bytes.get(page * PAGE_BYTES).is_some_and(|b| TREES.contains(b));
    let mut trees: Vec<usize> = (1..bytes.len() / PAGE_BYTES).filter(is_tree).collect();
    trees.push(0);
    let page = trees[random.usize(0..trees.len())] * PAGE_BYTES;
    let is_used = |at: &usize| bytes.get(*at).is_some_and(|byte| *byte != 0);
    let used: Vec<usize> = (page..page + PAGE_BYTES).filter(is_used).collect();
    used.get(random.usize(0..used.len().max(1))).copied().unwrap_or(page)
}

impl Mutation {
    fn apply(&self, state: &Path) -> Result {
        let path = state.join(&self.name);
        let mut bytes = fs::read(&path)?;
        match self.kind {
            Kind::Flip => {
                if let Some(byte) = bytes.get_mut(self.at) {
                    *byte ^= 1 << self.bit;
                }
            }
            Kind::Truncate => bytes.truncate(self.at),
            Kind::ZeroTail => bytes.get_mut(self.at..).unwrap_or_default().fill(0),
        }
        Ok(fs::write(path, bytes)?)
    }
}

/// What became of the mutations.
#[derive(Debug, Default)]
struct Figures {
    mutations: u64,
    /// Delivered, and nothing is wrong.
    unharmed: u64,
    /// Delivered, and `store check` says what is wrong.
    told: u64,
    /// Delivered after a salvage, as far as it was readable.
    salvaged: u64,
    /// Refused, and nothing can be read any more.
    unreadable: u64,
    /// Events that were missing after a salvage, each counted.
    missing: u64,
    /// Events that came again, and that was said.
    repeated: u64,
    /// Runs that waited with events and said nothing.
    waited: u64,
    /// Mutations after which events came again and nothing says so, by kind and file.
    silently_repeated: BTreeMap<String, u64>,
    /// Mutations after which events were gone and nothing said so, by kind and file.
    silently_lost: BTreeMap<String, u64>,
}

/// What a run came to.
struct Ran {
    /// By itself; none: it was told to.
    ended: Option<ExitStatus>,
    /// What it said of the damage.
    errors: String,
}

/// One mutation.
struct Trial<'t> {
    base: &'t Base,
    sim: Sim,
    mutation: Mutation,
}

impl Trial<'_> {
    /// Runs until all is delivered but `missing` events, or until the agent says or does something.
    fn run(&self, missing: u64) -> Result<Ran> {
        let mut agent = self.base.folder.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_ended = !agent.is_running()?;
            let errors = errors(&agent)?;
            if is_ended {
                let ended = agent.wait()?;
                self.check_end(ended, &agent)?;
                return Ok(Ran { ended: Some(ended), errors });
            }
            let is_done = self.wanted() + missing >= WRITTEN - DELIVERED;
            if is_done || !errors.is_empty() || Instant::now() > deadline {
                let status = self.stop(&mut agent)?;
                // A signal may come before anybody listens to it.
                let ended = status.code().is_some_and(|code| code != 0).then_some(status);
                return Ok(Ran { ended, errors: self::errors(&agent)? });
            }
            pause(Duration::from_millis(5));
        }
    }

    fn stop(&self, agent: &mut Agent) -> Result<ExitStatus> {
        agent.signal(rustix::process::Signal::TERM)?;
        let status = agent.wait()?;
        let log = agent.log()?;
        // What it was not able to commit, it says by its exit code as well.
        let is_known = status
            .code()
            .is_none_or(|code| [0, GIVEN_UP].contains(&code) || REFUSALS.contains(&code))
            && !log.contains("panicked");
        if is_known { Ok(status) } else { fail(format!("{:?}: {status}: {log}", self.mutation)) }
    }

    fn check_end(&self, status: ExitStatus, agent: &Agent) -> Result {
        let log = agent.log()?;
        let is_refusal = status.code().is_some_and(|code| REFUSALS.contains(&code));
        if is_refusal && !log.contains("panicked") {
            return Ok(());
        }
        fail(format!("{:?}: {status}: {log}", self.mutation))
    }

    /// How many of the events are there that have to come.
    fn wanted(&self) -> u64 {
        let there = self.sim.events();
        (DELIVERED..WRITTEN).filter(|number| there.contains_key(&event_id(*number))).count() as u64
    }

    /// How many events came again.
    fn repeats(&self) -> u64 {
        let before: HashSet<String> = (0..DELIVERED).map(event_id).collect();
        let times = |(id, times): (String, u64)| times - u64::from(!before.contains(&id));
        self.sim.events().into_iter().map(times).sum()
    }

    fn play(&self, figures: &mut Figures) -> Result {
        let base = self.base;
        base.restore()?;
        self.mutation.apply(&base.folder.state())?;
        append(&base.log, &lines(STORED..WRITTEN))?;
        base.folder.configure(&config(&self.sim, &base.log))?;
        let ran = self.run(0)?;
        let checked = base.folder.command(&["store", "check"])?;
        let is_told = !checked.status.success();
        let kind = format!("{:?} {}", self.mutation.kind, self.mutation.name);
        if ran.ended.is_none() && self.wanted() == WRITTEN - DELIVERED {
            if is_told {
                figures.told += 1;
                figures.repeated += self.repeats();
                return Ok(());
            }
            base.folder.status()?;
            figures.unharmed += 1;
            if self.repeats() > self.recorded()? {
                self.tell("came again without a word");
                *figures.silently_repeated.entry(kind).or_default() += 1;
            }
            return Ok(());
        }
        if !is_told && !ran.errors.contains("meterd store salvage") {
            self.tell("waits without a word");
            figures.waited += 1;
        }
        self.salvage(&kind, figures)
    }

    /// Takes out what can be read, and runs with that.
    fn salvage(&self, kind: &str, figures: &mut Figures) -> Result {
        let folder = &self.base.folder;
        let output = folder.command(&["store", "salvage", "new", "--json"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        let Ok(salvage) = serde_json::from_slice::<Value>(&output.stdout) else {
            if said.contains("panicked")
                || !output.status.code().is_some_and(|code| REFUSALS.contains(&code))
            {
                return fail(format!("{:?}: {}: {said}", self.mutation, output.status));
            }
            figures.unreadable += 1;
            return Ok(());
        };
        let missing = salvage["missing"].as_array().into_iter().flatten();
        let missing: i64 = missing.map(|missing| number(missing, "/events")).sum::<Result<_>>()?;
        let missing = u64::try_from(missing)?;
        fs::rename(folder.state(), folder.path("damaged"))?;
        fs::rename(folder.path("new"), folder.state())?;
        let ran = self.run(missing)?;
        folder.status()?;
        if ran.ended.is_some() {
            return fail(format!("{:?}: after {salvage}: {}", self.mutation, ran.errors));
        }
        figures.salvaged += 1;
        let lost = (WRITTEN - DELIVERED).saturating_sub(self.wanted() + missing);
        if lost > 0 {
            self.tell(&format!("{lost} are gone and not counted: {salvage}"));
            *figures.silently_lost.entry(kind.to_owned()).or_default() += 1;
        }
        figures.missing += (WRITTEN - DELIVERED).saturating_sub(self.wanted());
        // What is not read whole is told by the salvage, and with it what may come again.
        if output.status.success() && self.repeats() > self.recorded()? {
            self.tell("came again after a salvage that found everything");
            *figures.silently_repeated.entry(kind.to_owned()).or_default() += 1;
        } else {
            figures.repeated += self.repeats();
        }
        Ok(())
    }

    /// Events of batches of which a receipt says that they may have come twice.
    fn recorded(&self) -> Result<u64> {
        let receipts = self.base.folder.receipts()?;
        let is_unknown = |receipt: &&Value| {
            number(receipt, "/outcome_unknown_attempts").is_ok_and(|attempts| attempts > 0)
        };
        let events = |receipt: &Value| number(receipt, "/events").map(i64::cast_unsigned);
        receipts.iter().filter(is_unknown).map(events).sum()
    }

    fn tell(&self, what: &str) {
        say(&format!(
            "{:?}: {what}; {} of {}, {} again",
            self.mutation,
            self.wanted(),
            WRITTEN - DELIVERED,
            self.repeats()
        ));
    }
}

/// What an agent said that needs a person.
fn errors(agent: &Agent) -> Result<String> {
    let log = agent.log()?;
    let is_error = |line: &&str| line.contains("\"ERROR\"") || line.starts_with("meterd: ");
    Ok(log.lines().filter(is_error).flat_map(|line| [line, "\n"]).collect())
}

fn mutate(kind: Kind, part: &'static str) -> Result {
    let scored = Scored::begin("L7", part)?;
    let mut random = fastrand::Rng::with_seed(seed()?);
    let bases = [Base::new(true)?, Base::new(false)?];
    let (mut figures, mut failed) = (Figures::default(), 0);
    for turn in 0..if is_full() { MUTATIONS_FULL } else { MUTATIONS_SHORT } {
        let base = &bases[turn % 2];
        let mutation = base.draw(kind, &mut random)?;
        let played = Trial { base, sim: Sim::start()?, mutation }.play(&mut figures);
        if let Err(error) = played {
            say(&error.to_string());
            failed += 1;
        }
        figures.mutations += 1;
    }
    let Figures { mutations, unharmed, told, salvaged, unreadable, .. } = figures;
    let Figures { missing, repeated, waited, silently_repeated, silently_lost, .. } = figures;
    assert_eq!((failed, silently_lost), (0, BTreeMap::new()));
    say(&format!("{silently_repeated:?}"));
    let silently_repeated: u64 = silently_repeated.values().sum();
    scored.shown(&format!(
        "{mutations} mutations, lost without a word 0, panics 0: {unharmed} did no harm, {told} were \
         delivered and told, {salvaged} salvaged ({missing} events missing, all counted; {repeated} \
         came again, as was said; {waited} had waited without a word), {unreadable} refused and nothing \
         readable; {silently_repeated} had events come again without a word"
    ))
}

#[test]
fn a_flipped_bit_of_the_store_loses_nothing_without_a_word() -> Result {
    mutate(Kind::Flip, "bit flips")
}

#[test]
fn a_store_that_was_cut_off_loses_nothing_without_a_word() -> Result {
    mutate(Kind::Truncate, "truncations")
}

#[test]
fn a_store_with_a_tail_of_zeros_loses_nothing_without_a_word() -> Result {
    mutate(Kind::ZeroTail, "zeroed tails")
}
