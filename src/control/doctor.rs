//! Whether a meter is fit for what is sent to it.
//!
//! [`look`] asks Mediation, [`examine`] is a pure function of what was found. What nobody can know
//! from outside is *unknown*, never *ok*. Nothing is changed, here or there.

mod deduplication;
mod limits;
mod schema;
mod time;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::client::Client;
use super::export::export;
use super::status::status;
use super::{Error, MeterVersion};
use crate::mediation::export::{Meter as Definition, STREAMING};
use crate::mediation::form::{Loose, shown};
use crate::mediation::status::{RunStatus, Status};
use crate::meter::Meter;
use crate::schema::export::{self, Exported};
use crate::units::Period;

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// Odd, or close to a limit.
    Warning,
    /// Events can be lost, refused after the 200, or counted twice.
    MoneyAtRisk,
}

impl Verdict {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::MoneyAtRisk => "money at risk",
        }
    }
}

/// One line of the doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What it means.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty when there is nothing.
    pub advice: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found, "")
    }

    fn new(
        check: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, verdict, found: found.into(), advice: advice.into() }
    }
}

/// The definition of a meter, and the schema in it.
#[derive(Debug)]
pub struct Definitions {
    /// All of it.
    pub meter: Definition,
    /// Of its streaming source.
    pub schema: Result<Exported, export::Error>,
    /// What is odd in it.
    pub warnings: Vec<String>,
}

/// What Mediation said.
#[derive(Debug)]
pub struct Seen {
    /// To the request for the export.
    pub definition: Result<Definitions, Error>,
    /// To the request for the run status.
    pub status: Result<Status, Error>,
    /// Its clock minus ours in milliseconds, where it told the time.
    pub clock_ahead_millis: Option<i64>,
}

/// What the store holds back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Events of the meter that wait.
    pub events: i64,
    /// How long the oldest has waited.
    pub oldest: Duration,
}

/// What is set up here.
#[derive(Debug)]
pub struct Facts<'f> {
    /// The meter, with the schema that events are validated with in force.
    pub meter: &'f Meter,
    /// What the store holds back; why that is not known.
    pub backlog: Result<Backlog, String>,
    /// Requests under way at one time.
    pub requests_in_flight_max: u32,
    /// Requests a minute.
    pub requests_per_minute: u32,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Whether a batch of unknown outcome waits for a person.
    pub holds_unknown: bool,
}

/// Asks Mediation about the meter.
pub async fn look(client: &Client, meter: &MeterVersion) -> Seen {
    let exported = export(client, meter).await;
    let definition = exported.map(|said| {
        let mut warnings = Vec::new();
        let schema = export::read(&said.body, |warning| warnings.push(warning));
        Definitions { meter: said.told, schema, warnings }
    });
    let status = status(client, meter).await;
    let status = status.map(|said| said.told.known().cloned().unwrap_or_default());
    Seen { definition, status, clock_ahead_millis: client.clock_ahead_millis() }
}

/// Every finding, in the order in which a person would go through them.
pub fn examine(facts: &Facts<'_>, seen: &Seen) -> Vec<Finding> {
    let name = &*facts.meter.name;
    let mut findings = vec![token(seen), run_status(name, &seen.status)];
    match &seen.definition {
        Ok(definitions) => {
            findings.push(source(&definitions.meter));
            findings.extend(schema::examine(facts.meter, definitions));
            findings.extend(deduplication::examine(facts, definitions));
            findings.push(time::late(facts, &definitions.meter));
            findings.extend(time::formats(facts.meter, definitions));
        }
        Err(error) => findings.extend(unread(error)),
    }
    findings.push(time::clock(facts.meter, seen.clock_ahead_millis));
    findings.push(limits::examine(facts));
    findings
}

