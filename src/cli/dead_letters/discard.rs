//! `meterd dead-letters discard`: gives letters up.

use super::wanted::Wanted;
use crate::cli::failure::Failure;
use crate::cli::output::{print, print_json};
use crate::cli::store::StoreArguments;
use crate::clock::Timestamp;
use crate::store::editor::Editor;

/// The arguments of `meterd dead-letters discard`.
#[derive(Debug, clap::Args)]
pub struct Discard {
    #[command(flatten)]
    wanted: Wanted,
    /// Every letter
    #[arg(long)]
    all: bool,
    /// Why they are given up; it is kept
    #[arg(long, value_name = "TEXT")]
    because: String,
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Gives up what is wanted.
pub(super) fn run(arguments: &Discard) -> Result<(), Failure> {
    arguments.wanted.must_be_meant(arguments.all)?;
    let because = arguments.because.trim();
    if because.is_empty() {
        return Err(Failure::new(Failure::USAGE, "--because needs a reason in words"));
    }
    let mut editor = Editor::open(&arguments.store.directory()?)?;
    let (filter, mut after, mut discarded) = (arguments.wanted.filter(), 0, 0);
    while let Some((count, last)) = editor.discard(&filter, after, because, Timestamp::now())? {
        after = last;
        discarded += count;
    }
    if arguments.json {
        print_json(&serde_json::json!({ "discarded": discarded }))?;
    } else {
        print(&format!("{discarded} dead letters are given up"))?;
    }
    if discarded < filter.ids.len() {
        let missing = filter.ids.len() - discarded;
        let message = format!("{missing} of the letters are not there, or do not meet the rest");
        return Err(Failure::new(Failure::FOUND, message));
    }
    Ok(())
}
