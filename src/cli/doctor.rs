//! `meterd doctor`: whether a meter is fit for what is sent to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::failure::Failure;
use super::meter::{MeterArguments, TenantArguments};
use super::output::{one_line, print, print_json};
use crate::clock::Timestamp;
use crate::control::contract;
use crate::control::doctor::{Backlog, Facts, Finding, Verdict, examine, look};
use crate::delivery::OnUnknown;
use crate::meter::Meter;
use crate::store;
use crate::store::reader::Reader;
use crate::units::Period;

/// The longest line of what was found.
const LINE_CHARS_MAX: usize = 500;

/// The arguments of `meterd doctor`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The meter of the configuration
    #[arg(long, value_name = "NAME")]
    meter: String,
    /// How long each request is tried
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    timeout: Period,
    /// The directory of the store, instead of the one in the configuration
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report<'r> {
    meter: &'r str,
    money_at_risk: bool,
    findings: &'r [Finding],
}

/// Prints what was found; fails with exit code 1 when money is at risk.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tenant = TenantArguments { config: arguments.config.clone(), timeout: arguments.timeout };
    let meter = MeterArguments { tenant, meter: arguments.meter.clone() };
    let (connected, version) = meter.connect()?;
    let (settings, Some(meter)) = (&connected.settings, &connected.meter) else { return Ok(()) };
    let directory = arguments.state_dir.as_ref().unwrap_or(&settings.store.directory);
    let of_tenant = &settings.delivery.tenant;
    let backlog = Reader::open(directory).and_then(|reader| backlog(reader, meter));
    let facts = Facts {
        meter,
        backlog: backlog.map_err(|error| error.to_string()),
        requests_in_flight_max: of_tenant.requests_in_flight_max,
        requests_per_minute: of_tenant.requests_per_minute,
        request_timeout: of_tenant.request_timeout,
        holds_unknown: settings.delivery.on_unknown == OnUnknown::Hold,
    };
    let seen = connected.runtime.block_on(look(&connected.client, &version));
    let findings = examine(&facts, &seen);
    let money_at_risk = findings.iter().any(|it| it.verdict == Verdict::MoneyAtRisk);
    if arguments.json {
        let report = Report { meter: &arguments.meter, money_at_risk, findings: &findings };
        print_json(&report)?;
    } else {
        print(&text(&findings))?;
    }
    // Everything was said.
    if money_at_risk { Err(Failure::new(Failure::FOUND, "")) } else { Ok(()) }
}

/// What waits for the meter; its kept schema is in force afterwards.
fn backlog(mut reader: Reader, meter: &Arc<Meter>) -> Result<Backlog, store::Error> {
    contract::take_kept(&reader, std::slice::from_ref(meter))?;
    let status = reader.status(Timestamp::now(), None)?;
    let waiting = status.meters.get(&*meter.name);
    Ok(Backlog {
        events: waiting.map_or(0, |waiting| waiting.stored),
        oldest: waiting.map_or(Duration::ZERO, |waiting| {
            Duration::try_from_secs_f64(waiting.oldest_undelivered_seconds).unwrap_or_default()
        }),
    })
}

/// A line for each finding, and below it what to do.
fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|it| it.verdict.name().len()).max().unwrap_or_default();
    let lines = findings.iter().flat_map(|Finding { check, verdict, found, advice }| {
        let found = one_line(found, LINE_CHARS_MAX);
        let line = format!("{:width$}  {check}: {found}", verdict.name());
        let advice = (!advice.is_empty()).then(|| format!("{:width$}  -> {advice}", ""));
        std::iter::once(line).chain(advice)
    });
    lines.collect::<Vec<_>>().join("\n")
}
