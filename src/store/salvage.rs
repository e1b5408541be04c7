//! Takes what can be read of a damaged store to a new one, and tells exactly what is missing.
//!
//! Promises: the damaged store is not changed, a row is taken whole or not at all, a batch only with
//! the very body that was stored with it, and in the new store the equation holds: events that are
//! missing are counted there as discarded, with that reason. Never: guesses a value.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params, params_from_iter};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::checksums::{self, BATCHES, CURSORS};
use super::lock::{self, Lock};
use super::{BUSY_TIMEOUT, Error, FILE_NAME, check_log, connect, migrations};
use crate::clock::Timestamp;

/// Why events that are missing count as discarded.
const BECAUSE: &str = "not readable when the store was salvaged";

/// Tables whose rows have a number, and its name.
const NUMBERED: [(&str, &str); 4] =
    [("batches", "id"), ("dead_letters", "id"), ("discards", "id"), ("receipts", "batch")];

/// What came of a salvage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Salvage {
    /// By table, in the order in which they were read.
    pub tables: Vec<Table>,
    /// Events and dead letters that were committed and are not in the new store, by meter.
    pub missing: Vec<Missing>,
}

/// What came of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Rows that are in the new store.
    pub taken: u64,
    /// What could not be read, in words; empty: nothing is missing.
    pub faults: Vec<String>,
}

/// What a meter lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its name.
    pub meter: String,
    /// Events that waited for delivery.
    pub events: i64,
    /// Dead letters.
    pub dead_letters: i64,
}

impl Salvage {
    /// Whether everything was there.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.tables.iter().all(|table| table.faults.is_empty())
    }
}

/// Takes everything that can be read from the store in `from` to a new one in `to`, where there must
/// be none. No daemon may use either.
pub fn salvage(from: &Path, to: &Path, now: Timestamp) -> Result<Salvage, Error> {
    let path = from.join(FILE_NAME);
    if !path.exists() {
        return Err(Error::Missing { path });
    }
    let _lock = Lock::take(from)?;
    let log = check_log(from).err();
    let old = open_damaged(&path)?;
    let version = migrations::check(&old, &path)?;
    let failed = |source| Error::Directory { path: to.to_owned(), source };
    lock::create_directory(to).map_err(failed)?;
    let _lock = Lock::take(to)?;
    let path = to.join(FILE_NAME);
    if path.exists() {
        return Err(Error::Present { path });
    }
    lock::create_file(&path).map_err(failed)?;
    let mut new = connect(to)?;
    migrations::run_to(version, &new, &path)?;
    let salvage = take_all(&old, &mut new, log.as_ref(), now)?;
    new.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    lock::sync_directory(to).map_err(failed)?;
    Ok(salvage)
}

/// What a look at the log of the damaged store leaves there is what was there.
fn open_damaged(path: &Path) -> Result<Connection, Error> {
    // A reader of a WAL database writes to its index file, so it is opened for writing.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn take_all(
    old: &Connection,
    new: &mut Connection,
    log: Option<&Error>,
    now: Timestamp,
) -> Result<Salvage, Error> {
    let transaction = new.transaction()?;
    let mut tables = Vec::new();
    for name in names(&transaction)? {
        let numbered = NUMBERED.iter().find(|(table, _)| *table == name);
        tables.push(match numbered {
            Some((_, key)) => take_numbered(old, &transaction, &name, key)?,
            // Bodies come with their batches, and the new store makes its sums.
            None if matches!(&*name, "bodies" | "meta" | "sums") => continue,
            None => take_in_order(old, &transaction, &name)?,
        });
    }
    leave_damaged(&transaction, &mut tables)?;
    tables.push(take_run(old, &transaction, log)?);
    number_on(&transaction)?;
    leave_delivered(&transaction)?;
    let missing = account(&transaction, now)?;
    transaction.commit()?;
    Ok(Salvage { tables, missing })
}

/// The tables of the new store.
fn names(new: &Connection) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                 ORDER BY name";
    new.prepare(query)?.query_map([], |row| row.get(0))?.collect()
}

/// Copies rows into one table.
struct Copy<'t> {
    transaction: &'t Transaction<'t>,
    insert: String,
    table: Table,
}

