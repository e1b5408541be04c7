//! `meterd dead-letters export`: letters as JSON lines, which `replay --from` takes.

use std::io::Write;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::PAGE;
use super::wanted::Wanted;
use crate::cli::failure::Failure;
use crate::cli::output::Sink;
use crate::cli::store::{Opened, StoreArguments};
use crate::store::dead_letters::StoredLetter;

/// The arguments of `meterd dead-letters export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(flatten)]
    wanted: Wanted,
    /// Write to this file, which must not be there yet, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArguments,
}

/// A line of the export.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(flatten)]
    letter: &'l StoredLetter,
    /// The bytes of an event that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_base64: Option<String>,
}

/// Writes the letters page by page.
pub(super) fn run(arguments: &Export) -> Result<(), Failure> {
    let Opened { reader, .. } = arguments.store.open()?;
    let filter = arguments.wanted.filter();
    let mut sink = Sink::open(arguments.output.as_deref())?;
    let mut after = 0;
    loop {
        let page = reader.dead_letters(&filter, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let is_read = sink.write(|out| page.iter().try_for_each(|letter| write(letter, out)))?;
        if !is_read {
            break;
        }
    }
    sink.finish()
}

fn write(letter: &StoredLetter, out: &mut dyn Write) -> std::io::Result<()> {
    let is_text = std::str::from_utf8(&letter.bytes).is_ok();
    let event_base64 = (!is_text).then(|| STANDARD.encode(&letter.bytes));
    serde_json::to_writer(&mut *out, &Line { letter, event_base64 })?;
    out.write_all(b"\n")
}
