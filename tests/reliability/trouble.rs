//! A far end in trouble: what is wanted of the agent meanwhile, and after it.

use std::time::{Duration, Instant};

use crate::harness::config::file;
use crate::harness::{Agent, Config, Folder, Result, Sim, fail, lines, text, until};

/// How many events there are in each case.
pub(crate) const EVENTS: u64 = 300;

/// As configured for every case.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The same, as the configuration has it.
const REQUEST_TIMEOUT_TEXT: &str = "3s";

/// As configured for every case.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The same, as the configuration has it.
const SHUTDOWN_GRACE_TEXT: &str = "1s";

/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(5);

/// The token of every request.
pub(crate) const TOKEN: &str = "marked-token-4711";

/// A folder, and how its agent is started.
pub(crate) struct Case {
    folder: Folder,
    /// What a shell does before it becomes the agent; none: there is no shell.
    pub(crate) first: Option<String>,
}

/// What a trouble came to when nothing was lost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account {
    /// From a signal in the trouble until the end of the agent.
    pub(crate) stop: Duration,
    /// From the end of the trouble until everything was there.
    pub(crate) recovery: Duration,
    /// Requests beyond the first of each batch.
    pub(crate) repeated: u64,
}

impl Account {
    /// The worse of both.
    pub(crate) fn worst(self, other: Self) -> Self {
        Self {
            stop: self.stop.max(other.stop),
            recovery: self.recovery.max(other.recovery),
            repeated: self.repeated + other.repeated,
        }
    }

    pub(crate) fn figure(self) -> String {
        let Self { stop, recovery, repeated } = self;
        format!(
            "lost 0, without a record 0 ({repeated} requests repeated); all there {:.1} s after the \
             trouble at most, an end in the trouble took {:.1} s at most (time-out of a request 3 s, \
             grace of an end 1 s)",
            recovery.as_secs_f64(),
            stop.as_secs_f64()
        )
    }
}

impl Case {
    /// One whose far end is at `url`, with these further keys of `[mediation]`.
    pub(crate) fn new(url: &str, mediation: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let path = folder.path("usage.jsonl");
        std::fs::write(&path, lines(0..EVENTS))?;
        folder.configure(&Config {
            shutdown_grace: SHUTDOWN_GRACE_TEXT,
            request_timeout: REQUEST_TIMEOUT_TEXT,
            mediation: mediation.to_owned(),
            auth: format!("bearer_token = \"{TOKEN}\""),
            limits: "events_per_request_max = 60\nrequests_in_flight_max = 2".to_owned(),
            ..Config::new(url, file(&path))
        })?;
        Ok(Self { folder, first: None })
    }

    /// Runs the agent, has a trouble `begun`, ends the agent, runs it again, has the trouble `ended`,
    /// and settles: everything arrives in time, and what came twice is on record.
    pub(crate) fn endure(
        &self,
        sim: &Sim,
        begun: impl FnOnce() -> Result,
        ended: impl FnOnce() -> Result,
    ) -> Result<Account> {
        let mut agent = self.start()?;
        begun()?;
        self.wait_troubled(sim)?;
        let begun = Instant::now();
        agent.stop()?;
        let stop = begun.elapsed();
        if stop > SHUTDOWN_GRACE + SLACK {
            return fail(format!("it took {stop:?} to stop"));
        }
        let mut agent = self.start()?;
        self.wait_troubled(sim)?;
        ended()?;
        let begun = Instant::now();
        self.folder.wait_counted("delivered", EVENTS.cast_signed())?;
        let recovery = begun.elapsed();
        // What is under way times out, and begins anew.
        if recovery > REQUEST_TIMEOUT + SLACK {
            return fail(format!("it took {recovery:?} until everything was there"));
        }
        agent.stop()?;
        sim.check_complete(EVENTS)?;
        let repeated = sim.check_repeats(&self.folder.receipts()?)?.requests;
        Ok(Account { stop, recovery, repeated })
    }

    fn start(&self) -> Result<Agent> {
        let folder = &self.folder;
        match &self.first {
            Some(first) => {
                let mut agent = Agent::spawn_after(first, &folder.config(), folder.as_ref())?;
                agent.wait_ready()?;
                Ok(agent)
            }
            None => folder.start(),
        }
    }

    /// Waits until something failed; a lossy network may let everything pass.
    fn wait_troubled(&self, sim: &Sim) -> Result {
        until("the trouble to show", || {
            let status = self.folder.status()?;
            let is_retrying =
                text(&status, "/meters/m/state").is_ok_and(|state| state == "retrying");
            Ok((is_retrying || sim.stats().distinct_ids == EVENTS).then_some(()))
        })
    }
}