impl<'t> Copy<'t> {
    fn new(transaction: &'t Transaction<'t>, name: &str) -> rusqlite::Result<Self> {
        let statement = transaction.prepare(&format!("SELECT * FROM {name}"))?;
        let columns: Vec<&str> = statement.column_names().collect();
        let columns = columns.join(", ");
        let places = vec!["?"; statement.column_count()].join(", ");
        // What was found from both ends is one row.
        let insert = format!("INSERT OR IGNORE INTO {name} ({columns}) VALUES ({places})");
        let table = Table { name: name.to_owned(), taken: 0, faults: Vec::new() };
        Ok(Self { transaction, insert, table })
    }

    fn take(&mut self, row: Vec<Value>) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(&self.insert)?;
        self.table.taken += insert.execute(params_from_iter(row))? as u64;
        Ok(())
    }
}

/// The values of a row.
fn values(row: &rusqlite::Row<'_>) -> rusqlite::Result<Vec<Value>> {
    (0..row.as_ref().column_count()).map(|column| row.get(column)).collect()
}

/// Numbers of rows that cannot be read.
#[derive(Debug, Default)]
struct Gaps(Vec<RangeInclusive<i64>>);

impl Gaps {
    fn add(&mut self, number: i64) {
        match self.0.last_mut() {
            Some(last) if *last.end() == number - 1 => *last = *last.start()..=number,
            _ => self.0.push(number..=number),
        }
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gap) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match (gap.start(), gap.end()) {
                (start, end) if start == end => write!(out, "{comma}{start}")?,
                (start, end) => write!(out, "{comma}{start} to {end}")?,
            }
        }
        Ok(())
    }
}

/// Rows with numbers: from the first on and from the last back, and each between on its own.
fn take_numbered(
    old: &Connection,
    new: &Transaction<'_>,
    name: &str,
    key: &str,
) -> Result<Table, Error> {
    let mut copy = Copy::new(new, name)?;
    let mut gaps = Gaps::default();
    let mut one = |number: i64, copy: &mut Copy<'_>| -> Result<(), Error> {
        match read_numbered(old, name, key, number) {
            Ok(Some(row)) => {
                copy.take(row)?;
                if name == "batches" {
                    take_body(old, new, number, copy)?;
                }
            }
            Ok(None) => {}
            Err(_) => gaps.add(number),
        }
        Ok(())
    };
    let (first, forward) = numbers(old, name, key, "ASC");
    for number in &first {
        one(*number, &mut copy)?;
    }
    if let Err(error) = forward {
        let behind = first.last().copied().unwrap_or(0);
        // Why it ends early is known already.
        let (last, _) = numbers(old, name, key, "DESC");
        if let Some(end) = last.last().filter(|end| **end > behind) {
            for number in behind + 1..*end {
                one(number, &mut copy)?;
            }
            for number in last.iter().rev() {
                one(*number, &mut copy)?;
            }
        } else {
            copy.table.faults.push(format!("behind {behind} nothing is readable: {error}"));
        }
    }
    if !gaps.0.is_empty() {
        copy.table.faults.push(format!("not readable, as far as they were there: {gaps}"));
    }
    Ok(copy.table)
}

/// The numbers of the rows, as far as they can be read in this direction.
fn numbers(
    old: &Connection,
    name: &str,
    key: &str,
    direction: &str,
) -> (Vec<i64>, rusqlite::Result<()>) {
    let mut numbers = Vec::new();
    // Not by an index: that may be whole where the table is not, and the other way round.
    let query = format!("SELECT {key} FROM {name} NOT INDEXED ORDER BY {key} {direction}");
    let read = old.prepare(&query).and_then(|mut statement| {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            numbers.push(row.get(0)?);
        }
        Ok(())
    });
    (numbers, read)
}

fn read_numbered(
    old: &Connection,
    name: &str,
    key: &str,
    number: i64,
) -> rusqlite::Result<Option<Vec<Value>>> {
    let query = format!("SELECT * FROM {name} NOT INDEXED WHERE {key} = ?1");
    old.prepare_cached(&query)?.query_row([number], values).optional()
}

