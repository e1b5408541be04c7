//! What is missing, by two witnesses: the counts, and the sums of what waits. Damage of one page is rarely
//! damage of both; where they agree, that is what is missing, and where they do not, it is no more than
//! the larger one says.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};

use super::{Missing, has_column};
use crate::clock::Timestamp;
use crate::store::footing;

/// Why events that are missing count as discarded.
const BECAUSE: &str = "not readable when the store was salvaged";

/// What the sums say that is there, by meter.
type ByMeter = HashMap<String, i64>;

/// What says how much there was.
#[derive(Debug)]
pub(super) struct Witnesses {
    /// The tables of counts could be read, and its structure is sound.
    counts: bool,
    /// Events that wait; none: their sums are not readable.
    events: Option<ByMeter>,
    /// Dead letters, likewise.
    dead_letters: Option<ByMeter>,
}

impl Witnesses {
    /// What of `old` can be heard; `has_counts`: each row of its counts could be read.
    pub(super) fn of(old: &Connection, has_counts: bool) -> Self {
        let is_sound = |table| footing::structure(old, table).is_ok_and(|faults| faults.is_empty());
        // Stores of before have no sums.
        let waiting = |column| by_meter(old, column).ok().filter(|_| is_sound("sums"));
        Self {
            counts: has_counts && is_sound("tallies"),
            events: waiting("stored"),
            dead_letters: waiting("letters"),
        }
    }
}

fn by_meter(old: &Connection, column: &str) -> rusqlite::Result<ByMeter> {
    let query = format!("SELECT CAST(meter AS BLOB), sum({column}) FROM sums GROUP BY meter");
    let read = |row: &rusqlite::Row<'_>| {
        let meter: Vec<u8> = row.get(0)?;
        Ok((String::from_utf8_lossy(&meter).into_owned(), row.get(1)?))
    };
    old.prepare(&query)?.query_map([], read)?.collect()
}

/// Which rows could be read, each of those that were there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Of what waits.
    pub(super) batches: bool,
    /// Of dead letters.
    pub(super) dead_letters: bool,
}

/// What came of the accounts.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// By meter.
    pub(super) missing: Vec<Missing>,
    /// Meters of which the counts are set right.
    pub(super) corrected: Vec<String>,
    /// What may be missing and nobody can count.
    pub(super) uncounted: Vec<String>,
}

/// Makes the equation hold: what was there and is nowhere counts as discarded, and counts that only
/// they deny are set right.
pub(super) fn account(
    new: &Transaction<'_>,
    witnesses: &Witnesses,
    whole: Whole,
    now: Timestamp,
) -> rusqlite::Result<Account> {
    let mut account = Account::default();
    for (unheard, is_whole, what) in [
        (&witnesses.events, whole.batches, "events"),
        (&witnesses.dead_letters, whole.dead_letters, "dead letters"),
    ] {
        if !is_whole && !witnesses.counts && unheard.is_none() {
            let words =
                format!("{what}: neither the counts nor the sums of what waits are readable");
            account.uncounted.push(words);
        }
    }
    for Meter { name: meter, left, letters, stored, dead } in meters(new, witnesses)? {
        let lost = |counted: i64, sums: &Option<ByMeter>, found: i64, is_whole| {
            let counted = witnesses.counts.then_some(counted - found);
            let of_meter = |sums: &ByMeter| sums.get(&meter).copied().unwrap_or(0);
            let summed = sums.as_ref().map(|sums| of_meter(sums) - found);
            weigh(counted, summed, is_whole)
        };
        let events = lost(left - letters, &witnesses.events, stored, whole.batches);
        let dead_letters = lost(letters, &witnesses.dead_letters, dead, whole.dead_letters);
        let discarded = events.count + dead_letters.count;
        let read = stored + dead + discarded - left;
        let dead_lettered = dead + discarded - letters;
        if (read, dead_lettered, discarded) == (0, 0, 0) {
            continue;
        }
        let add = "INSERT INTO tallies (hour, meter, source, read, dead_lettered, discarded) \
                   VALUES (?1, ?2, '', ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
                   read = read + excluded.read, \
                   dead_lettered = dead_lettered + excluded.dead_lettered, \
                   discarded = discarded + excluded.discarded";
        new.execute(add, params![now.hour(), meter, read, dead_lettered, discarded])?;
        if (read, dead_lettered) != (0, events.count) {
            account.corrected.push(meter.clone());
        }
        if discarded > 0 {
            let insert = "INSERT INTO discards (at, meter, source, letters, because) \
                          VALUES (?1, ?2, '', ?3, ?4)";
            new.execute(insert, params![now.as_millis(), meter, discarded, BECAUSE])?;
            account.missing.push(Missing {
                meter,
                events: events.count,
                dead_letters: dead_letters.count,
                is_exact: events.is_exact && dead_letters.is_exact,
            });
        }
    }
    Ok(account)
}

