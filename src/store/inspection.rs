//! Looks through a whole store for what is wrong with it, and changes nothing.

use std::path::Path;

use rusqlite::{Connection, Transaction};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::batches::UNCOUNTED;
use super::checksums::{self, BATCHES, CURSORS};
use super::reader::Reader;
use super::tallies::{self, Equation, StoreStatus};
use super::{Error, FILE_NAME, check_commits, check_idle_log, footing, lock};
use crate::clock::Timestamp;

/// Faults of one kind that are told; more say nothing new.
const FAULTS_MAX: u32 = 100;

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Inspection {
    /// Batches that wait, bodies and all.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Receipts.
    pub receipts: u64,
    /// Files and streams of which it is known how far they were read.
    pub cursors: u64,
    /// What is wrong, in words; empty: nothing.
    pub faults: Vec<String>,
}

impl Reader {
    /// Checks the structure of the file, that every batch has the body that was stored with it, and
    /// that every line is accounted for. A daemon may run meanwhile: it is one snapshot.
    ///
    /// What is damaged is among the faults; an error means that nothing could be looked at.
    pub fn inspect(&self, now: Timestamp) -> Result<Inspection, Error> {
        let directory = self.connection.path().and_then(|path| Path::new(path).parent());
        let log = directory.map_or(Ok(()), |directory| {
            check_idle_log(directory)?;
            // A daemon that is started meanwhile leaves its mark behind its commits.
            let seen = lock::mark(directory).filter(|_| lock::is_free(directory));
            check_commits(&directory.join(FILE_NAME), &self.connection, seen.as_ref())
        });
        let transaction = self.connection.unchecked_transaction()?;
        let mut inspection = Inspection::default();
        let mut faults = Vec::new();
        let mut note = |what: &str, checked: rusqlite::Result<()>| {
            if let Err(error) = checked {
                faults.push(format!("{what}: {error}"));
            }
        };
        let mut structure = Vec::new();
        note("definitions", footing::faults(&transaction).map(|found| structure.extend(found)));
        let faults_max = FAULTS_MAX.to_string();
        let found = footing::structure(&transaction, &faults_max);
        note("structure", found.map(|found| structure.extend(found)));
        let mut bodies = Vec::new();
        note("batches", check_bodies(&transaction, &mut inspection, &mut bodies));
        for (table, count) in [
            ("dead_letters", &mut inspection.dead_letters),
            ("receipts", &mut inspection.receipts),
            ("cursors", &mut inspection.cursors),
        ] {
            note(table, read_all(&transaction, table).map(|rows| *count = rows));
        }
        let mut rows = Vec::new();
        for sealed in [BATCHES, CURSORS] {
            let damaged = sealed.damaged(&transaction);
            note(sealed.table, damaged.map(|damaged| rows.extend(damaged)));
        }
        let rows = rows.iter().map(|row| checksums::words(row)).collect();
        let mut sums = Vec::new();
        note("tallies", check_sums(&transaction, now, &mut sums));
        let log = log.err().map(|error| error.to_string());
        inspection.faults = [structure, bodies, rows, sums, faults, Vec::from_iter(log)].concat();
        Ok(inspection)
    }
}

fn check_bodies(
    connection: &Connection,
    inspection: &mut Inspection,
    faults: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let stray = "SELECT batch FROM bodies WHERE batch NOT IN (SELECT id FROM batches) LIMIT 100";
    let mut statement = connection.prepare(stray)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let batch: i64 = row.get(0)?;
        faults.push(format!("batch {batch}: there is a body and nothing else"));
    }
    let query = format!("SELECT id FROM batches WHERE {UNCOUNTED} LIMIT 100");
    let mut statement = connection.prepare(&query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let batch: i64 = row.get(0)?;
        faults.push(format!("batch {batch}: the numbers of its tries are not what was written"));
    }
    let mut batches = connection.prepare("SELECT id, events, wire_bytes, sha256 FROM batches")?;
    let mut body = connection.prepare("SELECT body FROM bodies WHERE batch = ?1")?;
    let mut rows = batches.query([])?;
    while let Some(row) = rows.next()? {
        let (batch, events, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let sha256: Vec<u8> = row.get(3)?;
        inspection.batches += 1;
        inspection.events += events.unsigned_abs();
        let what_is_wrong = body.query_row([batch], |row| {
            let body = row.get_ref(0)?.as_blob()?;
            let is_whole = Sha256::digest(body).as_slice() == sha256;
            Ok((!is_whole).then(|| format!("{} of {bytes} bytes are not those", body.len())))
        });
        let fault = match what_is_wrong {
            Ok(None) => continue,
            Ok(Some(fault)) => format!("{fault} that were stored"),
            Err(error) => format!("the body cannot be read: {error}"),
        };
        faults.push(format!("batch {batch} with {events} events: {fault}"));
    }
    Ok(())
}

/// Reads all of a table; gives the number of its rows.
fn read_all(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
    let last = statement.column_count().saturating_sub(1);
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        // The last column lies behind the others, on their pages.
        row.get_ref(last)?;
        count += 1;
    }
    Ok(count)
}

fn check_sums(
    transaction: &Transaction<'_>,
    now: Timestamp,
    faults: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let store = StoreStatus { bytes: 0, bytes_max: None };
    let equation = tallies::status(transaction, now, store)?.equation;
    let Equation { read, delivered, dead_lettered, ignored, discarded, stored, holds } = equation;
    if !holds {
        faults.push(format!(
            "the equation does not hold: {read} read; {delivered} delivered, {dead_lettered} dead \
             letters, {ignored} ignored, {discarded} discarded, {stored} stored"
        ));
    }
    for (meter, source) in tallies::wrong_sums(transaction)? {
        faults.push(format!(
            "the sums of meter {meter:?} and source {source:?} are not those of the rows"
        ));
    }
    Ok(())
}