/// The body of a batch that was just taken; without it the batch is not taken.
fn take_body(
    old: &Connection,
    new: &Transaction<'_>,
    batch: i64,
    copy: &mut Copy<'_>,
) -> Result<(), Error> {
    let of_batch = "SELECT sha256, events, meter FROM batches WHERE id = ?1";
    let (sha256, events, meter): (Vec<u8>, i64, String) = new
        .prepare_cached(of_batch)?
        .query_row([batch], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let body: rusqlite::Result<Vec<u8>> = old
        .prepare_cached("SELECT body FROM bodies WHERE batch = ?1")?
        .query_row([batch], |row| row.get(0));
    let fault = match body {
        Ok(body) if Sha256::digest(&body).as_slice() == sha256 => {
            let insert = "INSERT OR IGNORE INTO bodies (batch, body) VALUES (?1, ?2)";
            new.prepare_cached(insert)?.execute(params![batch, body])?;
            return Ok(());
        }
        Ok(_) => "its body is not the one that was stored".to_owned(),
        Err(error) => error.to_string(),
    };
    new.execute("DELETE FROM batches WHERE id = ?1", [batch])?;
    copy.table.taken -= 1;
    copy.table.faults.push(format!("batch {batch} of {meter} with {events} events: {fault}"));
    Ok(())
}

/// Rows without numbers: from the first on and, if that ends early, from the last back.
fn take_in_order(old: &Connection, new: &Transaction<'_>, name: &str) -> Result<Table, Error> {
    let mut copy = Copy::new(new, name)?;
    let keys: Vec<String> = {
        let mut info = new.prepare(&format!(
            "SELECT name FROM pragma_table_info('{name}') WHERE pk > 0 ORDER BY pk"
        ))?;
        let names = info.query_map([], |row| row.get(0))?;
        names.collect::<rusqlite::Result<_>>()?
    };
    for direction in ["ASC", "DESC"] {
        let order: Vec<String> = keys.iter().map(|key| format!("{key} {direction}")).collect();
        let query = format!("SELECT * FROM {name} ORDER BY {}", order.join(", "));
        let mut taken = Ok(());
        let read = old.prepare(&query).and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                taken = copy.take(values(row)?);
                if taken.is_err() {
                    break;
                }
            }
            Ok(())
        });
        taken?;
        match read {
            Ok(()) => break,
            Err(error) if direction == "ASC" => {
                copy.table.faults.push(format!("some rows are not readable: {error}"));
            }
            Err(_) => {}
        }
    }
    Ok(copy.table)
}

/// Whether a run was cut off: without a word about it, one was. The rest of the table is the new
/// store's own: numbers of batches begin anew, and their track ids with another store's id.
///
/// What `log` says is gone may have been receipts: any batch may be one that was delivered.
fn take_run(old: &Connection, new: &Transaction<'_>, log: Option<&Error>) -> Result<Table, Error> {
    let mut table = Table { name: "meta".to_owned(), taken: 1, faults: Vec::new() };
    let running = match (migrations::running(old), log) {
        (Ok(running), None) => running,
        (Ok(_), Some(log)) => {
            table.faults.push(log.to_string());
            Some(u32::MAX)
        }
        (Err(error), _) => {
            table.faults.push(error.to_string());
            Some(u32::MAX)
        }
    };
    if running == Some(u32::MAX) {
        table.faults.push("any batch may have been sent before; that is recorded".to_owned());
    }
    migrations::set_running(new, running)?;
    Ok(table)
}

/// Rows that are readable and not what was written. Stores of before have no checksums.
fn leave_damaged(new: &Transaction<'_>, tables: &mut [Table]) -> rusqlite::Result<()> {
    if !has_column(new, "batches", "checksum")? {
        return Ok(());
    }
    for (sealed, leave) in [
        (BATCHES, "DELETE FROM batches WHERE id = ?1"),
        (
            CURSORS,
            "DELETE FROM cursors \
             WHERE source = ?1 AND inode = ?2 AND born_nanos = ?3 AND device = ?4",
        ),
    ] {
        let damaged = sealed.damaged(new)?;
        let Some(table) = tables.iter_mut().find(|table| table.name == sealed.table) else {
            continue;
        };
        for row in damaged {
            if let ("batches", Some(batch)) = (sealed.table, row.first()) {
                new.execute("DELETE FROM bodies WHERE batch = ?1", [batch])?;
            }
            let mut statement = new.prepare_cached(leave)?;
            let key = row.iter().take(statement.parameter_count());
            table.taken -= statement.execute(params_from_iter(key))? as u64;
            table.faults.push(checksums::words(&row));
        }
    }
    Ok(())
}

