//! `meterd send`: delivers files or standard input to the end.

mod progress;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

use super::failure::Failure;
use super::input::InputArguments;
use super::output::print;
use super::run::{requests, runtime};
use super::verify::{self, Show};
use super::{log, status};
use crate::agent::{self, Ready, Report, Request};
use crate::config::{self, LoadFor};
use crate::units::Period;

/// The arguments of `meterd send`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    input: InputArguments,
    /// The directory of the store, instead of the one in the configuration
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// Give up when not everything is delivered by then; the rest stays in the store
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Period>,
    /// Only show what would become of each record, as `verify` does
    #[arg(long, conflicts_with_all = ["state_dir", "timeout"])]
    dry_run: bool,
}

/// Delivers everything and prints a receipt; fails with exit code 1 when an event was not
/// delivered, and 69 when the time was up.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.dry_run {
        return verify::try_out(&arguments.input, Show::default());
    }
    let environment = config::process_environment();
    let loaded = config::load(LoadFor::Send, arguments.input.config.as_deref(), environment)?;
    log::start(&loaded.log);
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let mut settings = loaded.settings;
    if let Some(directory) = &arguments.state_dir {
        settings.store.directory.clone_from(directory);
    }
    settings.sources = arguments.input.sources(&settings)?;
    runtime()?.block_on(deliver(arguments, settings))
}

async fn deliver(arguments: &Arguments, settings: agent::Settings) -> Result<(), Failure> {
    let bytes = progress::total_bytes(&arguments.input.files);
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
