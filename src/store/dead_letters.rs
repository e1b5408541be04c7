//! Lines that are no events, kept until a person decides.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};
use serde::Serialize;

use super::batches::Tries;
use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;

/// A page ends when its events have so many bytes: a line may have hundreds of kilobytes.
const PAGE_BYTES: usize = 8 << 20;

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
    /// Requests that carried the event before Mediation refused it.
    pub attempts: u32,
    /// Those of them whose outcome is not known: Mediation may have the event.
    pub outcome_unknown_attempts: u32,
    /// When it was stored.
    pub at: Timestamp,
    /// The id that the event has or would have had.
    pub event_id: Option<String>,
    /// The line; bytes that are not UTF-8 are replaced here, and kept in the store.
    pub event: String,
    /// The line as it came.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// A dead letter with the beginning of its event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The letter; of its event, only the beginning.
    #[serde(flatten)]
    pub letter: StoredLetter,
    /// Bytes of the event that are here.
    pub shown_bytes: usize,
    /// Bytes of the whole event.
    pub event_bytes: i64,
}

/// How many letters there are of a meter with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterCount {
    /// The meter.
    pub meter: String,
    /// The name of a reason.
    pub reason: String,
    /// How many.
    pub letters: i64,
}

/// Which letters are meant; none of the conditions: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Those with these numbers; empty: any number.
    pub ids: Vec<i64>,
    /// Those of this meter.
    pub meter: Option<String>,
    /// Those of this source.
    pub source: Option<String>,
    /// Those with this reason.
    pub reason: Option<String>,
    /// Those stored at this time or later.
    pub since: Option<Timestamp>,
    /// Those stored before this time.
    pub until: Option<Timestamp>,
}

/// The condition of [`Filter::values`].
const WHERE: &str = "id > ?1 AND id <= ?2 \
    AND (?3 IS NULL OR id IN (SELECT value FROM json_each(?3))) \
    AND (?4 IS NULL OR meter = ?4) AND (?5 IS NULL OR source = ?5) \
    AND (?6 IS NULL OR reason = ?6) AND (?7 IS NULL OR at >= ?7) AND (?8 IS NULL OR at < ?8)";

impl Filter {
    /// The letters with these numbers.
    pub fn of_ids(ids: Vec<i64>) -> Self {
        Self { ids, ..Self::default() }
    }

    /// The parameters of [`WHERE`], for letters with numbers above `after` and up to `last`.
    fn values(&self, after: i64, last: i64) -> [Value; 8] {
        let ids = (!self.ids.is_empty()).then(|| serde_json::Value::from(&*self.ids).to_string());
        [
            Value::from(after),
            Value::from(last),
            Value::from(ids),
            Value::from(self.meter.clone()),
            Value::from(self.source.clone()),
            Value::from(self.reason.clone()),
            Value::from(self.since.map(Timestamp::as_millis)),
            Value::from(self.until.map(Timestamp::as_millis)),
        ]
    }
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

/// All but the event.
const COLUMNS: &str = "id, meter, source, position, reason, field, detail, code, attempts, \
                       outcome_unknown_attempts, at, event_id";

/// At most `limit` letters with numbers above `after`, oldest first, and no more once they have
/// [`PAGE_BYTES`]. None: there are no more.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<StoredLetter>> {
    let query =
        format!("SELECT {COLUMNS}, event FROM dead_letters WHERE {WHERE} ORDER BY id LIMIT ?9");
    let mut statement = connection.prepare_cached(&query)?;
    let values = filter.values(after, i64::MAX).into_iter().chain([Value::from(limit)]);
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let letter = read(row)?;
        bytes += letter.bytes.len();
        page.push(letter);
    }
    Ok(page)
}

/// The letter with number `id`.
pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<StoredLetter>> {
    let query = format!("SELECT {COLUMNS}, event FROM dead_letters WHERE id = ?1");
    connection.query_row(&query, [id], read).optional()
}

