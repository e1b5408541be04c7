//! `meterd meter run`: starts a run, once.

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::failure::Failure;
use super::super::output::{print, print_json};
use super::{Connected, MeterArguments, processor_and_value, status, upload};
use crate::clock::Timestamp;
use crate::control::MeterVersion;
use crate::control::run::{Started, run as start};
use crate::mediation::form::{Id, shown};
use crate::mediation::run::{EventStore, LocalFile, Request, Run};
use crate::mediation::status::Status;
use crate::mediation::time::{ApiDate, ApiTime};
use crate::units::Period;

/// The arguments of `meterd meter run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    #[command(flatten)]
    inputs: Inputs,
    /// A key of your own: a second run of the meter with it is not started
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Follow the run until it ends
    #[arg(long)]
    wait: bool,
    /// How often it is looked at meanwhile
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    interval: Period,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What sources read, of runs and tests.
#[derive(Debug, clap::Args)]
pub struct Inputs {
    /// A file that was uploaded; the source may be left out when it is the only one
    #[arg(long = "local-file", value_name = "[PROCESSOR=]ID")]
    local_files: Vec<String>,
    /// A file to upload first; the source may be left out when it is the only one
    #[arg(long = "upload", value_name = "[PROCESSOR=]FILE")]
    uploads: Vec<String>,
    /// Days of an event store, such as 7=2026-01-01..2026-01-31
    #[arg(long = "event-store", value_name = "PROCESSOR=FROM..TO")]
    event_stores: Vec<Days>,
}

/// `PROCESSOR=FROM..TO`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Days {
    processor: String,
    from: jiff::civil::Date,
    to: jiff::civil::Date,
}

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected PROCESSOR=FROM..TO, such as 7=2026-01-01..2026-01-31".to_owned();
        let day = |text: &str| text.parse().map_err(|_| expected());
        let (processor, days) = text.split_once('=').ok_or_else(expected)?;
        let (from, to) = days.split_once("..").ok_or_else(expected)?;
        let (from, to) = (day(from)?, day(to)?);
        if from > to || processor.is_empty() {
            return Err(expected());
        }
        Ok(Self { processor: processor.to_owned(), from, to })
    }
}

impl Inputs {
    /// Uploads what is to be uploaded, and gives everything a name.
    pub(super) fn prepare(&self, connected: &Connected) -> Result<Vec<LocalFile>, Failure> {
        let file = |processor_id, local_file_id| LocalFile { processor_id, local_file_id };
        let mut files = Vec::new();
        for given in &self.local_files {
            let (processor, id) = processor_and_value(given);
            let Ok(id) = id.parse::<Id>();
            files.push(file(processor, id));
        }
        for given in &self.uploads {
            let (processor, path) = processor_and_value(given);
            files.push(file(processor, upload::upload(connected, &PathBuf::from(path))?));
        }
        Ok(files)
    }

    pub(super) fn event_stores(&self) -> Vec<EventStore> {
        let days = |days: &Days| EventStore {
            processor_id: days.processor.clone(),
            start_date: ApiDate(days.from),
            end_date: ApiDate(days.to),
        };
        self.event_stores.iter().map(days).collect()
    }
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Document {
    unique_key: String,
    /// Whether the run was there before this request, or the answer to it.
    existed: bool,
    /// The answer to the request; null when only its words were left of it.
    answer: Option<Box<RawValue>>,
    /// Where it ended, with `--wait`.
    status: Option<String>,
}

/// Starts a run; with `--wait` it fails with exit code 1 when the run does.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let unique_key =
        arguments.unique_key.clone().unwrap_or_else(|| made_key(&connected.settings.name));
    if arguments.unique_key.is_none() {
        // Before the request: who is interrupted can try again with the same key. Nobody may read.
        let _ = writeln!(std::io::stderr(), "unique key {unique_key}");
    }
    let request = Request {
        source_options: arguments.inputs.prepare(&connected)?,
        event_store_source_options: arguments.inputs.event_stores(),
        unique_key: Some(unique_key.clone()),
    };
    let started = connected.runtime.block_on(start(&connected.client, &meter, &request))?;
    let (existed, answer) = match &started {
        Started::Now(said) => (false, Some(said)),
        Started::Before => (true, None),
    };
    if !arguments.json {
        let run = answer.and_then(|said| said.told.known());
        print(&text(&meter, &unique_key, run, existed))?;
    }
    let ended = if arguments.wait {
        let tell = |text: &str| if arguments.json { Ok(()) } else { print(text) };
        Some(status::follow_to_end(&connected, &meter, arguments.interval, tell)?)
    } else {
        None
    };
    if arguments.json {
        let answer = answer.map(|said| serde_json::from_slice(&said.body)).transpose();
        let answer = answer.map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))?;
        let status = ended.as_ref().map(ToString::to_string);
        print_json(&Document { unique_key, existed, answer, status })?;
    }
    ended.as_ref().map_or(Ok(()), fail_if_failed)
}

/// A run that ended badly is a finding.
fn fail_if_failed(ended: &Status) -> Result<(), Failure> {
    if ended.run_status.as_ref().is_some_and(crate::mediation::status::RunStatus::is_failure) {
        return Err(Failure::new(Failure::FOUND, format!("the run ended as {ended}")));
    }
    Ok(())
}

fn text(meter: &MeterVersion, key: &str, run: Option<&Run>, existed: bool) -> String {
    let MeterVersion { id, version } = meter;
    match run {
        Some(run) => format!(
            "run {} of meter {id} version {version}: {}\nunique key {key}",
            shown(run.session_id.as_ref()),
            shown(run.status.as_ref())
        ),
        None if existed => format!("a run of meter {id} with the unique key {key} exists already"),
        None => format!("a run of meter {id} version {version} was started\nunique key {key}"),
    }
}

/// Names this agent and this instant, and is given once.
fn made_key(agent: &str) -> String {
    format!("meterd_{agent}_{}_{:08x}", ApiTime(Timestamp::now()), fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_documented() {
        let check = |text: &str, expected: Option<(&str, &str, &str)>| {
            let days = text.parse::<Days>().ok();
            let found = days.map(|it| (it.processor, it.from.to_string(), it.to.to_string()));
            let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            assert_eq!(found, expected, "{text}");
        };
        check("7=2026-01-01..2026-01-31", Some(("7", "2026-01-01", "2026-01-31")));
        check("7=2026-01-31..2026-01-01", None);
        check("=2026-01-01..2026-01-31", None);
        check("2026-01-01..2026-01-31", None);
        check("7=yesterday..today", None);
    }
}
