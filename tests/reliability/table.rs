//! The table of `docs/guarantees.md`, made of what the suites have shown.

use std::path::Path;

use crate::harness::Result;
use crate::scorecard;

const BEGIN: &str = "<!-- scorecard:begin -->\n";
const END: &str = "<!-- scorecard:end -->\n";

/// Writes the table into the document.
#[test]
#[ignore = "changes a document: `just reliability` runs it after the suites"]
fn the_scorecard_is_written_into_the_guarantees() -> Result {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md");
    let document = std::fs::read_to_string(&path)?;
    let (before, rest) = document.split_once(BEGIN).ok_or("no place for the table")?;
    let (_, after) = rest.split_once(END).ok_or("the place for the table has no end")?;
    let table = scorecard::table()?;
    Ok(std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}"))?)
}

/// Rows that were added are in the document, even if nothing is shown yet.
#[test]
fn every_row_of_the_scorecard_is_in_the_guarantees() -> Result {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md");
    let document = std::fs::read_to_string(path)?;
    for scorecard::Row { id, what, wanted, parts } in scorecard::ROWS {
        let name = format!("{id} {}", parts.first().unwrap_or(&""));
        let row = format!("\n| {} | {what} | {wanted} | ", name.trim());
        assert!(
            document.contains(&row),
            "{row:?} is not there; `just reliability` makes the table"
        );
    }
    Ok(())
}
