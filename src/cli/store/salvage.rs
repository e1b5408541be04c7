//! `meterd store salvage`.

use std::path::PathBuf;

use super::StoreArguments;
use crate::cli::failure::Failure;
use crate::cli::output::{print, print_json};
use crate::clock::Timestamp;
use crate::store::salvage::{self, Salvage};

/// The arguments of `meterd store salvage`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory of the new store; there must be none in it
    #[arg(value_name = "DIRECTORY")]
    to: PathBuf,
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Prints what was taken and what is missing; fails with exit code 1 if anything is.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let salvage = salvage::salvage(&self.store.directory()?, &self.to, Timestamp::now())?;
        if self.json {
            print_json(&salvage)?;
        } else {
            print(&text(&salvage))?;
        }
        if salvage.is_whole() {
            return Ok(());
        }
        let message = "not everything could be read; where a cursor is missing, its file would be \
                       read again from the beginning";
        Err(Failure::new(Failure::FOUND, message))
    }
}

fn text(salvage: &Salvage) -> String {
    let mut lines = Vec::new();
    for table in &salvage.tables {
        lines.push(format!("{}: {} taken", table.name, table.taken));
        lines.extend(table.faults.iter().map(|fault| format!("  {fault}")));
    }
    for missing in &salvage.missing {
        let salvage::Missing { meter, events, dead_letters, is_exact } = missing;
        let at_most = if *is_exact { "" } else { "at most " };
        lines.push(format!(
            "{meter}: {at_most}{events} events and {dead_letters} dead letters are missing, and \
             counted as discarded"
        ));
    }
    let uncounted = salvage.uncounted.iter();
    lines.extend(uncounted.map(|what| format!("not counted, and may be missing: {what}")));
    lines.join("\n")
}
