//! How connections to the database are set.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, Error, FILE_NAME};

/// Opens the database for writing, with the durability that the promises rest on.
pub(super) fn connect(directory: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join(FILE_NAME), flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Bodies are some hundred kilobytes: large pages make their chains short. It only has an
    // effect on a new database.
    connection.pragma_update(None, "page_size", 16_384)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Each commit waits for the disk. NORMAL loses acknowledged commits in a power cut.
    connection.pragma_update(None, "synchronous", "full")?;
    // A long outage lets the log grow; it gives the room back after its checkpoint.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Negative: kibibytes. Bodies are written once and read once, a large cache has no use.
    connection.pragma_update(None, "cache_size", -4096)?;
    // A statement that fires triggers keeps the pages that it changes until it is done: in files that are made
    // and deleted each time, by default, which takes longer and fails where a disk has no inodes left.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    keep_plans(&connection)?;
    Ok(connection)
}

/// A statement is compiled once, and not again for each value that is bound to it: that took longer than
/// finding the next batch. All plans are by keys and indexes, whatever the values.
pub(super) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}
