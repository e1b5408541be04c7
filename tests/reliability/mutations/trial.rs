//! One mutation, played: what the agent, the check and the salvage say of it, against what arrives.

use std::collections::BTreeMap;
use std::fs;
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::base::{
    BAD, Base, DELIVERED, Mutation, SENT, SENT_DELIVERED, STORED, WRITTEN, append, config,
};
use crate::harness::seed::say;
use crate::harness::{Agent, Result, Sim, event_id, fail, lines, number, pause, text};

/// A run that has neither delivered all nor said anything by then is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at what was delivered between two at the store.
const LOOKS: usize = 20;

/// Exit codes that say what is wrong: the store is damaged, cannot be made, cannot be read.
const REFUSALS: [i32; 3] = [DAMAGED, 73, 74];

/// The one that says that no other start helps.
const DAMAGED: i32 = 65;

/// Why nothing can be taken out of a store: its first page is none, or there is none.
const UNREADABLE: [&str; 4] = [
    "is not one that this version understands",
    "is malformed",
    "is not a database",
    "there is no store",
];

/// The exit code of an agent that was told to end and had to leave something.
const GIVEN_UP: i32 = 70;

/// What whoever reads it can do.
const ADVICE: &str = "meterd store salvage";

/// What became of the mutations.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) mutations: u64,
    /// Delivered, and nothing is wrong.
    pub(super) unharmed: u64,
    /// Delivered, and `store check` says what is wrong.
    pub(super) told: u64,
    /// Delivered after a salvage, as far as it was readable.
    pub(super) salvaged: u64,
    /// Refused, and nothing can be read any more.
    pub(super) unreadable: u64,
    /// Events that were missing after a salvage, each counted.
    pub(super) missing: u64,
    /// Salvages that were able to say only how many are missing at most.
    pub(super) bounded: u64,
    /// Events that were missing and that a salvage named without a number: of commits that are gone.
    pub(super) uncounted: u64,
    /// Events that came again, because a cursor or the log was damaged, and that was said.
    pub(super) repeated: u64,
}

/// What a run came to.
struct Ran {
    /// By itself; none: it was told to.
    ended: Option<ExitStatus>,
    /// What it said of the damage.
    errors: String,
}

impl Ran {
    /// Whether it said what is wrong and what to do.
    fn has_said(&self) -> bool {
        let is_refused = self.ended.is_some_and(|ended| ended.code() == Some(DAMAGED));
        is_refused || self.errors.contains(ADVICE)
    }
}

/// Different events, of the file and of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct There {
    file: u64,
    sent: u64,
}

/// All that have to come.
const ALL: There = There { file: WRITTEN - DELIVERED, sent: SENT - SENT_DELIVERED };

/// One mutation.
pub(super) struct Trial<'t> {
    pub(super) base: &'t Base,
    pub(super) sim: Sim,
    pub(super) mutation: Mutation,
}

