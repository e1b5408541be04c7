//! What every statement stands on: the definitions of the tables, the rows that there have to be, and the
//! structure of what is read by an index. `SQLite` takes a flipped bit in a name for another name.
//!
//! The agent looks at the first two and at the cursors before it uses a store, which costs the same
//! however much waits, and at the rest while it runs already. An error means that nothing more can be looked at.

use std::ffi::c_int;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ffi};

use super::checksums;
use super::error::is_damage;
use super::migrations::{self, Definition};

/// Small tables without which no commit succeeds, and the cursors: a file whose cursor is not found is read
/// again from its beginning.
const FIRST: [&str; 5] = ["meta", "sqlite_sequence", "lanes", "sums", "cursors"];

/// What a lane or a commit relies on and what grows: a row that its index does not have waits for ever.
const GROWING: [&str; 2] = ["batches", "tallies"];

/// Numbers that are never used again, by their table, and what has used some.
const USED: [(&str, &str); 2] = [
    (
        "batches",
        "SELECT max(number) FROM (SELECT max(id) AS number FROM batches \
         UNION ALL SELECT max(batch) FROM receipts)",
    ),
    (
        "dead_letters",
        "SELECT max(number) FROM (SELECT max(id) AS number FROM dead_letters \
         UNION ALL SELECT max(letter) FROM refusals)",
    ),
];

/// Hexadecimal digits of the store's id.
const ID_DIGITS: usize = 16;

/// Fails where nothing can be done with the store. Takes the same time however much waits.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    first(faults(connection)?)?;
    FIRST.iter().try_for_each(|table| first(structure(connection, table)?))
}

/// Fails where rows are not found that are there. Takes time that grows with what waits.
pub(super) fn look(connection: &Connection) -> rusqlite::Result<()> {
    GROWING.iter().try_for_each(|table| first(structure(connection, table)?))
}

fn first(faults: Vec<String>) -> rusqlite::Result<()> {
    faults.into_iter().next().map_or(Ok(()), |words| Err(checksums::damage(words)))
}

/// What is wrong with the structure of `what`: a table with its indexes, or, where it is a number, everything
/// with so many faults at most.
pub(super) fn structure(connection: &Connection, what: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({what})"))?;
    let mut rows = statement.query([])?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next()? {
        let found: String = row.get(0)?;
        // The first line of several only names the database.
        for line in found.lines().filter(|line| *line != "ok" && !line.starts_with("***")) {
            if is_unread(line) {
                let failed = ffi::Error::new(ffi::SQLITE_IOERR);
                return Err(rusqlite::Error::SqliteFailure(failed, Some(line.to_owned())));
            }
            faults.push(format!("structure: {line}"));
        }
    }
    Ok(faults)
}

/// Whether a read has failed, which `SQLite` tells in the same way as damage: the next one may succeed.
fn is_unread(line: &str) -> bool {
    match line.split_once("unable to get the page. error code=") {
        Some((_, code)) => {
            code.parse::<c_int>().is_ok_and(|code| code & 0xff != ffi::SQLITE_CORRUPT)
        }
        None => line.contains("failed to get page"),
    }
}

/// What is wrong with definitions and with the rows that there have to be.
pub(super) fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut faults = definitions(connection)?;
    // Without them the rest cannot be asked for.
    if faults.is_empty() {
        faults.extend(meta(connection)?);
        faults.extend(numbers(connection)?);
    }
    Ok(faults)
}

fn definitions(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let found = migrations::definitions(connection)?;
    let mut faults = Vec::new();
    if !migrations::are_written(&found) {
        let written = migrations::written()?;
        for Definition { kind, name, .. } in written.iter().filter(|one| !found.contains(one)) {
            faults.push(format!("the definition of the {kind} {name} is not what was written"));
        }
    }
    // Two that share their pages write over each other.
    let shared = "SELECT count(*) > count(DISTINCT rootpage) FROM sqlite_schema \
                  WHERE type <> 'trigger'";
    if connection.query_row(shared, [], |row| row.get(0))? {
        faults.push("two tables or indexes have the same pages".to_owned());
    }
    if faults.is_empty() {
        for table in found.iter().filter(|definition| definition.kind == "table") {
            let query = format!("SELECT EXISTS (SELECT 1 FROM \"{}\" NOT INDEXED)", table.name);
            match connection.query_row(&query, [], |_| Ok(())) {
                Ok(()) => {}
                Err(error) if is_damage(&error) => {
                    faults.push(format!("the table {}: {error}", table.name));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(faults)
}

/// What is wrong with the rows of the table of that name.
pub(super) fn meta(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT key, value FROM meta")?;
    let mut rows = statement.query([])?;
    let (mut faults, mut there) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_bytes_or_null()?.unwrap_or_default();
        let is_good = match (key, row.get_ref(1)?) {
            (b"store_id", ValueRef::Text(id)) => {
                there += 1;
                let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                id.len() == ID_DIGITS && id.iter().all(is_digit)
            }
            (b"commits", ValueRef::Integer(commits)) => {
                there += 1;
                commits >= 0
            }
            (b"running", ValueRef::Integer(max)) => max > 0 && u32::try_from(max).is_ok(),
            (b"not_before", ValueRef::Integer(_)) => true,
            _ => false,
        };
        if !is_good {
            let key = String::from_utf8_lossy(key);
            faults.push(format!("the row {key} of meta is not what was written"));
        }
    }
    if there != 2 {
        faults.push("meta lacks the id of the store or the number of its commits".to_owned());
    }
    Ok(faults)
}

/// A number that is used again is the track id of two batches.
fn numbers(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut faults = Vec::new();
    for (table, used) in USED {
        let last = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
        let used = connection.query_row(used, [], last)?.unwrap_or(0);
        let query =
            "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1 AND typeof(seq) = 'integer'";
        let given = connection.query_row(query, [table], last)?.unwrap_or(0);
        if given < used {
            faults.push(format!("numbers of {table} were given up to {given}, and {used} is used"));
        }
    }
    Ok(faults)
}
