//! `meterd status`: whether every line is accounted for, and what waits.

use super::failure::Failure;
use super::output::{one_line, print, print_json, table};
use super::store::{Opened, StoreArguments};
use crate::clock::Timestamp;
use crate::source::file;
use crate::store::reconciliations::Reconciled;
use crate::store::tallies::Status;
use crate::units::ByteSize;

/// The arguments of `meterd status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the status; fails with exit code 1 when the equation does not hold.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Opened { mut reader, bytes_max } = arguments.store.open()?;
    let status = reader.status_with_lag(Timestamp::now(), bytes_max, file::lag_bytes)?;
    if arguments.json {
        print_json(&status)?;
    } else {
        print(&text(&status))?;
    }
    if status.equation.holds {
        Ok(())
    } else {
        Err(Failure::new(Failure::FOUND, "the equation does not hold: lines are unaccounted for"))
    }
}

/// The status for people.
pub(super) fn text(status: &Status) -> String {
    let meters: Vec<Vec<String>> = status
        .meters
        .iter()
        .map(|(name, meter)| {
            vec![
                name.clone(),
                one_line(&meter.state, 20),
                meter.stored.to_string(),
                meter.delivered.to_string(),
                meter.dead_lettered.to_string(),
                format!("{:.0}s", meter.oldest_undelivered_seconds),
                one_line(&meter.reason, 100),
            ]
        })
        .collect();
    let sources: Vec<Vec<String>> = status
        .sources
        .iter()
        .map(|(name, source)| {
            vec![
                name.clone(),
                one_line(&source.state, 20),
                source.read.to_string(),
                source.dead_lettered.to_string(),
                source.ignored.to_string(),
                source.lag_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
                one_line(&source.reason, 100),
            ]
        })
        .collect();
    let meter_header =
        ["meter", "state", "stored", "delivered", "dead-lettered", "oldest", "reason"];
    let source_header =
        ["source", "state", "read", "dead-lettered", "ignored", "lag-bytes", "reason"];
    let reconciled = reconciled(status);
    let bytes_max = status.store.bytes_max.map(|max| format!(" of {}", ByteSize(max)));
    format!(
        "{}\n\n{}\n\n{}\n\n{reconciled}store: {} bytes{}",
        equation(status),
        table(&meter_header, &meters),
        table(&source_header, &sources),
        status.store.bytes,
        bytes_max.unwrap_or_default()
    )
}

/// What the latest comparisons with Mediation came to; empty when there was none.
fn reconciled(status: &Status) -> String {
    let row = |(name, found): (&String, &Reconciled)| {
        vec![
            name.clone(),
            found.at.to_string(),
            found.delivered.to_string(),
            found.output.to_string(),
            found.refused.to_string(),
            found.waiting.to_string(),
            found.repeats.to_string(),
            found.unexplained.to_string(),
            if found.even { "yes" } else { "NO" }.to_owned(),
        ]
    };
    let meters = status.meters.iter();
    let found = meters.filter_map(|(name, meter)| Some((name, meter.reconciled.as_ref()?)));
    let rows: Vec<Vec<String>> = found.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "reconciled",
        "at",
        "delivered",
        "put out",
        "refused",
        "waiting",
        "repeats",
        "unexplained",
        "even",
    ];
    format!("{}\n\n", table(&header, &rows))
}

/// The equation in one line, with numbers.
pub(super) fn equation(status: &Status) -> String {
    let sum = &status.equation;
    format!(
        "read {} {} delivered {} + dead-lettered {} + ignored {} + discarded {} + stored {}",
        sum.read,
        if sum.holds { "=" } else { "IS NOT" },
        sum.delivered,
        sum.dead_lettered,
        sum.ignored,
        sum.discarded,
        sum.stored
    )
}