impl Trial<'_> {
    pub(super) fn play(&self, figures: &mut Figures) -> Result {
        let base = self.base;
        base.restore()?;
        self.mutation.apply(&base.folder.state())?;
        append(&base.log, &lines(STORED..WRITTEN))?;
        base.folder.configure(&config(&self.sim, &base.log))?;
        let ran = self.run()?;
        let is_told = !base.folder.command(&["store", "check"])?.status.success();
        if ran.ended.is_none() && self.there() == ALL {
            figures.told += u64::from(is_told);
            figures.unharmed += u64::from(!is_told);
            if !is_told {
                base.folder.status()?;
            }
            return self.check_repeats(is_told, figures);
        }
        if ran.has_said() {
            return self.salvage(figures);
        }
        let told = if is_told { "only the check says so" } else { "nobody says so" };
        self.fail(&format!("events are not delivered, and {told}: {}", ran.errors))
    }

    /// Runs until all is delivered or nothing is left to be, or until the agent says what to do, or ends.
    fn run(&self) -> Result<Ran> {
        let mut agent = self.base.folder.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        for look in 1.. {
            let is_ended = !agent.is_running()?;
            let errors = errors(&agent)?;
            if is_ended {
                let ended = agent.wait()?;
                self.check_end(ended, &[], &agent)?;
                return Ok(Ran { ended: Some(ended), errors });
            }
            let is_settled = || look % LOOKS == 0 && self.is_settled();
            let is_done = self.there() == ALL || errors.contains(ADVICE);
            if is_done || is_settled() || Instant::now() > deadline {
                break;
            }
            pause(Duration::from_millis(5));
        }
        agent.signal(rustix::process::Signal::TERM)?;
        let status = agent.wait()?;
        // What it was not able to commit, it says by its exit code as well.
        self.check_end(status, &[0, GIVEN_UP], &agent)?;
        // A signal may come before anybody listens to it.
        let ended = status.code().is_some_and(|code| code != 0).then_some(status);
        Ok(Ran { ended, errors: errors(&agent)? })
    }

    /// Whether nothing is on its way: the last line of the file has arrived, and no event waits.
    fn is_settled(&self) -> bool {
        let is_read = self.sim.has_event(WRITTEN - 1);
        is_read && self.base.folder.counted("stored").is_ok_and(|stored| stored == 0)
    }

    fn check_end(&self, status: ExitStatus, others: &[i32], agent: &Agent) -> Result {
        let log = agent.log()?;
        let is_known = match status.code() {
            Some(code) => REFUSALS.contains(&code) || others.contains(&code),
            None => !others.is_empty(),
        };
        if is_known && !log.contains("panicked") {
            return Ok(());
        }
        self.fail(&format!("{status}: {log}"))
    }

    /// Which of the events are there that have to come.
    fn there(&self) -> There {
        let count = |meter: &str, numbers: std::ops::Range<u64>| {
            let there = self.sim.events_of(meter);
            numbers.filter(|number| there.contains_key(&event_id(*number))).count() as u64
        };
        There { file: count("g1", DELIVERED..WRITTEN), sent: count("g2", SENT_DELIVERED..SENT) }
    }

    /// How many events came again that no receipt says may have.
    fn repeats(&self) -> Result<u64> {
        let mut repeats = 0;
        for (meter, before) in
            [("g1", 0..DELIVERED), ("g2", super::base::SENT_FROM..SENT_DELIVERED)]
        {
            let before: Vec<String> = before.map(event_id).collect();
            let times = |(id, times): (String, u64)| times - u64::from(!before.contains(&id));
            repeats += self.sim.events_of(meter).into_iter().map(times).sum::<u64>();
        }
        if repeats == 0 {
            return Ok(0);
        }
        let receipts = self.base.folder.receipts()?;
        let is_unknown = |receipt: &&Value| {
            number(receipt, "/outcome_unknown_attempts").is_ok_and(|attempts| attempts > 0)
        };
        let events = |receipt: &Value| number(receipt, "/events").map(i64::cast_unsigned);
        let recorded: u64 = receipts.iter().filter(is_unknown).map(events).sum::<Result<_>>()?;
        Ok(repeats.saturating_sub(recorded))
    }

    /// Events may come again where a cursor or the log is damaged, and where somebody says so.
    fn check_repeats(&self, is_told: bool, figures: &mut Figures) -> Result {
        let repeats = self.repeats()?;
        if repeats > 0 && !is_told {
            return self.fail(&format!("{repeats} events came again, and nobody says so"));
        }
        if repeats > 0 && !self.base.may_read_again(&self.mutation) {
            return self.fail(&format!("{repeats} events came again, and no cursor is damaged"));
        }
        figures.repeated += repeats;
        Ok(())
    }

    /// Takes out what can be read, runs with that, and holds what is missing against what was said.
    fn salvage(&self, figures: &mut Figures) -> Result {
        let folder = &self.base.folder;
        let before = self.there();
        let output = folder.command(&["store", "salvage", "new", "--json"])?;
        let Ok(salvage) = serde_json::from_slice::<Value>(&output.stdout) else {
            figures.unreadable += 1;
            let said = String::from_utf8_lossy(&output.stderr);
            if !UNREADABLE.iter().any(|why| said.contains(why)) {
                return self
                    .fail(&format!("nothing comes out of a store that can be read: {said}"));
            }
            return self.check_refusal(&output);
        };
        fs::rename(folder.state(), folder.path("damaged"))?;
        fs::rename(folder.path("new"), folder.state())?;
        let ran = self.run()?;
        folder.status()?;
        if ran.ended.is_some() || !self.is_settled() {
            return self.fail(&format!("after {salvage}: {}", ran.errors));
        }
        figures.salvaged += 1;
        self.check_missing(&salvage, before, figures)?;
        self.check_repeats(!output.status.success(), figures)
    }

    fn check_refusal(&self, output: &Output) -> Result {
        let said = String::from_utf8_lossy(&output.stderr);
        let is_refusal = output.status.code().is_some_and(|code| REFUSALS.contains(&code));
        if is_refusal && !said.contains("panicked") {
            return Ok(());
        }
        self.fail(&format!("{}: {said}", output.status))
    }

    /// What `salvage` says is missing is missing: exactly, or at most where it says so. What had arrived
    /// `before` it and is not on record may be among that.
    fn check_missing(&self, salvage: &Value, before: There, figures: &mut Figures) -> Result {
        let there = self.there();
        let named: Vec<&str> = salvage["uncounted"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let uncounted = !named.is_empty();
        let lacks_counts = named.iter().any(|what| what.starts_with("events:"));
        let missing: BTreeMap<&str, &Value> = salvage["missing"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|missing| Ok((text(missing, "/meter")?, missing)))
            .collect::<Result<_>>()?;
        let may_read_again = self.base.may_read_again(&self.mutation);
        for (meter, lost, before, may_come_back) in [
            ("m", ALL.file - there.file, before.file, may_read_again),
            ("n", ALL.sent - there.sent, before.sent, false),
        ] {
            let said = match missing.get(meter) {
                Some(missing) => number(missing, "/events")?.cast_unsigned(),
                None => 0,
            };
            let is_exact = missing.get(meter).is_none_or(|missing| missing["is_exact"] == true);
            figures.bounded += u64::from(!is_exact);
            figures.missing += lost.min(said);
            // What is read of a file again is not lost, though the salvage lacks it.
            let is_too_much = is_exact && !may_come_back && said > lost + before;
            // What the lost commits had read of a file is read again.
            let is_named = uncounted && (meter == "n" || lacks_counts);
            if is_too_much || (lost > said && !is_named) {
                return self
                    .fail(&format!("{lost} of {meter} are gone, {said} are said: {salvage}"));
            }
            figures.uncounted += lost.saturating_sub(said);
        }
        let letters = self.base.folder.dead_letters()?.len() as u64;
        let said = missing.get("m").map_or(Ok(0), |missing| number(missing, "/dead_letters"))?;
        if letters + said.cast_unsigned() < BAD && !uncounted {
            return self.fail(&format!("{letters} dead letters are there: {salvage}"));
        }
        Ok(())
    }

    fn fail(&self, what: &str) -> Result {
        let (there, mutation) = (self.there(), &self.mutation);
        say(&format!("{mutation}: {what}; {there:?} of {ALL:?}"));
        fail(format!("{mutation}: {what}"))
    }
}

/// What an agent said that needs a person.
fn errors(agent: &Agent) -> Result<String> {
    let log = agent.log()?;
    let is_error = |line: &&str| line.contains("\"ERROR\"") || line.starts_with("meterd: ");
    Ok(log.lines().filter(is_error).flat_map(|line| [line, "\n"]).collect())
}
