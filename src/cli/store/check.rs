//! `meterd store check`.

use super::StoreArguments;
use crate::cli::failure::Failure;
use crate::cli::output::{print, print_json};
use crate::clock::Timestamp;
use crate::store::inspection::Inspection;

/// The arguments of `meterd store check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Prints what is wrong; fails with exit code 1 if anything is.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let inspection = self.store.open()?.reader.inspect(Timestamp::now())?;
        if self.json {
            print_json(&inspection)?;
        } else {
            print(&text(&inspection))?;
        }
        if inspection.faults.is_empty() {
            return Ok(());
        }
        let message = "the store is damaged: stop the daemon, and meterd store salvage DIRECTORY \
                       takes what can be read to a new one";
        Err(Failure::new(Failure::FOUND, message))
    }
}

fn text(inspection: &Inspection) -> String {
    let Inspection { batches, events, dead_letters, receipts, cursors, faults } = inspection;
    let found = format!(
        "{batches} batches with {events} events, {dead_letters} dead letters, {receipts} receipts, \
         {cursors} cursors"
    );
    let end = if faults.is_empty() { "nothing is wrong" } else { "" };
    let lines = [found.as_str()].into_iter().chain(faults.iter().map(String::as_str)).chain([end]);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
