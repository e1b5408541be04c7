//! Frozen bodies that wait for delivery.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};

use super::checksums::{self, BATCHES};
use super::fresh::Fresh;
use crate::clock::Timestamp;
use crate::group::{PackedBatch, PackedGroup};
use crate::schema::edition::Hash;
use crate::settlement::{BatchHead, BatchId};
use bytes::Bytes;

/// Stores the bodies of `group`; gives their numbers.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    group: &PackedGroup,
    track_prefix: &str,
    now: Timestamp,
) -> rusqlite::Result<Vec<BatchId>> {
    let mut sources = group.tallies.iter().map(|tally| &*tally.source);
    let first = sources.next().unwrap_or_default();
    let source = if sources.all(|source| source == first) { first } else { "" };
    let created_at = now.as_millis();
    let insert = |batch: &PackedBatch| {
        let (meter, schema) = (&batch.meter, batch.schema);
        let origin =
            Origin { meter, schema, source, unknown: 0, decided: 0, created_at, instead_of: None };
        insert_one(transaction, batch, &origin, track_prefix)
    };
    group.batches.iter().map(insert).collect()
}

/// Stores the bodies of `group`, whose events are dead letters of `source`: they were sent
/// `unknown` times without a known outcome, and somebody has decided to send them again.
pub(super) fn insert_again(
    transaction: &Transaction<'_>,
    group: &PackedGroup,
    source: &str,
    unknown: u32,
    track_prefix: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let created_at = now.as_millis();
    group.batches.iter().try_for_each(|batch| {
        let (meter, schema) = (&batch.meter, batch.schema);
        let origin = Origin {
            meter,
            schema,
            source,
            unknown,
            decided: unknown,
            created_at,
            instead_of: None,
        };
        insert_one(transaction, batch, &origin, track_prefix).map(|_| ())
    })
}

/// What a batch has beside its body.
struct Origin<'o> {
    meter: &'o str,
    /// What its events were validated with.
    schema: Option<Hash>,
    source: &'o str,
    /// Attempts of unknown outcome that carried its events before.
    unknown: u32,
    /// Those of them that a person has looked at.
    decided: u32,
    created_at: i64,
    /// The track id of the batch in whose place it is put.
    instead_of: Option<&'o str>,
}

fn insert_one(
    transaction: &Transaction<'_>,
    batch: &PackedBatch,
    origin: &Origin<'_>,
    track_prefix: &str,
) -> rusqlite::Result<BatchId> {
    let head = "INSERT INTO batches (meter, source, track_id, events, payload_bytes, wire_bytes, \
                sha256, first_event_id, last_event_id, attempts, outcome_unknown_attempts, \
                decided_attempts, created_at, schema, quantity) \
                VALUES (?1, ?2, '', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12, ?13)";
    transaction.prepare_cached(head)?.execute(params![
        origin.meter,
        origin.source,
        batch.events,
        batch.payload_bytes.cast_signed(),
        i64::try_from(batch.body.len()).unwrap_or(i64::MAX),
        batch.sha256,
        batch.first_event_id,
        batch.last_event_id,
        origin.unknown,
        origin.decided,
        origin.created_at,
        origin.schema,
        batch.quantity.map(|quantity| quantity.to_string()),
    ])?;
    let id = transaction.last_insert_rowid();
    let track_id = format!("{track_prefix}-{id}");
    let fields = BATCHES.fields;
    let name = format!("UPDATE batches SET track_id = ?2 WHERE id = ?1 RETURNING {fields}");
    let checksum = transaction
        .prepare_cached(&name)?
        .query_row(params![id, track_id], |row| checksums::over(row, 0..BATCHES.columns))?;
    transaction
        .prepare_cached("UPDATE batches SET checksum = ?2 WHERE id = ?1")?
        .execute([id, checksum])?;
    let Origin { meter, instead_of, .. } = origin;
    tracing::debug!(track_id, meter, events = batch.events, instead_of, "a batch is being stored");
    transaction
        .prepare_cached("INSERT INTO bodies VALUES (?1, ?2)")?
        .execute(params![id, &batch.body[..]])?;
    Ok(BatchId(id))
}