fn token(seen: &Seen) -> Finding {
    const CHECK: &str = "token";
    let errors = [seen.definition.as_ref().err(), seen.status.as_ref().err()];
    for error in errors.into_iter().flatten() {
        match error {
            Error::NoToken(_) => {
                let advice = "mend [mediation.auth]: without a token nothing is delivered";
                return Finding::new(CHECK, Verdict::MoneyAtRisk, error.to_string(), advice);
            }
            Error::Refused { status: 401 | 403, .. } => {
                let advice =
                    "give the OAuth client's user the right to run meters; check entity_ids";
                return Finding::new(CHECK, Verdict::MoneyAtRisk, error.to_string(), advice);
            }
            _ => {}
        }
    }
    let is_unanswered =
        |error: Option<&Error>| matches!(error, Some(Error::Unreachable(_) | Error::Unknown(_)));
    if is_unanswered(seen.definition.as_ref().err()) && is_unanswered(seen.status.as_ref().err()) {
        return Finding::new(
            CHECK,
            Verdict::Unknown,
            "nothing was answered",
            "see the lines below",
        );
    }
    Finding::ok(CHECK, "accepted by the meter APIs")
}

fn run_status(name: &str, status: &Result<Status, Error>) -> Finding {
    const CHECK: &str = "run status";
    let status = match status {
        Ok(status) => status,
        Err(error) => return of_error(CHECK, error),
    };
    let shown = status.to_string();
    let start = format!("start it: meterd meter run --meter {name}");
    match status.run_status {
        Some(RunStatus::Code(5)) => Finding::ok(CHECK, shown),
        Some(RunStatus::Code(10)) => {
            Finding::new(CHECK, Verdict::Warning, shown, "look again in a minute")
        }
        Some(RunStatus::Code(1..=4 | 6..=9 | 11..=13)) => {
            let advice = format!("{start}; events that are accepted meanwhile are not billed");
            Finding::new(CHECK, Verdict::MoneyAtRisk, shown, advice)
        }
        _ => {
            let advice = format!("if it does not become RUNNING, {start}");
            Finding::new(CHECK, Verdict::Unknown, shown, advice)
        }
    }
}

fn source(definition: &Definition) -> Finding {
    const CHECK: &str = "source";
    if let Some(task) = definition.streaming_source() {
        let (id, name) = (shown(task.id.as_ref()), shown(task.name.as_ref()));
        return Finding::ok(CHECK, format!("the streaming API, operator {id} {name:?}"));
    }
    let is_source = |kind: &str| kind == "SOURCE";
    let sources = definition.tasks().filter(|task| {
        task.node_type.as_ref().and_then(Loose::known).is_some_and(|kind| is_source(kind))
    });
    let sources: Vec<String> = sources.map(|task| shown(task.operator_type.as_ref())).collect();
    let found = match sources.as_slice() {
        [] => "no source".to_owned(),
        sources => sources.join(", "),
    };
    let advice =
        format!("use a meter whose source is {STREAMING}: this one takes no event from here");
    Finding::new(CHECK, Verdict::MoneyAtRisk, found, advice)
}

/// What is said of everything that stands in the export when it was not read.
fn unread(error: &Error) -> Vec<Finding> {
    let mut findings = vec![of_error("definition", error)];
    let rest = ["source", "schema", "event id", "deduplication", "late data", "times"];
    findings.extend(rest.map(|check| {
        Finding::new(check, Verdict::Unknown, "the definition of the meter was not read", "")
    }));
    findings
}

fn of_error(check: &'static str, error: &Error) -> Finding {
    let (verdict, advice) = match error {
        Error::Refused { status: 404, .. } => {
            (Verdict::MoneyAtRisk, "check `id` and `version` of the meter, base_url and entity_ids")
        }
        Error::Refused { .. } => (Verdict::Unknown, "see what Mediation says"),
        Error::NoToken(_) => (Verdict::Unknown, "see the token"),
        Error::Unreachable(_) | Error::Unknown(_) => (Verdict::Unknown, "try again"),
        Error::Unreadable(_) => (Verdict::Unknown, "report it: the answer is in no known form"),
    };
    Finding::new(check, verdict, error.to_string(), advice)
}

/// The time in words: `5m`, `30d`.
fn period(time: Duration) -> String {
    // What is shorter than a second is shown as it is.
    let whole = Duration::from_secs(time.as_secs());
    Period::new(if whole.is_zero() { time } else { whole }).to_string()
}

/// The field of the events' own id.
fn id_field(meter: &Meter) -> Option<&Arc<str>> {
    meter.event_id_field.as_ref()
}
