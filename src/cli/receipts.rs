//! `meterd receipts`: what was delivered, when, and under which track id.

mod export;
mod wanted;

use super::failure::Failure;
use super::output::{print, print_json, table};
use super::store::{Opened, StoreArguments};
use crate::store::receipts::{CONFIRMED, Receipt};
use wanted::Wanted;

/// What to do with receipts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, oldest batch first
    List(List),
    /// Show one with everything that is known
    Show(Show),
    /// Write them as lines, for other programs
    Export(export::Export),
}

/// The arguments of `meterd receipts list`.
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
    #[command(flatten)]
    wanted: Wanted,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The arguments of `meterd receipts show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The track id, or the number of the batch
    name: String,
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
    }
}

fn list(arguments: &List) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let mut receipts: Vec<Receipt> = Vec::new();
    arguments.wanted.pages(&reader, arguments.after, |page| {
        receipts.extend(page);
        Ok(receipts.len() < limit)
    })?;
    receipts.truncate(limit);
    if arguments.json {
        return print_json(&receipts);
    }
    let header =
        ["batch", "delivered at", "meter", "events", "status", "attempts", "unknown", "track id"];
    let row = |receipt: &Receipt| {
        vec![
            receipt.batch.to_string(),
            receipt.delivered_at.to_string(),
            receipt.meter.clone(),
            receipt.events.to_string(),
            status(receipt),
            receipt.attempts.to_string(),
            receipt.outcome_unknown_attempts.to_string(),
            receipt.track_id.clone(),
        ]
    };
    print(&table(&header, &receipts.iter().map(row).collect::<Vec<_>>()))
}

/// `200`, with a word behind it when it is not the usual one.
fn status(receipt: &Receipt) -> String {
    let mark = match receipt.status {
        CONFIRMED => " confirmed by a person",
        _ if receipt.duplicate => " duplicate",
        _ => "",
    };
    format!("{}{mark}", receipt.status)
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let Some(receipt) = reader.receipt(&arguments.name)? else {
        let message = format!("there is no receipt of {}", arguments.name);
        return Err(Failure::new(Failure::FOUND, message));
    };
    if arguments.json {
        return print_json(&receipt);
    }
    let none = "-".to_owned();
    let first = receipt.first_event_id.as_ref().unwrap_or(&none);
    let last = receipt.last_event_id.as_ref().unwrap_or(&none);
    print(&format!(
        "batch                    {}\ntrack id                 {}\nmeter                    {}\n\
         events                   {}\nfirst event id           {first}\nlast event id            {last}\n\
         payload bytes            {}\nwire bytes               {}\nsha256 of the body       {}\n\
         delivered at             {}\nstatus                   {}\nattempts                 {}\n\
         outcome unknown attempts {}",
        receipt.batch,
        receipt.track_id,
        receipt.meter,
        receipt.events,
        receipt.payload_bytes,
        receipt.wire_bytes,
        receipt.sha256,
        receipt.delivered_at,
        status(&receipt),
        receipt.attempts,
        receipt.outcome_unknown_attempts
    ))
}