/// Puts `halves` in the place of `batch`; does nothing when it is not there any more.
pub(super) fn split(
    transaction: &Transaction<'_>,
    batch: BatchId,
    halves: &[PackedBatch],
    track_prefix: &str,
) -> rusqlite::Result<()> {
    let query = "SELECT meter, source, outcome_unknown_attempts, decided_attempts, created_at, \
                 schema, track_id FROM batches WHERE id = ?1";
    let mut found = transaction.prepare_cached(query)?;
    let mut rows = found.query([batch.0])?;
    let Some(row) = rows.next()? else { return Ok(()) };
    let (meter, source, track_id): (String, String, String) =
        (row.get(0)?, row.get(1)?, row.get(6)?);
    let origin = Origin {
        meter: &meter,
        source: &source,
        unknown: row.get(2)?,
        decided: row.get(3)?,
        created_at: row.get(4)?,
        schema: row.get(5)?,
        instead_of: Some(&track_id),
    };
    drop(rows);
    for half in halves {
        insert_one(transaction, half, &origin, track_prefix)?;
    }
    retire(transaction, batch)?;
    Ok(())
}

/// What a retired batch leaves.
pub(super) struct Retired {
    /// The source of all its events; empty when there were several.
    pub(super) source: String,
    /// Its attempts.
    pub(super) tries: Tries,
}

/// Requests that carried something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tries {
    /// All that are on record.
    pub(super) attempts: u32,
    /// Those whose outcome is not known.
    pub(super) outcome_unknown: u32,
}

/// Takes `batch` out; gives what it leaves, or nothing when it is not there any more.
pub(super) fn retire(
    transaction: &Transaction<'_>,
    batch: BatchId,
) -> rusqlite::Result<Option<Retired>> {
    transaction.prepare_cached("DELETE FROM bodies WHERE batch = ?1")?.execute([batch.0])?;
    transaction
        .prepare_cached(
            "DELETE FROM batches WHERE id = ?1 RETURNING source, attempts, outcome_unknown_attempts",
        )?
        .query_row([batch.0], |row| {
            let tries = Tries { attempts: row.get(1)?, outcome_unknown: row.get(2)? };
            Ok(Retired { source: row.get(0)?, tries })
        })
        .optional()
}

/// Records a request that did not deliver `batch`.
pub(super) fn count_attempt(
    transaction: &Transaction<'_>,
    batch: BatchId,
    outcome_unknown: bool,
) -> rusqlite::Result<()> {
    let query = "UPDATE batches SET attempts = attempts + 1, \
                 outcome_unknown_attempts = outcome_unknown_attempts + ?2 WHERE id = ?1";
    transaction.prepare_cached(query)?.execute(params![batch.0, outcome_unknown])?;
    Ok(())
}

/// Records an attempt of unknown outcome on the oldest `count` batches of each meter.
pub(super) fn mark_unknown(transaction: &Transaction<'_>, count: u32) -> rusqlite::Result<usize> {
    let query = "UPDATE batches SET attempts = attempts + 1, \
                 outcome_unknown_attempts = outcome_unknown_attempts + 1 WHERE id IN \
                 (SELECT id FROM batches WHERE meter = ?1 ORDER BY id LIMIT ?2)";
    let mut mark = transaction.prepare(query)?;
    meters(transaction)?.iter().map(|meter| mark.execute(params![meter, count])).sum()
}

/// From each meter to the next by an index: `DISTINCT` would look at every batch.
pub(super) const METERS: &str = "WITH RECURSIVE waiting (meter) AS (SELECT min(meter) FROM batches \
     UNION ALL SELECT (SELECT min(meter) FROM batches WHERE meter > waiting.meter) FROM waiting \
     WHERE meter IS NOT NULL) SELECT meter FROM waiting WHERE meter IS NOT NULL";

/// The meters of which batches wait.
pub(super) fn meters(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare(METERS)?.query_map([], |row| row.get(0))?.collect()
}

