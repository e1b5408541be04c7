//! What was counted, per hour, meter and source, in the same transactions as the data; and what
//! `status` says of it.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;

use super::batches;
use super::reconciliations::{self, Reconciled};
use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;
use crate::group::PackedGroup;
use crate::settlement::LaneState;

/// `read = delivered + dead_lettered + ignored + discarded + stored`, in lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Equation {
    /// Lines read.
    pub read: i64,
    /// Events with a receipt, without those that were refused later.
    pub delivered: i64,
    /// Lines in the dead letters.
    pub dead_lettered: i64,
    /// Lines that are not usage, such as blank ones.
    pub ignored: i64,
    /// Dead letters that a person gave up.
    pub discarded: i64,
    /// Events that wait for delivery.
    pub stored: i64,
    /// Whether the sum is right.
    pub holds: bool,
}

/// A meter in `status`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MeterStatus {
    /// Events that wait for delivery.
    pub stored: i64,
    /// Events with a receipt, without those that were refused later.
    pub delivered: i64,
    /// Events with a receipt that Mediation refused later; each became a dead letter.
    pub refused_after_delivery: i64,
    /// Lines in the dead letters.
    pub dead_lettered: i64,
    /// Age of the oldest event that waits.
    pub oldest_undelivered_seconds: f64,
    /// `running`, `retrying` or `held`.
    pub state: String,
    /// Why it is held or tries again.
    pub reason: String,
    /// What the latest comparison with Mediation came to; none: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconciled: Option<Reconciled>,
}

/// A source in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SourceStatus {
    /// Lines read and committed.
    pub read: i64,
    /// Lines in the dead letters.
    pub dead_lettered: i64,
    /// Blank lines and others that are not usage.
    pub ignored: i64,
    /// Bytes of its files that are not committed, as far as they can be seen; none of other sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// `reading` or `held`.
    pub state: String,
    /// Why it is held.
    pub reason: String,
}

/// How full the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Bytes in use.
    pub bytes: u64,
    /// The limit; not known when only the store is looked at.
    pub bytes_max: Option<u64>,
}

/// What `meterd status` shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Whether every line is accounted for.
    pub equation: Equation,
    /// By meter.
    pub meters: BTreeMap<String, MeterStatus>,
    /// By source.
    pub sources: BTreeMap<String, SourceStatus>,
    /// How full the store is.
    pub store: StoreStatus,
}

/// Counts what `group` read.
pub(super) fn add_group(
    transaction: &Transaction<'_>,
    group: &PackedGroup,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO tallies (hour, meter, source, read, dead_lettered, ignored) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
                 read = read + excluded.read, ignored = ignored + excluded.ignored, \
                 dead_lettered = dead_lettered + excluded.dead_lettered";
    let mut add = transaction.prepare_cached(query)?;
    for tally in &group.tallies {
        add.execute(params![
            now.hour(),
            &*tally.meter,
            &*tally.source,
            tally.read.cast_signed(),
            tally.dead_lettered.cast_signed(),
            tally.ignored.cast_signed(),
        ])?;
    }
    Ok(())
}

/// Counts `events` of `meter` as delivered.
pub(super) fn add_delivered(
    transaction: &Transaction<'_>,
    meter: &str,
    events: u32,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO tallies (hour, meter, source, delivered) VALUES (?1, ?2, '', ?3) \
                 ON CONFLICT DO UPDATE SET delivered = delivered + excluded.delivered";
    transaction.prepare_cached(query)?.execute(params![at.hour(), meter, events])?;
    Ok(())
}

/// Counts a dead letter that was an event before.
pub(super) fn add_refused(
    transaction: &Transaction<'_>,
    letter: &DeadLetter,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO tallies (hour, meter, source, dead_lettered) VALUES (?1, ?2, ?3, 1) \
                 ON CONFLICT DO UPDATE SET dead_lettered = dead_lettered + 1";
    transaction.prepare_cached(query)?.execute(params![
        at.hour(),
        &*letter.meter,
        &*letter.source
    ])?;
    Ok(())
}

/// Counts a delivered event of `meter` that was refused later, and is a dead letter of `source` now.
pub(super) fn add_refused_later(
    transaction: &Transaction<'_>,
    meter: &str,
    source: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO tallies (hour, meter, source, refused) VALUES (?1, ?2, '', 1) \
                 ON CONFLICT DO UPDATE SET refused = refused + 1";
    transaction.prepare_cached(query)?.execute(params![at.hour(), meter])?;
    let query = "INSERT INTO tallies (hour, meter, source, dead_lettered) VALUES (?1, ?2, ?3, 1) \
                 ON CONFLICT DO UPDATE SET dead_lettered = dead_lettered + 1";
    transaction.prepare_cached(query)?.execute(params![at.hour(), meter, source])?;
    Ok(())
}

/// Counts dead letters that became events again.
pub(super) fn add_replayed(
    transaction: &Transaction<'_>,
    meter: &str,
    source: &str,
    letters: usize,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO tallies (hour, meter, source, replayed) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET replayed = replayed + excluded.replayed";
    let letters = i64::try_from(letters).unwrap_or(i64::MAX);
    transaction.prepare_cached(query)?.execute(params![at.hour(), meter, source, letters])?;
    Ok(())
}

