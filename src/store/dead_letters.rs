//! Lines that are no events, kept until a person decides.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::batches::Tries;
use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;

/// A dead letter as `meterd dead-letters` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredLetter {
    /// Its number.
    pub id: i64,
    /// The meter that it was read for.
    pub meter: String,
    /// The configured source.
    pub source: String,
    /// `path:offset` or `peer#line`.
    pub position: String,
    /// The name of a reason.
    pub reason: String,
    /// The field that is wrong.
    pub field: Option<String>,
    /// What was found and what would be right.
    pub detail: String,
    /// The server's code, for events that Mediation refused.
    pub code: Option<String>,
    /// When it was stored.
    pub at: Timestamp,
    /// The line; bytes that are not UTF-8 are replaced here, and kept in the store.
    pub event: String,
}

/// Stores a dead letter.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    letter: &DeadLetter,
    tries: Tries,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO dead_letters (meter, source, position, reason, field, detail, code, \
                 at, event, event_id, attempts, outcome_unknown_attempts) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    transaction.prepare_cached(query)?.execute(params![
        &*letter.meter,
        &*letter.source,
        letter.position,
        letter.reason.name(),
        letter.field,
        letter.detail,
        letter.code,
        now.as_millis(),
        letter.event,
        letter.event_id,
        tries.attempts,
        tries.outcome_unknown,
    ])?;
    Ok(())
}

const COLUMNS: &str = "id, meter, source, position, reason, field, detail, code, at, event";

/// At most `limit` letters with numbers above `after`, oldest first.
pub(super) fn list(
    connection: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<StoredLetter>> {
    let query = format!("SELECT {COLUMNS} FROM dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2");
    connection.prepare(&query)?.query_map(params![after, limit], read)?.collect()
}

/// The letter with number `id`.
pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<StoredLetter>> {
    let query = format!("SELECT {COLUMNS} FROM dead_letters WHERE id = ?1");
    connection.query_row(&query, [id], read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredLetter> {
    let event: Vec<u8> = row.get(9)?;
    Ok(StoredLetter {
        id: row.get(0)?,
        meter: row.get(1)?,
        source: row.get(2)?,
        position: row.get(3)?,
        reason: row.get(4)?,
        field: row.get(5)?,
        detail: row.get(6)?,
        code: row.get(7)?,
        at: Timestamp::from_millis(row.get(8)?),
        event: String::from_utf8_lossy(&event).into_owned(),
    })
}