/// Numbers go on behind all that are in use: receipts have those of their batches, refusals those of
/// their dead letters.
fn number_on(new: &Transaction<'_>) -> rusqlite::Result<()> {
    new.execute("DELETE FROM sqlite_sequence WHERE name IN ('batches', 'dead_letters')", [])?;
    let batches = "INSERT INTO sqlite_sequence SELECT 'batches', max(number) FROM \
                   (SELECT max(id) AS number FROM batches UNION SELECT max(batch) FROM receipts)";
    new.execute(batches, [])?;
    let refused = if has_column(new, "refusals", "letter")? {
        "UNION SELECT max(letter) FROM refusals"
    } else {
        ""
    };
    let letters = format!(
        "INSERT INTO sqlite_sequence SELECT 'dead_letters', max(number) FROM \
         (SELECT max(id) AS number FROM dead_letters {refused})"
    );
    new.execute(&letters, [])?;
    new.execute("DELETE FROM sqlite_sequence WHERE seq IS NULL", [])?;
    Ok(())
}

/// Whether there is such a column; stores of before may not have it.
fn has_column(new: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";
    new.query_row(query, [table, column], |row| row.get(0))
}

/// Batches that are delivered, but not gone where the damage is: nothing is to be sent again.
fn leave_delivered(new: &Transaction<'_>) -> rusqlite::Result<()> {
    new.execute("DELETE FROM bodies WHERE batch IN (SELECT batch FROM receipts)", [])?;
    new.execute("DELETE FROM batches WHERE id IN (SELECT batch FROM receipts)", [])?;
    Ok(())
}

/// Makes the equation hold: what was read and is nowhere counts as discarded.
fn account(new: &Transaction<'_>, now: Timestamp) -> Result<Vec<Missing>, Error> {
    // What was delivered and refused later is a dead letter; older stores do not know of it.
    let delivered =
        if has_column(new, "tallies", "refused")? { "(delivered - refused)" } else { "delivered" };
    let sums = format!(
        "SELECT meter, coalesce(sum(read - {delivered} - ignored - discarded), 0), \
                coalesce(sum(dead_lettered - replayed - discarded), 0) \
                FROM (SELECT meter FROM tallies UNION SELECT meter FROM batches \
                UNION SELECT meter FROM dead_letters) LEFT JOIN tallies USING (meter) \
                GROUP BY meter"
    );
    let mut sums = new.prepare(&sums)?;
    let sums: Vec<(String, i64, i64)> = sums
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut missing = Vec::new();
    for (meter, left, letters) in sums {
        let count = |query: &str| -> rusqlite::Result<i64> {
            new.query_row(query, [&meter], |row| row.get(0))
        };
        let stored = count("SELECT coalesce(sum(events), 0) FROM batches WHERE meter = ?1")?;
        let dead = count("SELECT count(*) FROM dead_letters WHERE meter = ?1")?;
        let (letters_lost, events_lost) = (letters - dead, left - letters - stored);
        if letters_lost == 0 && events_lost == 0 {
            continue;
        }
        let add = "INSERT INTO tallies (hour, meter, source, read, dead_lettered, discarded) \
                   VALUES (?1, ?2, '', ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
                   read = read + excluded.read, \
                   dead_lettered = dead_lettered + excluded.dead_lettered, \
                   discarded = discarded + excluded.discarded";
        // More than was counted: the counts of some hours are lost.
        let (read, found) = ((-events_lost).max(0), (-letters_lost).max(0));
        let (events, dead_letters) = (events_lost.max(0), letters_lost.max(0));
        let values =
            params![now.hour(), meter, read + found, events + found, events + dead_letters];
        new.execute(add, values)?;
        if events + dead_letters > 0 {
            let insert = "INSERT INTO discards (at, meter, source, letters, because) \
                          VALUES (?1, ?2, '', ?3, ?4)";
            new.execute(insert, params![now.as_millis(), meter, events + dead_letters, BECAUSE])?;
        }
        missing.push(Missing { meter, events, dead_letters });
    }
    Ok(missing)
}
