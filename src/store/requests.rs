//! Requests that were answered, or would have been: remembered in the transaction that holds their
//! lines, so that a repeat after a crash is known.

use rusqlite::{Connection, Transaction, params};

use crate::clock::Timestamp;
use crate::notice::Notice;

/// How many that have expired are forgotten for each that is new: more than one, so that the table
/// shrinks when fewer come, and few, so that no commit takes long.
const FORGOTTEN_FOR_EACH: usize = 2;

/// Remembers the requests among `notices`, and forgets some that have expired.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    notices: &[Notice],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut new = 0;
    for key in notices.iter().filter_map(Notice::key) {
        // There already: it has expired and is not forgotten yet.
        let query = "INSERT OR REPLACE INTO requests VALUES (?1, ?2)";
        transaction
            .prepare_cached(query)?
            .execute(params![key.hash, key.expires_at.as_millis()])?;
        new += 1;
    }
    if new > 0 {
        let query = "DELETE FROM requests WHERE hash IN (SELECT hash FROM requests \
                     WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
        let limit = i64::try_from(new * FORGOTTEN_FOR_EACH).unwrap_or(i64::MAX);
        transaction.prepare_cached(query)?.execute(params![now.as_millis(), limit])?;
    }
    Ok(())
}

/// Whether a request with `hash` is remembered at `now`.
pub(super) fn exists(
    connection: &Connection,
    hash: &[u8; 32],
    now: Timestamp,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM requests WHERE hash = ?1 AND expires_at > ?2)",
        )?
        .query_row(params![hash, now.as_millis()], |row| row.get(0))
}
