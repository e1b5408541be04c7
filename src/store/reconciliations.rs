//! What the books say of a meter and a time, for who compares them with Mediation's; and what the
//! latest comparison came to.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::quantity::Total;

/// Times are told in whole seconds: so much of a border's second may be on its other side.
const SECOND: Duration = Duration::from_secs(1);

/// Which deliveries are compared: from `from`, before `to`. Mediation may have processed them
/// between `delay` before the one and `delay` after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant behind it.
    pub to: Timestamp,
    /// How long Mediation may take, and its clock be off.
    pub delay: Duration,
}

/// Events and their quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub events: u64,
    /// What they sum up to; `unknown` counts receipts or events.
    pub total: Total,
}

/// What the books say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    /// Events with a receipt in the span, those that were refused later among them.
    pub sent: Amount,
    /// Those that were refused later, by the time at which Mediation refused them.
    pub refused: Amount,
    /// Those of them that are dead letters still.
    pub waiting: Amount,
    /// Events outside the span that Mediation may have counted in it.
    pub maybe_within: u64,
    /// Events of the span that Mediation may have counted before it.
    pub maybe_before: u64,
    /// Events with a receipt behind the span.
    pub younger: u64,
}

impl Amount {
    fn add(&mut self, events: u64, quantity: Option<&str>) {
        self.events += events;
        self.total.add(quantity.and_then(|quantity| quantity.parse().ok()));
    }
}

/// Adds up what is known of `meter` and `span`, in one snapshot.
pub(super) fn books(
    transaction: &Transaction<'_>,
    meter: &str,
    span: &Span,
) -> rusqlite::Result<Books> {
    let Span { from, to, delay } = *span;
    let edge = delay * 2 + SECOND;
    let mut books = Books::default();
    let query = "SELECT events, quantity, delivered_at, created_at, outcome_unknown_attempts > 0 \
                 FROM receipts WHERE delivered_at >= ?1 AND meter = ?2";
    let mut statement = transaction.prepare_cached(query)?;
    let mut rows = statement.query(params![from.before(edge).as_millis(), meter])?;
    while let Some(row) = rows.next()? {
        let events = u64::from(row.get::<_, u32>(0)?);
        let (delivered_at, created_at): (Timestamp, Timestamp) =
            (Timestamp::from_millis(row.get(2)?), Timestamp::from_millis(row.get(3)?));
        let is_doubted: bool = row.get(4)?;
        if delivered_at >= to {
            books.younger += events;
        }
        if delivered_at >= from && delivered_at < to {
            books.sent.add(events, row.get_ref(1)?.as_str_or_null()?);
            if is_doubted && created_at < from.before(delay) {
                books.maybe_before += events;
            }
        } else if delivered_at < to.after(edge) || (is_doubted && created_at < to.after(delay)) {
            books.maybe_within += events;
        }
    }
    let query = "SELECT coalesce(sum(events), 0) FROM batches \
                 WHERE meter = ?1 AND outcome_unknown_attempts > 0 AND created_at < ?2";
    let waiting: i64 = transaction
        .prepare_cached(query)?
        .query_row(params![meter, to.after(delay).as_millis()], |row| row.get(0))?;
    books.maybe_within += waiting.unsigned_abs();
    let query = "SELECT quantity, EXISTS (SELECT 1 FROM dead_letters WHERE id = letter) \
                 FROM refusals WHERE meter = ?1 AND error_at >= ?2 AND error_at < ?3";
    let mut statement = transaction.prepare_cached(query)?;
    let (first, end) = (from.before(delay), to.after(delay + SECOND));
    let mut rows = statement.query(params![meter, first.as_millis(), end.as_millis()])?;
    while let Some(row) = rows.next()? {
        let quantity = row.get_ref(0)?.as_str_or_null()?;
        books.refused.add(1, quantity);
        if row.get(1)? {
            books.waiting.add(1, quantity);
        }
    }
    Ok(books)
}

/// What the latest comparison of a meter came to, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// When it was made.
    pub at: Timestamp,
    /// Deliveries from here
    pub from: Timestamp,
    /// and before this were compared.
    pub to: Timestamp,
    /// Events with a receipt, without those that were refused later.
    pub delivered: i64,
    /// Events that Mediation put out.
    pub output: i64,
    /// Events that were refused after the 200.
    pub refused: i64,
    /// Those of them that are dead letters still.
    pub waiting: i64,
    /// Events that Mediation dropped as repeats.
    pub repeats: i64,
    /// Delivered events that neither came out nor were refused; negative: more came out.
    pub unexplained: i64,
    /// Whether nothing waits and nothing is unexplained, as far as could be seen.
    pub even: bool,
}

/// Keeps what was found of `meter`, unless what is kept is of a later time.
pub(super) fn keep(
    connection: &Connection,
    meter: &str,
    found: &Reconciled,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO reconciliations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
                 ON CONFLICT DO UPDATE SET at = excluded.at, from_at = excluded.from_at, \
                 to_at = excluded.to_at, delivered = excluded.delivered, output = excluded.output, \
                 refused = excluded.refused, waiting = excluded.waiting, \
                 repeats = excluded.repeats, unexplained = excluded.unexplained, \
                 is_even = excluded.is_even WHERE excluded.to_at >= to_at";
    connection.execute(
        query,
        params![
            meter,
            found.at.as_millis(),
            found.from.as_millis(),
            found.to.as_millis(),
            found.delivered,
            found.output,
            found.refused,
            found.waiting,
            found.repeats,
            found.unexplained,
            found.even,
        ],
    )?;
    Ok(())
}

/// What is kept, by meter.
pub(super) fn latest(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Reconciled>> {
    let query = "SELECT meter, at, from_at, to_at, delivered, output, refused, waiting, repeats, \
                 unexplained, is_even FROM reconciliations";
    let mut statement = connection.prepare_cached(query)?;
    let read = |row: &rusqlite::Row<'_>| {
        let time = |index| row.get(index).map(Timestamp::from_millis);
        let found = Reconciled {
            at: time(1)?,
            from: time(2)?,
            to: time(3)?,
            delivered: row.get(4)?,
            output: row.get(5)?,
            refused: row.get(6)?,
            waiting: row.get(7)?,
            repeats: row.get(8)?,
            unexplained: row.get(9)?,
            even: row.get(10)?,
        };
        Ok((row.get(0)?, found))
    };
    statement.query_map([], read)?.collect()
}