/// At most `limit` letters with numbers below `before`, newest first, with at most `excerpt_bytes` of
/// their events.
pub(super) fn latest(
    connection: &Connection,
    filter: &Filter,
    before: i64,
    limit: u32,
    excerpt_bytes: u32,
) -> rusqlite::Result<Vec<Shown>> {
    let query = format!(
        "SELECT {COLUMNS}, substr(event, 1, ?10), length(event) FROM dead_letters \
         WHERE {WHERE} ORDER BY id DESC LIMIT ?9"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let bounds = [Value::from(limit), Value::from(excerpt_bytes)];
    let values = filter.values(0, before.saturating_sub(1)).into_iter().chain(bounds);
    let shown = |row: &Row<'_>| {
        let letter = read(row)?;
        Ok(Shown { shown_bytes: letter.bytes.len(), event_bytes: row.get(13)?, letter })
    };
    statement.query_map(params_from_iter(values), shown)?.collect()
}

/// How many letters there are of each meter and reason.
pub(super) fn counts(connection: &Connection) -> rusqlite::Result<Vec<LetterCount>> {
    let query = "SELECT meter, reason, count(*) FROM dead_letters GROUP BY meter, reason";
    let count = |row: &Row<'_>| {
        Ok(LetterCount { meter: row.get(0)?, reason: row.get(1)?, letters: row.get(2)? })
    };
    connection.prepare_cached(query)?.query_map([], count)?.collect()
}

/// The number of the newest letter; 0: there is none.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT ifnull(max(id), 0) FROM dead_letters", [], |row| row.get(0))
}

/// Takes the letters with `ids` out; false when one of them is not there any more.
pub(super) fn take(transaction: &Transaction<'_>, ids: &[i64]) -> rusqlite::Result<bool> {
    let query = "DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(?1))";
    let ids_as_json = serde_json::Value::from(ids).to_string();
    Ok(transaction.prepare_cached(query)?.execute([ids_as_json])? == ids.len())
}

/// Gives up at most `limit` letters with numbers above `after`, and counts them as discarded.
/// Gives how many and the last number; none: there are no more.
pub(super) fn discard(
    transaction: &Transaction<'_>,
    filter: &Filter,
    after: i64,
    limit: u32,
    because: (&str, Timestamp),
) -> rusqlite::Result<Option<(usize, i64)>> {
    let page = format!(
        "SELECT max(id) FROM (SELECT id FROM dead_letters WHERE {WHERE} ORDER BY id LIMIT ?9)"
    );
    let values = filter.values(after, i64::MAX).into_iter().chain([Value::from(limit)]);
    let last: Option<i64> =
        transaction.query_row(&page, params_from_iter(values), |row| row.get(0))?;
    let Some(last) = last else { return Ok(None) };
    let (because, now) = because;
    let values = |more: &[Value]| {
        params_from_iter(filter.values(after, last).into_iter().chain(more.to_vec()))
    };
    let record = format!(
        "INSERT INTO discards (at, meter, source, letters, because) \
         SELECT ?9, meter, source, count(*), ?10 FROM dead_letters WHERE {WHERE} \
         GROUP BY meter, source"
    );
    let of_record = [Value::from(now.as_millis()), Value::from(because.to_owned())];
    transaction.execute(&record, values(&of_record))?;
    let count = format!(
        "INSERT INTO tallies (hour, meter, source, discarded) \
         SELECT ?9, meter, source, count(*) FROM dead_letters WHERE {WHERE} \
         GROUP BY meter, source \
         ON CONFLICT DO UPDATE SET discarded = discarded + excluded.discarded"
    );
    transaction.execute(&count, values(&[Value::from(now.hour())]))?;
    let delete = format!("DELETE FROM dead_letters WHERE {WHERE}");
    let gone = transaction.execute(&delete, values(&[]))?;
    Ok(Some((gone, last)))
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredLetter> {
    let bytes: Vec<u8> = row.get(12)?;
    Ok(StoredLetter {
        id: row.get(0)?,
        meter: row.get(1)?,
        source: row.get(2)?,
        position: row.get(3)?,
        reason: row.get(4)?,
        field: row.get(5)?,
        detail: row.get(6)?,
        code: row.get(7)?,
        attempts: row.get(8)?,
        outcome_unknown_attempts: row.get(9)?,
        at: Timestamp::from_millis(row.get(10)?),
        event_id: row.get(11)?,
        event: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    })
}
