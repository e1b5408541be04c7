//! `meterd dead-letters`: events that could not be sent, each with its reason.

mod discard;
mod export;
mod replay;
mod wanted;

use super::failure::Failure;
use super::output::{one_line, print, print_json, table};
use super::store::{Opened, StoreArguments};
use crate::store::dead_letters::StoredLetter;
use wanted::Wanted;

/// How many letters are read at one time.
const PAGE: u32 = 1000;

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, oldest first
    List(List),
    /// Show one with everything that is known
    Show(Show),
    /// Write them as JSON lines, to mend them and to replay the file
    Export(export::Export),
    /// Send them again, as they are or mended, with the same event ids
    Replay(replay::Replay),
    /// Give them up, with a reason
    Discard(discard::Discard),
}

/// The arguments of `meterd dead-letters list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    wanted: Wanted,
    /// Begin behind the letter with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
    /// List so many at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The arguments of `meterd dead-letters show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The number of the letter
    #[arg(value_name = "NUMBER")]
    id: i64,
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
        Command::Show(arguments) => show(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Discard(arguments) => discard::run(arguments),
    }
}

fn list(arguments: &List) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let filter = arguments.wanted.filter();
    let mut letters: Vec<StoredLetter> = Vec::new();
    let mut after = arguments.after;
    while letters.len() < limit {
        let page = reader.dead_letters(&filter, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        letters.extend(page);
    }
    letters.truncate(limit);
    if arguments.json {
        return print_json(&letters);
    }
    let header = ["id", "at", "meter", "source", "position", "reason", "field", "detail"];
    let rows: Vec<Vec<String>> = letters.iter().map(row).collect();
    print(&table(&header, &rows))
}

fn row(letter: &StoredLetter) -> Vec<String> {
    vec![
        letter.id.to_string(),
        letter.at.to_string(),
        letter.meter.clone(),
        letter.source.clone(),
        one_line(&letter.position, 80),
        letter.reason.clone(),
        one_line(letter.field.as_deref().unwrap_or(""), 40),
        one_line(&letter.detail, 100),
    ]
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let Some(letter) = reader.dead_letter(arguments.id)? else {
        let message = format!("there is no dead letter {}", arguments.id);
        return Err(Failure::new(Failure::FOUND, message));
    };
    if arguments.json {
        return print_json(&letter);
    }
    let none = || "-".to_owned();
    let whole = |text: &str| one_line(text, usize::MAX);
    let lines = [
        ("id", letter.id.to_string()),
        ("at", letter.at.to_string()),
        ("meter", letter.meter.clone()),
        ("source", letter.source.clone()),
        ("position", whole(&letter.position)),
        ("reason", letter.reason.clone()),
        ("field", letter.field.as_deref().map_or_else(none, whole)),
        ("detail", whole(&letter.detail)),
        ("code", letter.code.as_deref().map_or_else(none, whole)),
        ("attempts", letter.attempts.to_string()),
        ("unknown", letter.outcome_unknown_attempts.to_string()),
        ("event id", letter.event_id.as_deref().map_or_else(none, whole)),
        ("event", whole(&letter.event)),
    ];
    let lines = lines.map(|(name, value)| format!("{name:9} {value}"));
    print(&lines.join("\n"))
}
