//! `meterd meter test`: sends events through a meter without a run.
//!
//! The answer to a test names a session only. What became of its events is in the audit trail: an
//! error for each that was refused, a sample for each that came out.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::failure::Failure;
use super::super::output::{one_line, print, print_json, table};
use super::run::Inputs;
use super::{Connected, MeterArguments, processor_and_value, read_bytes, status::follow_until};
use crate::clock::Timestamp;
use crate::control::MeterVersion;
use crate::control::audit::entries;
use crate::control::test::test;
use crate::mediation::audit::{Entry, ExportType, PAGE_SIZE_MAX, Page, Query};
use crate::mediation::debug::{Answer, Request, Source};
use crate::mediation::form::{Id, shown};
use crate::mediation::status::{RunStatus, Status};
use crate::mediation::summary::RunType;
use crate::mediation::time::ApiTime;
use crate::units::Period;

/// How far the clocks of this host and of Mediation may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(24 * 3600);

/// The arguments of `meterd meter test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    #[command(flatten)]
    inputs: Inputs,
    /// A sample file of the meter
    #[arg(long = "sample-file", value_name = "[PROCESSOR=]ID")]
    sample_files: Vec<String>,
    /// Events that an earlier test has saved
    #[arg(long = "test-data", value_name = "[PROCESSOR=]ID")]
    test_data: Vec<String>,
    /// Events as JSON lines or as an array; - is standard input
    #[arg(long, value_name = "[PROCESSOR=]FILE")]
    events: Option<String>,
    /// Have Mediation keep the events under this name
    #[arg(long, value_name = "NAME", requires = "events")]
    save_as: Option<String>,
    /// How often the test is looked at until it ends
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    interval: Period,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What became of a test.
#[derive(Serialize)]
struct Document {
    /// Where the meter stands after it.
    status: String,
    /// The answer to the request.
    answer: Box<RawValue>,
    /// Entries of events that were refused.
    errors: Vec<Box<RawValue>>,
    /// Entries of events that came out.
    outputs: Vec<Box<RawValue>>,
}

/// Tests, and fails with exit code 1 when an event was refused or the test failed.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let request = Request {
        source_options: sources(arguments, &connected)?,
        event_store_source_options: arguments.inputs.event_stores(),
    };
    let said = connected.runtime.block_on(test(&connected.client, &meter, &request))?;
    // The status is the version's: a meter that runs goes on running.
    let is_over = |status: &RunStatus| !status.is_testing();
    let ended = follow_until(&connected, &meter, arguments.interval, is_over, |_| Ok(()))?;
    let trail = Trail { connected: &connected, meter: &meter, answer: &said.told };
    let document = Document {
        status: ended.to_string(),
        errors: trail.entries(ExportType::Error)?,
        outputs: trail.entries(ExportType::Sample)?,
        answer: serde_json::from_slice(&said.body)
            .map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))?,
    };
    if arguments.json {
        print_json(&document)?;
    } else {
        print(&text(&said.told, &document))?;
    }
    verdict(&ended, document.errors.len())
}

fn verdict(ended: &Status, errors: usize) -> Result<(), Failure> {
    if errors > 0 {
        return Err(Failure::new(Failure::FOUND, format!("{errors} events were refused")));
    }
    match &ended.run_status {
        Some(status) if status.is_failure() => {
            Err(Failure::new(Failure::FOUND, format!("the test ended as {ended}")))
        }
        _ => Ok(()),
    }
}