/// Adds everything up, in one snapshot.
pub(super) fn status(
    connection: &Transaction<'_>,
    now: Timestamp,
    store: StoreStatus,
) -> rusqlite::Result<Status> {
    let mut meters: BTreeMap<String, MeterStatus> = BTreeMap::new();
    let mut sources: BTreeMap<String, SourceStatus> = BTreeMap::new();
    let Counted { read, delivered, letters, ignored, discarded, stored, dead_lettered } =
        counted(connection, &mut meters, &mut sources)?;
    for (name, meter) in meters.iter_mut().filter(|(_, meter)| meter.stored > 0) {
        let oldest = batches::oldest(connection, name)?;
        meter.oldest_undelivered_seconds = oldest.map_or(0.0, |oldest| oldest.seconds_until(now));
    }
    let mut lanes = connection.prepare("SELECT meter, state, reason FROM lanes")?;
    let mut rows = lanes.query([])?;
    while let Some(row) = rows.next()? {
        let meter = meters.entry(row.get(0)?).or_default();
        meter.state = row.get(1)?;
        meter.reason = row.get(2)?;
    }
    for (name, found) in reconciliations::latest(connection)? {
        meters.entry(name).or_default().reconciled = Some(found);
    }
    for meter in meters.values_mut().filter(|meter| meter.state.is_empty()) {
        LaneState::Running.name().clone_into(&mut meter.state);
    }
    super::sources::add_states(connection, &mut sources)?;
    let holds = read == delivered + dead_lettered + ignored + discarded + stored
        && letters == dead_lettered;
    let equation = Equation { read, delivered, dead_lettered, ignored, discarded, stored, holds };
    Ok(Status { equation, meters, sources, store })
}

/// Sums over everything.
#[derive(Default)]
struct Counted {
    read: i64,
    delivered: i64,
    /// Dead letters that nobody has put back or given up, as they were counted.
    letters: i64,
    ignored: i64,
    discarded: i64,
    /// Events in batches.
    stored: i64,
    /// Dead letters that are there.
    dead_lettered: i64,
}

/// What there is to be added up: a row for each meter and source, however much was ever counted.
pub(super) const SUMS: &str = "SELECT meter, source, read, delivered - refused, \
     dead_lettered - replayed - discarded, ignored, discarded, refused, stored, letters FROM sums";

/// Adds the sums up.
fn counted(
    connection: &Connection,
    meters: &mut BTreeMap<String, MeterStatus>,
    sources: &mut BTreeMap<String, SourceStatus>,
) -> rusqlite::Result<Counted> {
    let mut statement = connection.prepare(SUMS)?;
    let mut rows = statement.query([])?;
    let mut total = Counted::default();
    while let Some(row) = rows.next()? {
        let (meter, source): (String, String) = (row.get(0)?, row.get(1)?);
        let (read, delivered): (i64, i64) = (row.get(2)?, row.get(3)?);
        let (letters, ignored): (i64, i64) = (row.get(4)?, row.get(5)?);
        let (stored, dead_lettered): (i64, i64) = (row.get(8)?, row.get(9)?);
        // Lines of routed sources that are for no meter are counted without one.
        if !meter.is_empty() {
            let meter = meters.entry(meter).or_default();
            meter.stored += stored;
            meter.delivered += delivered;
            meter.dead_lettered += dead_lettered;
            meter.refused_after_delivery += row.get::<_, i64>(7)?;
        }
        if !source.is_empty() {
            let source = sources.entry(source).or_default();
            source.read += read;
            source.dead_lettered += letters;
            source.ignored += ignored;
        }
        total.read += read;
        total.delivered += delivered;
        total.letters += letters;
        total.ignored += ignored;
        total.discarded += row.get::<_, i64>(6)?;
        total.stored += stored;
        total.dead_lettered += dead_lettered;
    }
    Ok(total)
}

/// The meters and sources of which the sums are not those of all rows: looks at each of them.
pub(super) fn wrong_sums(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let query = "SELECT meter, source FROM (SELECT meter, source, sum(read), sum(delivered), \
         sum(dead_lettered), sum(ignored), sum(discarded), sum(replayed), sum(refused), \
         sum(stored), sum(letters) FROM (SELECT meter, source, read, delivered, dead_lettered, \
         ignored, discarded, replayed, refused, 0 AS stored, 0 AS letters FROM tallies \
         UNION ALL SELECT meter, source, 0, 0, 0, 0, 0, 0, 0, events, 0 FROM batches NOT INDEXED \
         UNION ALL SELECT meter, source, 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM dead_letters NOT INDEXED \
         UNION ALL SELECT meter, source, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM sums) \
         GROUP BY meter, source EXCEPT SELECT meter, source, read, delivered, dead_lettered, ignored, \
         discarded, replayed, refused, stored, letters FROM sums)";
    connection.prepare(query)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
