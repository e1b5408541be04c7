//! `meterd dead-letters`: events that could not be sent, each with its reason.

use super::failure::Failure;
use super::output::{one_line, print, print_json, table};
use super::store::{Opened, StoreArguments};
use crate::store::dead_letters::StoredLetter;

/// How many letters are read at one time.
const PAGE: u32 = 1000;

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, oldest first
    List(List),
    /// Show one with everything that is known
    Show(Show),
}

/// The arguments of `meterd dead-letters list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    store: StoreArguments,
    /// Begin behind the letter with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
    /// List so many at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The arguments of `meterd dead-letters show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The number of the letter
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
    }
}

fn list(arguments: &List) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let mut letters: Vec<StoredLetter> = Vec::new();
    let mut after = arguments.after;
    while letters.len() < limit {
        let page = reader.dead_letters(after, PAGE)?;
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
    let header = ["id", "at", "meter", "source", "position", "reason", "field", "detail"];
    let mut lines: Vec<String> =
        header.iter().zip(row(&letter)).map(|(name, value)| format!("{name:9} {value}")).collect();
    if let Some(code) = &letter.code {
        lines.push(format!("{:9} {code}", "code"));
    }
    lines.push(format!("{:9} {}", "event", one_line(&letter.event, usize::MAX)));
    print(&lines.join("\n"))
}