fn sources(arguments: &Arguments, connected: &Connected) -> Result<Vec<Source>, Failure> {
    let named = |text: &str| {
        let (processor_id, id) = processor_and_value(text);
        let Ok(id) = id.parse::<Id>();
        (Source { processor_id, ..Source::default() }, id)
    };
    let mut sources = Vec::new();
    for file in arguments.inputs.prepare(connected)? {
        sources.push(Source {
            processor_id: file.processor_id,
            local_file_id: Some(file.local_file_id),
            ..Source::default()
        });
    }
    for (source, id) in arguments.sample_files.iter().map(|text| named(text)) {
        sources.push(Source { sample_file_id: Some(id), ..source });
    }
    for (source, id) in arguments.test_data.iter().map(|text| named(text)) {
        sources.push(Source { test_data_id: Some(id), ..source });
    }
    if let Some(text) = &arguments.events {
        let (processor_id, path) = processor_and_value(text);
        let path = PathBuf::from(path);
        let bytes = read_bytes(&path)?;
        sources.push(Source {
            processor_id,
            test_data: events(&bytes).map_err(|error| {
                Failure::new(Failure::USAGE, format!("{}: {error}", path.display()))
            })?,
            save_test_data: arguments.save_as.as_ref().map(|_| true),
            test_data_name: arguments.save_as.clone(),
            ..Source::default()
        });
    }
    Ok(sources)
}

/// The events of an array, or one a line, in the digits in which they came.
fn events(bytes: &[u8]) -> serde_json::Result<Vec<Box<RawValue>>> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(bytes);
    }
    serde_json::Deserializer::from_slice(bytes).into_iter().collect()
}

/// The audit trail of one test.
struct Trail<'a> {
    connected: &'a Connected,
    meter: &'a MeterVersion,
    answer: &'a Answer,
}

impl Trail<'_> {
    fn entries(&self, export_type: ExportType) -> Result<Vec<Box<RawValue>>, Failure> {
        let Some(session) = &self.answer.session_id else { return Ok(Vec::new()) };
        let now = Timestamp::now();
        let since = i64::try_from(CLOCKS_DIFFER.as_millis()).unwrap_or_default();
        let query = Query {
            export_type,
            run_type: RunType::Debug,
            from: ApiTime(Timestamp::from_millis(now.as_millis() - since)),
            to: ApiTime(now.after(CLOCKS_DIFFER)),
            session_id: Some(session.to_string()),
            operator_id: None,
            page_size: Some(PAGE_SIZE_MAX),
        };
        let mut all = Vec::new();
        let take = |page: &Page<'_>| {
            all.extend(page.data.iter().flatten().map(|entry| (*entry).to_owned()));
            Ok::<bool, Failure>(true)
        };
        let Connected { client, runtime, .. } = self.connected;
        runtime.block_on(entries(client, self.meter, &query, take))?;
        Ok(all)
    }
}

fn text(answer: &Answer, document: &Document) -> String {
    let row = |result: &str, raw: &RawValue| {
        let entry = Entry::read(raw);
        let cell =
            |field: Option<&crate::mediation::form::Loose<String>>| one_line(&shown(field), 60);
        vec![
            result.to_owned(),
            cell(entry.operator_name.as_ref()),
            cell(entry.error_code.as_ref()),
            cell(entry.error_message.as_ref()),
            one_line(entry.payload.map_or("-", RawValue::get), 100),
        ]
    };
    let errors = document.errors.iter().map(|entry| row("ERROR", entry));
    let outputs = document.outputs.iter().map(|entry| row("out", entry));
    format!(
        "test {}: {}; came out {}, refused {}\n\n{}",
        shown(answer.session_id.as_ref()),
        document.status,
        document.outputs.len(),
        document.errors.len(),
        table(
            &["", "operator", "code", "message", "event"],
            &errors.chain(outputs).collect::<Vec<_>>()
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_as_lines_or_as_an_array() {
        let check = |text: &str, expected: &[&str]| {
            let events = events(text.as_bytes()).unwrap_or_default();
            let found: Vec<&str> = events.iter().map(|event| event.get()).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("{\"a\":1.10}\n\n{\"a\":2}\n", &[r#"{"a":1.10}"#, r#"{"a":2}"#]);
        check(" [{\"a\":1}, {}]", &[r#"{"a":1}"#, "{}"]);
        check("", &[]);
        assert!(events(b"{").is_err());
    }
}
