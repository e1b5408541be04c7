//! Whose event ids this agent stamps: an event of one of these is ours, and no other agent's.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::position::Origin;

/// Records that events with ids of `origins` are stored.
pub(super) fn see(
    transaction: &Transaction<'_>,
    origins: &[(Arc<str>, Origin)],
    now: Timestamp,
) -> rusqlite::Result<()> {
    // Once an hour is often enough to know which are old: a followed file is in every commit.
    let query = "INSERT INTO origins VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET seen_at = ?3 WHERE seen_at < ?3 - 3600000";
    for (source, origin) in origins {
        transaction.prepare_cached(query)?.execute(params![
            origin.0.cast_signed(),
            &**source,
            now.as_millis()
        ])?;
    }
    Ok(())
}

/// The source of the stream; none: it is not one of ours.
pub(super) fn source(
    transaction: &Transaction<'_>,
    origin: Origin,
) -> rusqlite::Result<Option<String>> {
    let query = "SELECT source FROM origins WHERE origin = ?1";
    let mut statement = transaction.prepare_cached(query)?;
    statement.query_row([origin.0.cast_signed()], |row| row.get(0)).optional()
}

/// Forgets at most `limit` streams of which nothing came since `before`; gives how many.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    before: Timestamp,
    limit: u32,
) -> rusqlite::Result<usize> {
    let query = "DELETE FROM origins WHERE origin IN \
                 (SELECT origin FROM origins WHERE seen_at < ?1 ORDER BY seen_at LIMIT ?2)";
    transaction.prepare_cached(query)?.execute(params![before.as_millis(), limit])
}