/// What is missing, as the witnesses have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lost {
    count: i64,
    /// Otherwise it is that at most.
    is_exact: bool,
}

/// Weighs what the counts and what the sums say is missing; none: not heard. Who says that less was
/// there than was found is not heard either.
fn weigh(counted: Option<i64>, summed: Option<i64>, is_whole: bool) -> Lost {
    let counted = counted.filter(|count| *count >= 0);
    let summed = summed.filter(|count| *count >= 0);
    let (count, is_exact) = match (counted, summed) {
        (Some(counted), Some(summed)) if counted == summed => (counted, true),
        (Some(0), _) | (_, Some(0)) if is_whole => (0, true),
        (Some(counted), Some(summed)) => (counted.max(summed), false),
        (Some(count), None) | (None, Some(count)) => (count, !is_whole),
        (None, None) => (0, is_whole),
    };
    Lost { count, is_exact }
}

/// What is counted of a meter, and what was found.
struct Meter {
    name: String,
    /// Read, and neither delivered nor ignored nor discarded.
    left: i64,
    /// Of these, dead letters.
    letters: i64,
    /// Events that wait.
    stored: i64,
    /// Dead letters that are there.
    dead: i64,
}

fn meters(new: &Transaction<'_>, witnesses: &Witnesses) -> rusqlite::Result<Vec<Meter>> {
    // What was delivered and refused later is a dead letter; older stores do not know of it.
    let delivered =
        if has_column(new, "tallies", "refused")? { "(delivered - refused)" } else { "delivered" };
    let counted = format!(
        "SELECT coalesce(sum(read - {delivered} - ignored - discarded), 0), \
         coalesce(sum(dead_lettered - replayed - discarded), 0) FROM tallies WHERE meter = ?1"
    );
    let names = "SELECT meter FROM tallies UNION SELECT meter FROM batches \
                 UNION SELECT meter FROM dead_letters";
    let mut names: Vec<String> =
        new.prepare(names)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let sums = [&witnesses.events, &witnesses.dead_letters];
    names.extend(sums.into_iter().flatten().flat_map(ByMeter::keys).cloned());
    names.sort();
    names.dedup();
    let read = |meter: String| {
        let (left, letters) =
            new.query_row(&counted, [&meter], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let count = |query: &str| new.query_row(query, [&meter], |row| row.get(0));
        let stored = count("SELECT coalesce(sum(events), 0) FROM batches WHERE meter = ?1")?;
        let dead = count("SELECT count(*) FROM dead_letters WHERE meter = ?1")?;
        Ok(Meter { name: meter, left, letters, stored, dead })
    };
    names.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_witnesses_are_weighed() {
        let check = |counted, summed, is_whole, count, is_exact| {
            let lost = weigh(counted, summed, is_whole);
            assert_eq!(lost, Lost { count, is_exact }, "{counted:?} {summed:?} {is_whole}");
        };
        check(Some(0), Some(0), true, 0, true);
        check(Some(25), Some(25), false, 25, true);
        // Nobody has missed a row, and one witness neither: the other one is damaged.
        check(Some(1024), Some(0), true, 0, true);
        check(Some(0), Some(25), true, 0, true);
        check(Some(-1024), Some(0), true, 0, true);
        check(Some(1024), None, true, 1024, false);
        // A row is gone, and one of them is damaged as well.
        check(Some(1049), Some(25), false, 1049, false);
        check(Some(-5), Some(25), false, 25, true);
        check(Some(25), None, false, 25, true);
        check(None, Some(25), false, 25, true);
        check(None, None, false, 0, false);
        check(None, None, true, 0, true);
    }
}
