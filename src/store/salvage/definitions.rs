//! Gives damaged definitions their own words again while a store is read: what they define is whole, and
//! only its name is not.

use rusqlite::{Connection, params};

use super::Table;
use crate::store::migrations::{self, Definition};

/// Reads `old` by the definitions that are in `new`, which has the same version, for as long as `old` is
/// open. Nothing is written to it: the transaction in which they hold is never committed.
pub(super) fn mend(old: &Connection, new: &Connection) -> rusqlite::Result<Table> {
    let mut table = Table { name: "sqlite_schema".to_owned(), taken: 0, faults: Vec::new() };
    let wanted = migrations::definitions(new)?;
    let found = match migrations::definitions(old) {
        Ok(found) => found,
        Err(error) => {
            table.faults.push(format!("the definitions are not readable: {error}"));
            return Ok(table);
        }
    };
    let lacking: Vec<&Definition> = wanted.iter().filter(|one| !found.contains(one)).collect();
    let strange: Vec<&Definition> = found.iter().filter(|one| !wanted.contains(one)).collect();
    table.taken = (wanted.len() - lacking.len()) as u64;
    if lacking.is_empty() {
        return Ok(table);
    }
    old.pragma_update(None, "query_only", false)?;
    // What does not fit into memory would go to the log before its commit.
    old.pragma_update(None, "cache_spill", false)?;
    old.execute_batch("BEGIN IMMEDIATE")?;
    for definition in lacking {
        let Definition { kind, name, table: of, sql } = definition;
        let theirs = strange.iter().find(|strange| strange.name == *name || strange.sql == *sql);
        let only = strange.first().filter(|_| strange.len() == 1);
        let mended = theirs.or(only).map(|theirs| {
            let query = "UPDATE sqlite_schema SET type = ?1, name = ?2, tbl_name = ?3, sql = ?4 \
                         WHERE CAST(name AS BLOB) = CAST(?5 AS BLOB) OR sql IS ?6";
            old.execute(query, params![kind, name, of, sql, theirs.name, theirs.sql])
        });
        let what = match mended {
            Some(Ok(1)) => "was damaged, and is read as it was",
            _ => "is not there",
        };
        table.faults.push(format!("the definition of the {kind} {name} {what}"));
    }
    old.pragma_update(None, "writable_schema", "RESET")?;
    old.pragma_update(None, "writable_schema", true)?;
    Ok(table)
}
