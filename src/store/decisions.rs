//! Batches that wait, and what a person decides about those whose outcome is not known.
//!
//! A batch is *undecided* while it has more attempts of unknown outcome than somebody has looked
//! at. Deciding never counts anything twice: what is not there any more is left alone.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::receipts::{self, Answered};
use super::tallies;
use crate::clock::Timestamp;
use crate::settlement::BatchId;

/// A batch that waits, as `meterd batches` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredBatch {
    /// Its number.
    pub batch: i64,
    /// The `Zuora-Track-Id` of every request that carries it.
    pub track_id: String,
    /// The configured meter.
    pub meter: String,
    /// Events in it.
    pub events: u32,
    /// Bytes of the JSON array.
    pub payload_bytes: i64,
    /// SHA-256 of the gzip body, 64 hexadecimal digits.
    pub sha256: String,
    /// The id of its first event, where ids are stamped.
    pub first_event_id: Option<String>,
    /// The id of its last event.
    pub last_event_id: Option<String>,
    /// Requests that carried it, as far as recorded.
    pub attempts: u32,
    /// Those of them whose outcome is not known: Mediation may have the batch.
    pub outcome_unknown_attempts: u32,
    /// Whether nobody has decided yet what becomes of it.
    pub undecided: bool,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// The batches of one meter that nobody has decided about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Undecided {
    /// How many.
    pub count: u64,
    /// The track ids of the oldest.
    pub track_ids: Vec<String>,
}

/// Why a decision about a batch is none. Nothing was changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// It does not wait.
    #[error("no batch {0} waits: see `meterd receipts show {0}`")]
    Missing(String),
    /// There is nothing to decide.
    #[error("batch {0} has no attempt of unknown outcome: it is sent by itself")]
    Known(String),
}

/// At most `limit` batches behind `after`, oldest first: those of `meter` where one is given, and
/// those with an attempt of unknown outcome where only those are wanted.
pub(super) fn list(
    connection: &Connection,
    meter: Option<&str>,
    is_unknown: bool,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<StoredBatch>> {
    let query = "SELECT id, track_id, meter, events, payload_bytes, lower(hex(sha256)), \
                 first_event_id, last_event_id, attempts, outcome_unknown_attempts, \
                 outcome_unknown_attempts > decided_attempts, created_at FROM batches \
                 WHERE id > ?1 AND (?2 IS NULL OR meter = ?2) \
                 AND (NOT ?3 OR outcome_unknown_attempts > 0) ORDER BY id LIMIT ?4";
    let mut statement = connection.prepare_cached(query)?;
    statement.query_map(params![after, meter, is_unknown, limit], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredBatch> {
    Ok(StoredBatch {
        batch: row.get(0)?,
        track_id: row.get(1)?,
        meter: row.get(2)?,
        events: row.get(3)?,
        payload_bytes: row.get(4)?,
        sha256: row.get(5)?,
        first_event_id: row.get(6)?,
        last_event_id: row.get(7)?,
        attempts: row.get(8)?,
        outcome_unknown_attempts: row.get(9)?,
        undecided: row.get(10)?,
        created_at: Timestamp::from_millis(row.get(11)?),
    })
}

/// A lane that is held asks this after each commit. The condition is that of the index: no other batch is
/// looked at, which the planner does not see by itself.
pub(super) const UNDECIDED: &str = "SELECT track_id, count(*) OVER () FROM batches INDEXED BY batches_undecided \
     WHERE meter = ?1 AND outcome_unknown_attempts > decided_attempts ORDER BY id LIMIT ?2";

/// The batches of `meter` that nobody has decided about; at most `named_max` of them by name.
pub(super) fn undecided(
    connection: &Connection,
    meter: &str,
    named_max: u32,
) -> rusqlite::Result<Undecided> {
    let mut statement = connection.prepare_cached(UNDECIDED)?;
    let mut rows = statement.query(params![meter, named_max])?;
    let mut found = Undecided::default();
    while let Some(row) = rows.next()? {
        found.track_ids.push(row.get(0)?);
        found.count = row.get::<_, i64>(1)?.cast_unsigned();
    }
    Ok(found)
}

/// Lets the batch called `name`, its track id or its number, be sent again.
pub(super) fn resend(
    transaction: &Transaction<'_>,
    name: &str,
) -> rusqlite::Result<Result<(), Objection>> {
    let doubted = match doubted(transaction, name)? {
        Ok(doubted) => doubted,
        Err(objection) => return Ok(Err(objection)),
    };
    let query = "UPDATE batches SET decided_attempts = outcome_unknown_attempts WHERE id = ?1";
    transaction.prepare_cached(query)?.execute([doubted.batch.0])?;
    Ok(Ok(()))
}

/// Lets all undecided batches, those of `meter` where one is given, be sent again; gives how many.
pub(super) fn resend_all(
    transaction: &Transaction<'_>,
    meter: Option<&str>,
) -> rusqlite::Result<usize> {
    let query = "UPDATE batches SET decided_attempts = outcome_unknown_attempts \
                 WHERE outcome_unknown_attempts > decided_attempts AND (?1 IS NULL OR meter = ?1)";
    transaction.execute(query, [meter])
}

/// Puts a receipt in the place of the batch called `name`: somebody knows that Mediation has it.
pub(super) fn confirm(
    transaction: &Transaction<'_>,
    name: &str,
    now: Timestamp,
) -> rusqlite::Result<Result<(), Objection>> {
    let doubted = match doubted(transaction, name)? {
        Ok(doubted) => doubted,
        Err(objection) => return Ok(Err(objection)),
    };
    let Doubted { batch, meter, attempts } = doubted;
    let answered = Answered { status: receipts::CONFIRMED, is_duplicate: false, at: now };
    if let Some(events) = receipts::replace_batch(transaction, batch, attempts, answered)? {
        tallies::add_delivered(transaction, &meter, events, now)?;
    }
    Ok(Ok(()))
}

/// A batch that Mediation may have.
struct Doubted {
    batch: BatchId,
    meter: String,
    attempts: u32,
}

fn doubted(
    transaction: &Transaction<'_>,
    name: &str,
) -> rusqlite::Result<Result<Doubted, Objection>> {
    let query = "SELECT id, meter, attempts, outcome_unknown_attempts FROM batches \
                 WHERE id = ?1 AND ?2 IN (track_id, CAST(id AS TEXT))";
    let found: Option<(Doubted, u32)> = transaction
        .prepare_cached(query)?
        .query_row(params![receipts::number(name), name], |row| {
            let batch = BatchId(row.get(0)?);
            Ok((Doubted { batch, meter: row.get(1)?, attempts: row.get(2)? }, row.get(3)?))
        })
        .optional()?;
    Ok(match found {
        None => Err(Objection::Missing(name.to_owned())),
        Some((_, 0)) => Err(Objection::Known(name.to_owned())),
        Some((doubted, _)) => Ok(doubted),
    })
}
