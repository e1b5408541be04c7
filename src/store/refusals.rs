//! Delivered events that Mediation refused later: each is filed once, as a dead letter.
//!
//! Filing moves an event from what is delivered to the dead letters, in one transaction with the
//! letter. What says that an event was refused may be read any number of times, by several at
//! once, and again after the letter was put back: only a refusal that came later than what is
//! settled is a new one.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Transaction, params};

use super::batches::Tries;
use super::{dead_letters, origins, tallies};
use crate::clock::Timestamp;
use crate::dead_letter::{DeadLetter, Reason};
use crate::position::{Origin, parse_event_id};
use crate::quantity::Quantity;

/// What Mediation says of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The event's own id.
    pub event_id: String,
    /// When it was refused, by Mediation's clock.
    pub error_at: Timestamp,
    /// Mediation's code.
    pub code: Option<String>,
    /// The operator and Mediation's words.
    pub detail: String,
    /// The event's quantity.
    pub quantity: Option<Quantity>,
    /// The event as Mediation has it.
    pub event: Vec<u8>,
}

/// Whose refusals are filed, and which.
#[derive(Debug, Clone)]
pub struct Filing {
    /// The configured meter.
    pub meter: Arc<str>,
    /// Whether events with ids that no agent stamps are ours: nobody else sends to the meter.
    pub is_sole_sender: bool,
    /// How long Mediation may take, and its clock be off.
    pub delay: Duration,
    /// All refusals before this, by Mediation's clock, are settled with the first one of an event.
    pub settled_until: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// What became of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filed {
    /// Dead letters that were made.
    pub filed: u64,
    /// Those of events that are dead letters already, or were.
    pub known: u64,
    /// Those of events that somebody else may have sent.
    pub foreign: u64,
    /// Those that came while batches wait that Mediation may have: they are looked at again.
    pub postponed: u64,
}

impl Filed {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            filed: self.filed + other.filed,
            known: self.known + other.known,
            foreign: self.foreign + other.foreign,
            postponed: self.postponed + other.postponed,
        }
    }
}

/// Files what is new of `refusals`.
pub(super) fn file(
    transaction: &Transaction<'_>,
    filing: &Filing,
    refusals: &[Refusal],
) -> rusqlite::Result<Filed> {
    let doubted_since = doubted_since(transaction, &filing.meter)?;
    let mut filed = Filed::default();
    for refusal in refusals {
        let Some(source) = source(transaction, filing, &refusal.event_id)? else {
            filed.foreign += 1;
            continue;
        };
        // Such an event may wait to be sent again: then it is not delivered.
        let latest = refusal.error_at.after(filing.delay);
        if is_settled(transaction, filing, refusal)? {
            filed.known += 1;
        } else if doubted_since.is_some_and(|since| since <= latest) {
            filed.postponed += 1;
        } else {
            file_one(transaction, filing, refusal, &source)?;
            filed.filed += 1;
        }
    }
    Ok(filed)
}

/// Since when the oldest batch waits that Mediation may have.
fn doubted_since(
    transaction: &Transaction<'_>,
    meter: &str,
) -> rusqlite::Result<Option<Timestamp>> {
    let query = "SELECT min(created_at) FROM batches \
                 WHERE meter = ?1 AND outcome_unknown_attempts > 0";
    let since: Option<i64> =
        transaction.prepare_cached(query)?.query_row([meter], |row| row.get(0))?;
    Ok(since.map(Timestamp::from_millis))
}

/// The source of the event, empty when it is ours and brought its own id; none: it is not ours.
fn source(
    transaction: &Transaction<'_>,
    filing: &Filing,
    event_id: &str,
) -> rusqlite::Result<Option<String>> {
    let stamped = parse_event_id(event_id).map(|(origin, _): (Origin, u64)| origin);
    let known = stamped.map(|origin| origins::source(transaction, origin)).transpose()?.flatten();
    Ok(known.or_else(|| filing.is_sole_sender.then(String::new)))
}

/// Whether the event is a dead letter, or this refusal is one of those for which it became one.
fn is_settled(
    transaction: &Transaction<'_>,
    filing: &Filing,
    refusal: &Refusal,
) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM dead_letters WHERE meter = ?1 AND event_id = ?2) \
                 OR EXISTS (SELECT 1 FROM refusals \
                 WHERE meter = ?1 AND event_id = ?2 AND settled_until > ?3)";
    let values = params![&*filing.meter, refusal.event_id, refusal.error_at.as_millis()];
    transaction.prepare_cached(query)?.query_row(values, |row| row.get(0))
}

fn file_one(
    transaction: &Transaction<'_>,
    filing: &Filing,
    refusal: &Refusal,
    source: &str,
) -> rusqlite::Result<()> {
    let letter = DeadLetter {
        meter: Arc::clone(&filing.meter),
        source: source.into(),
        position: refusal.event_id.clone(),
        reason: Reason::RefusedAfterDelivery,
        field: None,
        detail: refusal.detail.clone(),
        code: refusal.code.clone(),
        event_id: Some(refusal.event_id.clone()),
        event: refusal.event.clone(),
    };
    // A request carried it: what is put back is the event and not the line that it was made of.
    let tries = Tries { attempts: 1, outcome_unknown: 0 };
    dead_letters::insert(transaction, &letter, tries, filing.now)?;
    let query = "INSERT INTO refusals VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    transaction.prepare_cached(query)?.execute(params![
        transaction.last_insert_rowid(),
        &*filing.meter,
        refusal.event_id,
        refusal.error_at.as_millis(),
        // Its own refusal is settled in any case.
        filing.settled_until.max(refusal.error_at.after(Duration::from_millis(1))).as_millis(),
        refusal.quantity.map(|quantity| quantity.to_string()),
        filing.now.as_millis(),
    ])?;
    tallies::add_refused_later(transaction, &filing.meter, source, filing.now)
}

/// What is known of events that Mediation dropped as repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repeated {
    /// Events whose ids this agent stamped: such an id is of one line only, which was sent twice.
    pub stamped: u64,
    /// Events that had been refused and put back before: what was dropped may be the only one that
    /// Mediation could have billed.
    pub put_back: u64,
}

/// Looks at repeats of `meter`, each with its time.
pub(super) fn repeated(
    transaction: &Transaction<'_>,
    meter: &str,
    repeats: &[(String, Timestamp)],
) -> rusqlite::Result<Repeated> {
    let query = "SELECT 1 FROM refusals WHERE meter = ?1 AND event_id = ?2 AND settled_until <= ?3";
    let mut put_back = transaction.prepare_cached(query)?;
    let mut repeated = Repeated::default();
    for (event_id, at) in repeats {
        let was_put_back = put_back.exists(params![meter, event_id, at.as_millis()])?;
        repeated.put_back += u64::from(was_put_back);
        if let Some((origin, _)) = parse_event_id(event_id) {
            repeated.stamped += u64::from(origins::source(transaction, origin)?.is_some());
        }
    }
    Ok(repeated)
}

/// Forgets at most `limit` refusals that were filed before `before` and whose letters are gone;
/// gives how many.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    before: Timestamp,
    limit: u32,
) -> rusqlite::Result<usize> {
    let query = "DELETE FROM refusals WHERE letter IN (SELECT letter FROM refusals \
                 WHERE filed_at < ?1 AND letter NOT IN (SELECT id FROM dead_letters) LIMIT ?2)";
    transaction.prepare_cached(query)?.execute(params![before.as_millis(), limit])
}
