//! `meterd verify`: what would become of lines, without sending any.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::failure::Failure;
use super::input::InputArguments;
use super::log;
use super::output::{Sink, one_line};
use super::run::runtime;
use crate::chunk::SourceTag;
use crate::config::{self, LoadFor};
use crate::control::contract;
use crate::store;
use crate::store::reader::Reader;
use crate::verify::{self, Fate, Finding, Input, Summary};

/// The arguments of `meterd verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    input: InputArguments,
    #[command(flatten)]
    show: Show,
}

/// What is shown.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Show {
    /// Look at so many records and no more
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show only records that are refused; the others are counted
    #[arg(long)]
    refused: bool,
    /// Print a JSON document for each record, and one with the summary
    #[arg(long)]
    json: bool,
}

/// Shows what would become of each record; fails with exit code 1 when one would be refused.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    try_out(&arguments.input, arguments.show)
}

/// The same, for `send --dry-run`.
pub(super) fn try_out(input: &InputArguments, show: Show) -> Result<(), Failure> {
    let environment = config::process_environment();
    let loaded = config::load(LoadFor::Mend, input.config.as_deref(), environment)?;
    log::start(&loaded.log);
    let settings = loaded.settings;
    if settings.meters.iter().any(|meter| meter.is_exported()) {
        match Reader::open(&settings.store.directory) {
            Ok(reader) => contract::take_kept(&reader, &settings.meters)?,
            // What is not there is said of the meter, if it is asked for.
            Err(store::Error::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let inputs = input.sources(&settings)?.into_iter().map(|source| {
        let tag = SourceTag::new(source.name, source.destination);
        let source_tag = SourceTag { mapping: source.mapping, ..tag };
        Input { source: source_tag, settings: source.settings }
    });
    let mut sink = Sink::open(None)?;
    let mut failed = None;
    let mut looked_at = 0;
    let mut tell = |finding: &Finding| {
        looked_at += 1;
        let is_shown = !show.refused || matches!(finding.fate, Fate::Refused(_));
        let is_read = !is_shown
            || sink.write(|out| write(out, finding, show)).unwrap_or_else(|failure| {
                failed = Some(failure);
                false
            });
        is_read && show.limit.is_none_or(|limit| looked_at < limit)
    };
    let runtime = runtime()?;
    let summary = verify::run(&settings.name, inputs.collect(), &runtime, &mut tell)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    sink.write(|out| write_summary(out, summary, show))?;
    sink.finish()?;
    // Everything was said.
    if summary.refused > 0 { Err(Failure::new(Failure::FOUND, "")) } else { Ok(()) }
}

/// A record in JSON.
#[derive(Debug, Default, Serialize)]
struct Shown<'f> {
    position: &'f str,
    line: u64,
    outcome: &'static str,
    /// Empty: none is known.
    meter: &'f str,
    record: Cow<'f, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'f RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'f str>,
}

impl<'f> Shown<'f> {
    fn of(finding: &'f Finding) -> io::Result<Self> {
        let line = Self {
            position: &finding.position,
            line: finding.line,
            record: String::from_utf8_lossy(&finding.record),
            ..Self::default()
        };
        Ok(match &finding.fate {
            Fate::Valid { meter, event } => {
                let event = Some(serde_json::from_slice(event)?);
                Self { outcome: "valid", meter, event, ..line }
            }
            Fate::Refused(letter) => Self {
                outcome: "refused",
                meter: &letter.meter,
                reason: Some(letter.reason.name()),
                field: letter.field.as_deref(),
                detail: Some(&letter.detail),
                ..line
            },
            Fate::Ignored => Self { outcome: "ignored", ..line },
        })
    }
}

fn write(out: &mut dyn Write, finding: &Finding, show: Show) -> io::Result<()> {
    let line = Shown::of(finding)?;
    if show.json {
        serde_json::to_writer(&mut *out, &line)?;
        return writeln!(out);
    }
    let Shown { position, line: number, outcome, meter, record, event, reason, field, detail } =
        line;
    let of_meter = if meter.is_empty() { String::new() } else { format!(" for {meter}") };
    writeln!(out, "{} line {number}: {outcome}{of_meter}", one_line(position, usize::MAX))?;
    writeln!(out, "  in   {}", one_line(&record, usize::MAX))?;
    if let Some(event) = event {
        writeln!(out, "  out  {}", one_line(event.get(), usize::MAX))?;
    }
    if let (Some(reason), Some(detail)) = (reason, detail) {
        let field = field.map_or_else(String::new, |field| format!(" {field}"));
        writeln!(out, "  why  {}", one_line(&format!("{reason}{field}: {detail}"), usize::MAX))?;
    }
    Ok(())
}

fn write_summary(out: &mut dyn Write, summary: Summary, show: Show) -> io::Result<()> {
    let Summary { valid, refused, ignored } = summary;
    if show.json {
        let summary = serde_json::json!({ "summary": summary });
        return writeln!(out, "{summary}");
    }
    writeln!(out, "{valid} valid, {refused} refused, {ignored} ignored")
}
