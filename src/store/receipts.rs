//! What remains of a batch once Mediation has it.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::settlement::BatchId;
use crate::store::batches;

/// A receipt as `meterd receipts` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The number of the batch.
    pub batch: i64,
    /// The `Zuora-Track-Id` that its requests carried.
    pub track_id: String,
    /// The configured meter.
    pub meter: String,
    /// Events delivered by it.
    pub events: u32,
    /// Bytes of the JSON array.
    pub payload_bytes: i64,
    /// Bytes of the gzip body.
    pub wire_bytes: i64,
    /// SHA-256 of the gzip body, 64 hexadecimal digits.
    pub sha256: String,
    /// The id of its first event, where ids are stamped.
    pub first_event_id: Option<String>,
    /// The id of its last event.
    pub last_event_id: Option<String>,
    /// Requests that carried it.
    pub attempts: u32,
    /// Requests before the last one whose outcome is not known: events may be there twice.
    pub outcome_unknown_attempts: u32,
    /// When the answer came.
    pub delivered_at: Timestamp,
    /// The HTTP status of the answer; [`CONFIRMED`]: a person has confirmed the delivery.
    pub status: u16,
    /// Whether Mediation said that it had the events before.
    pub duplicate: bool,
    /// The sum of the events' quantities, a decimal number; none: not known.
    pub quantity: Option<String>,
}

/// The status of a receipt that no answer brought, but a person who knows that Mediation has it.
pub const CONFIRMED: u16 = 0;

/// The answer that made a batch a delivered one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// The HTTP status.
    pub(super) status: u16,
    /// Whether Mediation said that it had the events before.
    pub(super) is_duplicate: bool,
    /// When it came.
    pub(super) at: Timestamp,
}

/// Puts a receipt in the place of `batch`; gives its number of events, or nothing when the batch
/// is not there, which is so after a receipt of it.
pub(super) fn replace_batch(
    transaction: &Transaction<'_>,
    batch: BatchId,
    attempts: u32,
    answered: Answered,
) -> rusqlite::Result<Option<u32>> {
    let copy = "INSERT INTO receipts (batch, meter, track_id, events, payload_bytes, wire_bytes, \
                sha256, first_event_id, last_event_id, attempts, outcome_unknown_attempts, \
                created_at, delivered_at, status, duplicate, quantity) \
                SELECT id, meter, track_id, events, payload_bytes, wire_bytes, \
                sha256, first_event_id, last_event_id, ?2, outcome_unknown_attempts, created_at, \
                ?3, ?4, ?5, quantity FROM batches WHERE id = ?1 RETURNING events";
    let Answered { status, is_duplicate, at } = answered;
    let events = transaction
        .prepare_cached(copy)?
        .query_row(params![batch.0, attempts, at.as_millis(), status, is_duplicate], |row| {
            row.get(0)
        })
        .optional()?;
    batches::retire(transaction, batch)?;
    Ok(events)
}

/// Forgets at most `limit` receipts of deliveries before `before`, oldest first; gives how many.
/// Tallies keep counting them.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    before: Timestamp,
    limit: u32,
) -> rusqlite::Result<usize> {
    let query = "DELETE FROM receipts WHERE batch IN \
                 (SELECT batch FROM receipts WHERE delivered_at < ?1 ORDER BY delivered_at LIMIT ?2)";
    transaction.prepare_cached(query)?.execute(params![before.as_millis(), limit])
}

/// Which receipts are meant; none of the conditions: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Those of this meter.
    pub meter: Option<String>,
    /// Those delivered at this time or later.
    pub from: Option<Timestamp>,
    /// Those delivered before this time.
    pub to: Option<Timestamp>,
    /// Those with an attempt whose outcome is not known.
    pub is_unknown: bool,
}

const COLUMNS: &str = "batch, track_id, meter, events, payload_bytes, wire_bytes, lower(hex(sha256)), \
                       first_event_id, last_event_id, attempts, outcome_unknown_attempts, \
                       delivered_at, status, duplicate, quantity";

/// Numbers between which all receipts are of the time that `filter` means; none: there are none.
pub(super) fn span(
    connection: &Connection,
    filter: &Filter,
) -> rusqlite::Result<Option<(i64, i64)>> {
    if filter.from.is_none() && filter.to.is_none() {
        return Ok(Some((1, i64::MAX)));
    }
    // The index by time has the numbers: no receipt is read.
    let query = "SELECT min(batch), max(batch) FROM receipts \
                 WHERE delivered_at >= ?1 AND delivered_at < ?2";
    let from = filter.from.map_or(i64::MIN, Timestamp::as_millis);
    let to = filter.to.map_or(i64::MAX, Timestamp::as_millis);
    let ends: (Option<i64>, Option<i64>) =
        connection.query_row(query, [from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(ends.0.zip(ends.1))
}

/// At most `limit` receipts of batches behind the start of `numbers` and up to its end, oldest
/// first.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    numbers: Range<i64>,
    limit: u32,
) -> rusqlite::Result<Vec<Receipt>> {
    let query = format!(
        "SELECT {COLUMNS} FROM receipts WHERE batch > ?1 AND batch <= ?2 \
         AND (?3 IS NULL OR meter = ?3) AND (?4 IS NULL OR delivered_at >= ?4) \
         AND (?5 IS NULL OR delivered_at < ?5) AND (NOT ?6 OR outcome_unknown_attempts > 0) \
         ORDER BY batch LIMIT ?7"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let values = params![
        numbers.start,
        numbers.end,
        filter.meter,
        filter.from.map(Timestamp::as_millis),
        filter.to.map(Timestamp::as_millis),
        filter.is_unknown,
        limit,
    ];
    statement.query_map(values, read)?.collect()
}

/// The receipt with the track id or batch number `name`.
pub(super) fn one(connection: &Connection, name: &str) -> rusqlite::Result<Option<Receipt>> {
    let query = format!(
        "SELECT {COLUMNS} FROM receipts WHERE batch = ?1 AND ?2 IN (track_id, CAST(batch AS TEXT))"
    );
    connection.query_row(&query, params![number(name), name], read).optional()
}

/// The number of the batch that is called `name`. Track ids end with it, so that the batch is
/// found by its primary key by either.
pub fn number(name: &str) -> Option<i64> {
    name.rsplit('-').next().and_then(|number| number.parse().ok())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Receipt> {
    Ok(Receipt {
        batch: row.get(0)?,
        track_id: row.get(1)?,
        meter: row.get(2)?,
        events: row.get(3)?,
        payload_bytes: row.get(4)?,
        wire_bytes: row.get(5)?,
        sha256: row.get(6)?,
        first_event_id: row.get(7)?,
        last_event_id: row.get(8)?,
        attempts: row.get(9)?,
        outcome_unknown_attempts: row.get(10)?,
        delivered_at: Timestamp::from_millis(row.get(11)?),
        status: row.get(12)?,
        duplicate: row.get(13)?,
        quantity: row.get(14)?,
    })
}
