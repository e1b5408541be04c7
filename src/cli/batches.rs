//! `meterd batches`: what waits for delivery, and what a person decides about batches of which
//! nobody knows whether Mediation has them.

use super::failure::Failure;
use super::output::{print, print_json, table};
use super::store::{Opened, StoreArguments};
use crate::clock::Timestamp;
use crate::store::decisions::{Objection, StoredBatch};
use crate::store::editor::Editor;

/// How many batches are read at one time.
const PAGE: u32 = 1000;

/// What to do with batches.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List those that wait, oldest first
    List(List),
    /// Send batches again of which an attempt's outcome is not known
    Resend(Resend),
    /// Take batches for delivered, because Mediation has them
    Confirm(Confirm),
}

/// The arguments of `meterd batches list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    store: StoreArguments,
    /// Begin behind the batch with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
    /// List so many at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Only batches of this meter
    #[arg(long, value_name = "NAME")]
    meter: Option<String>,
    /// Only batches of which an attempt's outcome is not known: Mediation may have them
    #[arg(long)]
    unknown: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The arguments of `meterd batches resend`.
#[derive(Debug, clap::Args)]
pub struct Resend {
    /// Track ids, or numbers of batches
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// Every batch that nobody has decided about
    #[arg(long)]
    all: bool,
    /// With --all: only batches of this meter
    #[arg(long, value_name = "NAME", requires = "all")]
    meter: Option<String>,
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// The arguments of `meterd batches confirm`.
#[derive(Debug, clap::Args)]
pub struct Confirm {
    /// Track ids, or numbers of batches
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Resend(arguments) => resend(arguments),
        Command::Confirm(arguments) => confirm(arguments),
    }
}

fn list(arguments: &List) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let mut batches: Vec<StoredBatch> = Vec::new();
    let mut after = arguments.after;
    while batches.len() < limit {
        let page = reader.batches(arguments.meter.as_deref(), arguments.unknown, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.batch;
        batches.extend(page);
    }
    batches.truncate(limit);
    if arguments.json {
        return print_json(&batches);
    }
    let header =
        ["batch", "created at", "meter", "events", "attempts", "unknown", "decided", "track id"];
    let row = |batch: &StoredBatch| {
        let decided = match (batch.outcome_unknown_attempts, batch.undecided) {
            (0, _) => "-",
            (_, true) => "no",
            (_, false) => "yes",
        };
        vec![
            batch.batch.to_string(),
            batch.created_at.to_string(),
            batch.meter.clone(),
            batch.events.to_string(),
            batch.attempts.to_string(),
            batch.outcome_unknown_attempts.to_string(),
            decided.to_owned(),
            batch.track_id.clone(),
        ]
    };
    print(&table(&header, &batches.iter().map(row).collect::<Vec<_>>()))
}

fn resend(arguments: &Resend) -> Result<(), Failure> {
    let mut editor = Editor::open(&arguments.store.directory()?)?;
    let count = if arguments.all {
        editor.resend_all(arguments.meter.as_deref())?
    } else {
        let names = distinct(&arguments.names);
        refuse(&editor.resend(&names)?)?;
        names.len()
    };
    if arguments.json {
        return print_json(&serde_json::json!({ "resent": count }));
    }
    print(&format!("{count} batches are sent again"))
}

fn confirm(arguments: &Confirm) -> Result<(), Failure> {
    let mut editor = Editor::open(&arguments.store.directory()?)?;
    let names = distinct(&arguments.names);
    refuse(&editor.confirm(&names, Timestamp::now())?)?;
    let count = names.len();
    if arguments.json {
        return print_json(&serde_json::json!({ "confirmed": count }));
    }
    print(&format!("{count} batches are taken for delivered"))
}

fn distinct(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

/// Fails when there are objections: nothing was decided then.
fn refuse(objections: &[Objection]) -> Result<(), Failure> {
    if objections.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = objections.iter().map(ToString::to_string).collect();
    let message = format!("nothing was decided\n  {}", lines.join("\n  "));
    Err(Failure::new(Failure::FOUND, message))
}
