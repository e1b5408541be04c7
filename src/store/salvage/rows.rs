//! Copies the rows of one table, from both ends where the middle is not readable.

use std::fmt;
use std::ops::RangeInclusive;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter};
use sha2::{Digest, Sha256};

use super::Table;
use crate::store::Error;

/// Copies rows into one table.
struct Copy<'t> {
    transaction: &'t Transaction<'t>,
    insert: String,
    /// What each column holds: `INTEGER`, `TEXT` or `BLOB`.
    kinds: Vec<String>,
    table: Table,
}

impl<'t> Copy<'t> {
    fn new(transaction: &'t Transaction<'t>, name: &str) -> rusqlite::Result<Self> {
        let mut info = transaction.prepare("SELECT name, type FROM pragma_table_info(?1)")?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (columns, kinds): (Vec<String>, Vec<String>) = info
            .query_map([name], read)?
            .collect::<rusqlite::Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let places = vec!["?"; columns.len()].join(", ");
        let columns = columns.join(", ");
        // What was found from both ends is one row.
        let insert = format!("INSERT OR IGNORE INTO {name} ({columns}) VALUES ({places})");
        let table = Table { name: name.to_owned(), taken: 0, faults: Vec::new() };
        Ok(Self { transaction, insert, kinds, table })
    }

    /// False: it is there already, or it is no row of the table.
    fn take(&mut self, row: Vec<Value>) -> rusqlite::Result<bool> {
        if !row.iter().zip(&self.kinds).all(|(value, kind)| is_of_kind(value, kind)) {
            return Ok(false);
        }
        let mut insert = self.transaction.prepare_cached(&self.insert)?;
        let taken = insert.execute(params_from_iter(row))?;
        self.table.taken += taken as u64;
        Ok(taken > 0)
    }
}

/// Whether such a value is ever written to a column of `kind`. A flipped bit makes bytes of a text, which
/// no statement finds by its meter.
fn is_of_kind(value: &Value, kind: &str) -> bool {
    match value {
        // Where it may not be, the table says so.
        Value::Null => true,
        Value::Integer(_) => kind == "INTEGER",
        Value::Text(_) => kind == "TEXT",
        Value::Blob(_) => kind == "BLOB",
        Value::Real(_) => false,
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
pub(super) fn take_numbered(
    old: &Connection,
    new: &Transaction<'_>,
    name: &str,
    key: &str,
) -> Result<Table, Error> {
    let mut copy = Copy::new(new, name)?;
    let mut gaps = Gaps::default();
    let mut one = |number: i64, copy: &mut Copy<'_>| -> Result<(), Error> {
        match read_numbered(old, name, key, number) {
            Ok(Some(row)) => match copy.take(row)? {
                true if name == "batches" => take_body(old, new, number, copy)?,
                true => {}
                // Nothing stands where something has to.
                false => gaps.add(number),
            },
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
        let (mut last, _) = numbers(old, name, key, "DESC");
        last.retain(|number| *number > behind);
        // Where the end is not readable either, what lies between may be.
        match last.last().copied().or_else(|| given(old, name).map(|given| given + 1)) {
            Some(end) if end > behind => {
                for number in (behind + 1..end).chain(last.iter().rev().copied()) {
                    one(number, &mut copy)?;
                }
                copy.table.faults.push(format!("some rows are not readable: {error}"));
            }
            _ => {
                copy.table.faults.push(format!("behind {behind} nothing is readable: {error}"));
            }
        }
    }
    if !gaps.0.is_empty() {
        copy.table.faults.push(format!("not readable, as far as they were there: {gaps}"));
    }
    Ok(copy.table)
}

/// The last number that was given to a row, where that is readable; a receipt has that of its batch.
fn given(old: &Connection, name: &str) -> Option<i64> {
    let name = if name == "receipts" { "batches" } else { name };
    let query = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    old.query_row(query, [name], |row| row.get(0)).ok()
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
pub(super) fn take_in_order(
    old: &Connection,
    new: &Transaction<'_>,
    name: &str,
) -> Result<Table, Error> {
    let mut copy = Copy::new(new, name)?;
    let keys: Vec<String> = {
        let mut info = new.prepare(&format!(
            "SELECT name FROM pragma_table_info('{name}') WHERE pk > 0 ORDER BY pk"
        ))?;
        let names = info.query_map([], |row| row.get(0))?;
        names.collect::<rusqlite::Result<_>>()?
    };
    let mut strange = 0_u64;
    for direction in ["ASC", "DESC"] {
        let order: Vec<String> = keys.iter().map(|key| format!("{key} {direction}")).collect();
        let query = format!("SELECT * FROM {name} ORDER BY {}", order.join(", "));
        let mut taken = Ok(());
        let read = old.prepare(&query).and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match copy.take(values(row)?) {
                    Ok(true) => {}
                    // From the end back, it may be one that is there already.
                    Ok(false) => strange += u64::from(direction == "ASC"),
                    Err(error) => {
                        taken = Err(error);
                        break;
                    }
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
    if strange > 0 {
        copy.table.faults.push(format!("{strange} rows are not what was written"));
    }
    Ok(copy.table)
}
