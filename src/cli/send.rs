//! `meterd send`: delivers files or standard input to the end.

mod progress;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

use super::failure::Failure;
use super::output::print;
use super::run::{requests, runtime};
use super::{log, status};
use crate::agent::{self, Ready, Report, Request, Source};
use crate::config::{self, LoadFor};
use crate::mapping::{Mapping, Reference};
use crate::routing::Destination;
use crate::source::{self, once, stdin};
use crate::units::{ByteSize, Period};

/// The arguments of `meterd send`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files to deliver, plain or compressed with gzip, zstd or xz; `-` or nothing: standard input
    files: Vec<PathBuf>,
    /// The meter of the configuration that the events are for; each line is one, in JSON
    #[arg(long, value_name = "NAME", required_unless_present = "source")]
    meter: Option<String>,
    /// The source of the configuration that the lines are read as: its meter, its name in the
    /// store, its format, selection and fields
    #[arg(long, value_name = "NAME", conflicts_with = "meter")]
    source: Option<String>,
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the store, instead of the one in the configuration
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// The longest line, without its end
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    line_bytes_max: ByteSize,
    /// Give up when not everything is delivered by then; the rest stays in the store
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Period>,
}

/// Delivers everything and prints a receipt; fails with exit code 1 when an event was not
/// delivered, and 69 when the time was up.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let environment = config::process_environment();
    let loaded = config::load(LoadFor::Send, arguments.config.as_deref(), environment)?;
    log::start(&loaded.log);
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let mut settings = loaded.settings;
    if let Some(directory) = &arguments.state_dir {
        settings.store.directory.clone_from(directory);
    }
    let reading = reading(arguments, &settings)?;
    settings.sources = sources(arguments, &reading)?;
    runtime()?.block_on(deliver(arguments, settings))
}

async fn deliver(arguments: &Arguments, settings: agent::Settings) -> Result<(), Failure> {
    let bytes = progress::total_bytes(&arguments.files);
    let mut progress = None;
    let timed = timed(arguments)?;
    let mut is_late = timed.is_late;
    let meters = settings.meters.clone();
    let destination = settings.sources.first().map(|source| source.destination.clone());
    let ready = |ready: &Ready| progress = progress::show(ready, bytes);
    let report = agent::run(settings, <_>::default(), timed.requests, None, ready).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    let Report { status, was_stopped } = report?;
    print(&status::text(&status))?;
    let is_late = is_late.try_recv().is_ok();
    let left = status.equation.stored;
    if left > 0 || was_stopped {
        let unread = if was_stopped { ", and what was not read is still to be sent" } else { "" };
        let message = format!("{left} events are not delivered and stay in the store{unread}");
        let code = if is_late { Failure::UNAVAILABLE } else { Failure::FOUND };
        return Err(Failure::new(code, message));
    }
    let of_meters: u64 = meters.iter().map(|meter| meter.counters.events_dead_lettered()).sum();
    let refused = of_meters + destination.map_or(0, |destination| destination.unrouted());
    if refused > 0 {
        let message = format!("{refused} lines are no events: see meterd dead-letters list");
        return Err(Failure::new(Failure::FOUND, message));
    }
    Ok(())
}

/// Where requests come from: signals, and the time-out.
struct Timed {
    requests: Receiver<Request>,
    is_late: tokio::sync::oneshot::Receiver<()>,
}

fn timed(arguments: &Arguments) -> Result<Timed, Failure> {
    let mut signals = requests()?;
    let (tell, requests) = tokio::sync::mpsc::channel(2);
    let (tell_late, is_late) = tokio::sync::oneshot::channel();
    let limit = arguments.timeout.as_ref().map_or(Duration::MAX, |limit| limit.duration());
    tokio::spawn(async move {
        if timeout(limit, async { pass_on(&mut signals, &tell).await }).await.is_err() {
            // Who does not listen any more has what it needs.
            let _ = tell_late.send(());
            let _ = tell.send(Request::Stop).await;
            pass_on(&mut signals, &tell).await;
        }
    });
    Ok(Timed { requests, is_late })
}

async fn pass_on(from: &mut Receiver<Request>, to: &Sender<Request>) {
    while let Some(request) = from.recv().await {
        if to.send(request).await.is_err() {
            return;
        }
    }
}

/// How the lines are read.
struct Reading {
    /// Of the configured source that they are read as.
    name: Option<Arc<str>>,
    destination: Destination,
    mapping: Option<Arc<Mapping>>,
}

/// What the configuration says of the source or meter that was named.
fn reading(arguments: &Arguments, settings: &agent::Settings) -> Result<Reading, Failure> {
    let unknown = |what: &str, name: &str, known: Vec<&str>| {
        let message = format!("there is no {what} {name:?}; there are {}", known.join(", "));
        Failure::new(Failure::CONFIGURATION, message)
    };
    if let Some(name) = &arguments.source {
        let source = settings.sources.iter().find(|source| *source.name == **name);
        let source = source.ok_or_else(|| {
            let known = settings.sources.iter().map(|source| &*source.name).collect();
            unknown("source", name, known)
        })?;
        let (destination, mapping) = (source.destination.clone(), source.mapping.clone());
        return Ok(Reading { name: Some(Arc::clone(&source.name)), destination, mapping });
    }
    let name = arguments.meter.as_deref().unwrap_or_default();
    let meter = settings.meters.iter().find(|meter| *meter.name == *name).ok_or_else(|| {
        let known = settings.meters.iter().map(|meter| &*meter.name).collect();
        unknown("meter", name, known)
    })?;
    Ok(Reading { name: None, destination: Arc::clone(meter).into(), mapping: None })
}

/// Files are one source, standard input another.
fn sources(arguments: &Arguments, reading: &Reading) -> Result<Vec<Source>, Failure> {
    let line_bytes_max = usize::try_from(arguments.line_bytes_max.0).unwrap_or(usize::MAX);
    let is_stdin = |path: &&PathBuf| path.as_os_str() == "-";
    let files: Vec<PathBuf> =
        arguments.files.iter().filter(|path| !is_stdin(path)).cloned().collect();
    for file in &files {
        // Before anything is sent: one wrong name must not leave half of the work done.
        std::fs::File::open(file).map_err(|error| {
            Failure::new(Failure::PERMISSION, format!("{}: {error}", file.display()))
        })?;
    }
    let mut sources = Vec::new();
    let mut add = |name: &str, settings| {
        let name = reading.name.clone().unwrap_or_else(|| name.into());
        let (destination, mapping) = (reading.destination.clone(), reading.mapping.clone());
        // A person runs it and waits: dead letters are the report, a hold would be in the way.
        sources.push(Source { name, destination, mapping, settings, breaker: None });
    };
    if !files.is_empty() {
        let settings = once::Settings { inputs: files, line_bytes_max };
        add("send", source::Settings::Once(settings));
    }
    if arguments.files.is_empty() || arguments.files.iter().any(|path| is_stdin(&path)) {
        let mapped = reading.mapping.iter().flat_map(|mapping| mapping.references());
        let mut places =
            mapped.chain(reading.destination.routing().map(|routing| &routing.route.from));
        if places.any(|place| matches!(place, Reference::File(_))) {
            let message = "the source takes values from paths: standard input has none";
            return Err(Failure::new(Failure::USAGE, message));
        }
        add("stdin", source::Settings::Stdin(stdin::Settings { line_bytes_max }));
    }
    Ok(sources)
}
