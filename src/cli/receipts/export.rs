//! `meterd receipts export`: every receipt that is wanted, a line each, in bounded memory.

use std::io::{self, Write};
use std::path::PathBuf;

use super::wanted::Wanted;
use crate::cli::failure::Failure;
use crate::cli::output::Sink;
use crate::cli::store::{Opened, StoreArguments};
use crate::store::receipts::Receipt;

/// The columns of CSV: the keys of `--json`.
const COLUMNS: [&str; 15] = [
    "batch",
    "track_id",
    "meter",
    "events",
    "payload_bytes",
    "wire_bytes",
    "sha256",
    "first_event_id",
    "last_event_id",
    "attempts",
    "outcome_unknown_attempts",
    "delivered_at",
    "status",
    "duplicate",
    "quantity",
];

/// How a receipt is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A JSON document a line
    Jsonl,
    /// Comma-separated, with a header
    Csv,
}

/// The arguments of `meterd receipts export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(flatten)]
    wanted: Wanted,
    /// How they are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Write to this file, which must not be there yet, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArguments,
}

/// Writes the receipts page by page.
pub(super) fn run(arguments: &Export) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let mut sink = Sink::open(arguments.output.as_deref())?;
    if arguments.format == Format::Csv {
        sink.write(|out| Ok(csv::Writer::from_writer(out).write_record(COLUMNS)?))?;
    }
    arguments.wanted.pages(&reader, 0, |page| {
        sink.write(|out| match arguments.format {
            Format::Jsonl => page.iter().try_for_each(|receipt| write_json(receipt, out)),
            Format::Csv => write_csv(&page, out),
        })
    })?;
    sink.finish()
}

fn write_json(receipt: &Receipt, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, receipt)?;
    out.write_all(b"\n")
}

fn write_csv(page: &[Receipt], out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    for receipt in page {
        csv.serialize(receipt)?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn both_formats_have_the_same_columns_and_values() -> Result<(), Box<dyn std::error::Error>> {
        let receipt = Receipt {
            batch: 7,
            track_id: "a-7".into(),
            meter: "m".into(),
            events: 2,
            payload_bytes: 300,
            wire_bytes: 100,
            sha256: "07".into(),
            first_event_id: Some("one, \"1\"".into()),
            last_event_id: None,
            attempts: 3,
            outcome_unknown_attempts: 1,
            delivered_at: Timestamp::from_millis(1_763_705_651_123),
            status: 200,
            duplicate: true,
            quantity: Some("12.5".into()),
        };
        let mut lines = Vec::new();
        write_json(&receipt, &mut lines)?;
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&lines)?;
        let mut written = Vec::new();
        write_csv(&[receipt.clone(), receipt], &mut written)?;
        let rows = csv::ReaderBuilder::new().has_headers(false).from_reader(&*written);
        let rows: Vec<csv::StringRecord> = rows.into_records().collect::<Result<_, _>>()?;
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!((row.len(), object.len()), (COLUMNS.len(), COLUMNS.len()));
            for (column, cell) in COLUMNS.iter().zip(&row) {
                let value = object.get(*column).ok_or("no such key")?;
                let expected = match value {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(cell, expected, "{column}");
            }
        }
        Ok(())
    }
}