/// When the oldest events of a meter came.
pub(super) const OLDEST: &str = "SELECT min(created_at) FROM batches WHERE meter = ?1";

/// When the oldest events of `meter` came that wait; none: nothing waits.
pub(super) fn oldest(connection: &Connection, meter: &str) -> rusqlite::Result<Option<Timestamp>> {
    let oldest: Option<i64> =
        connection.prepare_cached(OLDEST)?.query_row([meter], |row| row.get(0))?;
    Ok(oldest.map(Timestamp::from_millis))
}

/// Whether any batch is stored.
pub(super) fn exist(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM batches)")?
        .query_row([], |row| row.get(0))
}

/// What of a batch is a [`BatchHead`].
const HEAD: &str = "id, track_id, events, payload_bytes, attempts, outcome_unknown_attempts, \
                    decided_attempts, schema";

/// How many columns that is.
const HEAD_COLUMNS: usize = 8;

/// Of batches: that the numbers of its tries are none, which [`BatchHead`] cannot hold.
pub(super) const UNCOUNTED: &str = "NOT (attempts BETWEEN 0 AND 4294967295 \
                                    AND outcome_unknown_attempts BETWEEN 0 AND 4294967295 \
                                    AND decided_attempts BETWEEN 0 AND 4294967295)";

fn read_head(row: &Row<'_>) -> rusqlite::Result<BatchHead> {
    Ok(BatchHead {
        id: BatchId(row.get(0)?),
        track_id: row.get(1)?,
        events: row.get(2)?,
        payload_bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        attempts: row.get(4)?,
        outcome_unknown_attempts: row.get(5)?,
        decided_attempts: row.get(6)?,
        schema: row.get(7)?,
    })
}

/// The oldest batch of `meter` behind `after`, with its body: what was written, or an error. Where the
/// body is among the `fresh` ones, it is not read.
pub(super) fn next(
    connection: &Connection,
    meter: &str,
    after: BatchId,
    fresh: &Fresh,
) -> rusqlite::Result<Option<(BatchHead, Bytes)>> {
    let fields = BATCHES.fields;
    let query = format!(
        "SELECT {HEAD}, sha256, {fields}, checksum FROM batches \
         WHERE meter = ?1 AND id > ?2 ORDER BY id LIMIT 1"
    );
    // Both are of one moment: a batch may be taken out meanwhile.
    let snapshot = connection.unchecked_transaction()?;
    let found = snapshot.prepare_cached(&query)?.query_row(params![meter, after.0], |row| {
        let (head, first) = (read_head(row)?, HEAD_COLUMNS + 1);
        // An index that names another row would have that one sent again.
        let is_next = head.id > after;
        if is_next && checksums::agree(row, first..first + BATCHES.columns)? {
            Ok((head, row.get(HEAD_COLUMNS)?))
        } else {
            Err(damaged(head.id))
        }
    });
    let Some((head, sha256)) = found.optional()? else { return Ok(None) };
    let body = match fresh.take(head.id) {
        Some(body) => body,
        None => body(&snapshot, head.id, sha256)?,
    };
    Ok(Some((head, body)))
}

/// The body of `batch` as it was written, or an error.
fn body(connection: &Connection, batch: BatchId, sha256: [u8; 32]) -> rusqlite::Result<Bytes> {
    let query = "SELECT body FROM bodies WHERE batch = ?1";
    let body = connection
        .prepare_cached(query)?
        .query_row([batch.0], |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)));
    let body = body.optional()?.ok_or_else(|| damaged(batch))?;
    if sha256 == *Sha256::digest(&body) { Ok(body) } else { Err(damaged(batch)) }
}

fn damaged(batch: BatchId) -> rusqlite::Error {
    checksums::damage(format!("batch {} is not what was written", batch.0))
}

/// What is known of `batch`; none: it does not wait any more.
pub(super) fn head(connection: &Connection, batch: BatchId) -> rusqlite::Result<Option<BatchHead>> {
    let query = format!("SELECT {HEAD} FROM batches WHERE id = ?1");
    connection.prepare_cached(&query)?.query_row([batch.0], read_head).optional()
}
