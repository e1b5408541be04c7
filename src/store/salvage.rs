//! Takes what can be read of a damaged store to a new one, and tells exactly what is missing.
//!
//! Promises: the damaged store is not changed, a row is taken whole or not at all, a batch only with
//! the very body that was stored with it, and in the new store the equation holds: events that are
//! missing are counted there as discarded, with that reason. Never: guesses a value.

mod account;
mod definitions;
mod rows;

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, params_from_iter};
use serde::Serialize;

use super::batches::UNCOUNTED;
use super::checksums::{self, BATCHES, CURSORS};
use super::connection::connect;
use super::lock::{self, Lock};
use super::{BUSY_TIMEOUT, Error, FILE_NAME, check_commits, check_log, check_there};
use super::{footing, migrations};
use crate::clock::Timestamp;
use account::{Account, Whole, Witnesses};

/// Tables whose rows have a number, and its name.
const NUMBERED: [(&str, &str); 4] =
    [("batches", "id"), ("dead_letters", "id"), ("discards", "id"), ("receipts", "batch")];

/// What nobody can count once commits are gone from the log.
const LOST_COMMITS: &str = "commits that the log has lost: what came over connections in them is gone, \
                            what was read of files is read again";

/// What came of a salvage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Salvage {
    /// By table, in the order in which they were read.
    pub tables: Vec<Table>,
    /// Events and dead letters that were committed and are not in the new store, by meter.
    pub missing: Vec<Missing>,
    /// What may be missing beside these and cannot be counted, in words; empty: nothing.
    pub uncounted: Vec<String>,
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
    /// Otherwise it is so many at most: what counts them is damaged as well.
    pub is_exact: bool,
}

impl Salvage {
    /// Whether everything was there.
    pub fn is_whole(&self) -> bool {
        let mut tables = self.tables.iter();
        self.missing.is_empty()
            && self.uncounted.is_empty()
            && tables.all(|table| table.faults.is_empty())
    }
}

/// Takes everything that can be read from the store in `from` to a new one in `to`, where there must
/// be none. No daemon may use either.
pub fn salvage(from: &Path, to: &Path, now: Timestamp) -> Result<Salvage, Error> {
    let path = from.join(FILE_NAME);
    if !path.exists() {
        return Err(Error::Missing { path });
    }
    let lock = Lock::take(from)?;
    // Whatever reads a database without a page deletes its log, from which a file that is found again goes on.
    check_there(&path, lock.mark.as_ref())?;
    let log = check_log(from).err();
    let old = open_damaged(&path)?;
    let version = migrations::check(&old, &path)?;
    if version == 0 {
        let found = "nothing is in it".to_owned();
        return Err(Error::NotUnderstood { path, found });
    }
    let log = log.or_else(|| check_commits(&path, &old, lock.mark.as_ref()).err());
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
    // Also where definitions are damaged, and where the file is shorter than it says.
    connection.pragma_update(None, "writable_schema", true)?;
    Ok(connection)
}

fn take_all(
    old: &Connection,
    new: &mut Connection,
    log: Option<&Error>,
    now: Timestamp,
) -> Result<Salvage, Error> {
    let mut tables = vec![definitions::mend(old, new)?];
    let transaction = new.transaction()?;
    for name in names(&transaction)? {
        let numbered = NUMBERED.iter().find(|(table, _)| *table == name);
        let mut table = match numbered {
            Some((_, key)) => rows::take_numbered(old, &transaction, &name, key)?,
            // Bodies come with their batches, and the new store makes its sums.
            None if matches!(&*name, "bodies" | "meta" | "sums") => continue,
            None => rows::take_in_order(old, &transaction, &name)?,
        };
        table.faults.extend(structure(old, &name));
        tables.push(table);
    }
    leave_damaged(&transaction, &mut tables)?;
    doubt_uncounted(&transaction, &mut tables)?;
    tables.push(take_run(old, &transaction, log)?);
    number_on(&transaction)?;
    leave_delivered(&transaction)?;
    let is_whole = |name: &str| {
        tables.iter().filter(|table| table.name == name).all(|table| table.faults.is_empty())
    };
    let whole = Whole { batches: is_whole("batches"), dead_letters: is_whole("dead_letters") };
    let witnesses = Witnesses::of(old, is_whole("tallies"));
    let Account { missing, corrected, mut uncounted } =
        account::account(&transaction, &witnesses, whole, now)?;
    transaction.commit()?;
    if let Some(table) = tables.iter_mut().find(|table| table.name == "tallies") {
        let words = |meter| format!("the counts of {meter} are wrong, and set right");
        table.faults.extend(corrected.iter().map(words));
    }
    uncounted.extend(log.map(|_| LOST_COMMITS.to_owned()));
    Ok(Salvage { tables, missing, uncounted })
}

/// What is wrong with the structure of a table, in a line: a row that its page does not name is missing
/// without an error.
fn structure(old: &Connection, table: &str) -> Option<String> {
    match footing::structure(old, table) {
        Ok(faults) => faults.split_first().map(|(first, rest)| match rest.len() {
            0 => first.clone(),
            more => format!("{first}, and {more} more"),
        }),
        Err(error) => Some(error.to_string()),
    }
}

/// The tables of the new store.
fn names(new: &Connection) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                 ORDER BY name";
    new.prepare(query)?.query_map([], |row| row.get(0))?.collect()
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
    // A row that has another name now may be the one that says so.
    let strange = footing::meta(old).unwrap_or_default();
    let running = if strange.is_empty() { running } else { Some(u32::MAX) };
    table.faults.extend(strange);
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

/// Batches of which the tries are not known: they may have been sent before, and that is recorded. No
/// checksum is over these numbers, and a lane would be held by what is none.
fn doubt_uncounted(new: &Transaction<'_>, tables: &mut [Table]) -> rusqlite::Result<()> {
    if !has_column(new, "batches", "decided_attempts")? {
        return Ok(());
    }
    let doubt = format!(
        "UPDATE batches SET attempts = 1, outcome_unknown_attempts = 1, decided_attempts = 0 \
         WHERE {UNCOUNTED} RETURNING id"
    );
    let doubted: Vec<i64> =
        new.prepare(&doubt)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if let Some(table) = tables.iter_mut().find(|table| table.name == "batches") {
        let words =
            |batch| format!("batch {batch} may have been sent before: its tries are not known");
        table.faults.extend(doubted.into_iter().map(words));
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
