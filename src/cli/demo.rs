//! `meterd demo`: the whole thing with no configuration.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;
use super::output::print;
use super::run::{requests, runtime};
use super::{log, status};
use crate::config::{Log, LogFormat};
use crate::demo::{self, Error, Outcome, Progress, Settings};

/// The arguments of `meterd demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Lines to generate
    #[arg(long, value_name = "COUNT", default_value_t = 500_000,
          value_parser = clap::value_parser!(u64).range(10..=100_000_000))]
    events: u64,
    /// Keep the log and the store here, to look at them afterwards; must not exist
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

/// Runs the demo; fails with exit code 1 when it does not add up.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    log::start(&Log { format: LogFormat::Text, level: tracing::Level::WARN });
    let directory = Directory::create(arguments.keep.as_ref())?;
    let settings = Settings { events: arguments.events, time_max: Duration::from_secs(300) };
    print(&format!(
        "{} lines from a rotated log and a TCP stream, through a durable store, to a simulated\n\
         Mediation that answers 429 once, 503 twice, and twice takes events without an answer",
        arguments.events
    ))?;
    let bar = bar(arguments.events);
    let mut shown = None;
    let outcome = runtime()?.block_on(async {
        let tell = |now| show(&bar, &mut shown, now);
        demo::run(settings, &directory.path, requests()?, tell).await.map_err(Failure::from)
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    print(&text(&outcome))?;
    if let Some(kept) = &arguments.keep {
        print(&format!("\nlook at it: meterd receipts list --state-dir {}/state", kept.display()))?;
    }
    if outcome.adds_up() {
        print("\nit adds up: every good line was delivered, every bad one is a dead letter")
    } else {
        Err(Failure::new(Failure::FOUND, "it does not add up"))
    }
}

fn text(outcome: &Outcome) -> String {
    let sum = &outcome.status.equation;
    let stats = &outcome.stats;
    let seconds = outcome.elapsed.as_secs_f64();
    format!(
        "\ngenerated      {} good lines and {} bad ones\n\
         delivered      {} events in {} requests, {} bytes of JSON in {} bytes of gzip\n\
         dead-lettered  {} lines\n\
         at Mediation   {} different events; {} of them came twice, in {} repeated requests\n\
         took           {seconds:.1} s\n\n{}",
        outcome.generated_good,
        outcome.generated_bad,
        sum.delivered,
        stats.requests,
        stats.payload_bytes,
        stats.wire_bytes,
        sum.dead_lettered,
        stats.distinct_ids,
        stats.duplicated_ids,
        stats.repeats.len(),
        status::equation(&outcome.status),
    )
}

/// A bar on a terminal; elsewhere lines are printed.
fn bar(events: u64) -> ProgressBar {
    let bar = ProgressBar::new(events);
    let template = "{bar:30} {pos}/{len} {per_sec} {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, shown: &mut Option<Progress>, now: Progress) {
    bar.set_position(now.delivered + now.dead_lettered);
    bar.set_message(format!("{} dead-lettered", now.dead_lettered));
    if !std::io::stderr().is_terminal() && *shown != Some(now) {
        let Progress { generated, delivered, dead_lettered } = now;
        let line =
            format!("generated {generated}, delivered {delivered}, dead-lettered {dead_lettered}");
        // Progress that nobody reads is no failure.
        let _ = print(&line);
    }
    *shown = Some(now);
}

/// Where log and store are.
struct Directory {
    path: PathBuf,
    is_kept: bool,
}

impl Directory {
    fn create(kept: Option<&PathBuf>) -> Result<Self, Failure> {
        let path = kept.cloned().unwrap_or_else(|| {
            let name = format!("meterd-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
            std::env::temp_dir().join(name)
        });
        std::fs::create_dir(&path).map_err(|error| {
            Failure::new(Failure::CANNOT_CREATE, format!("{}: {error}", path.display()))
        })?;
        Ok(Self { path, is_kept: kept.is_some() })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_kept {
            // It is in the directory for temporary files, which somebody cleans.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Agent(error) => error.into(),
            other => Self::new(Self::SOFTWARE, other.to_string()),
        }
    }
}
