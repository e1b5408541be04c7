//! How far each file has been read and committed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rusqlite::{Connection, Row, Transaction, params};

use super::checksums::{self, CURSORS};
use crate::clock::Timestamp;
use crate::position::{BytesHash, Cursor, FileIdentity, FileMark, Origin};

/// Stands for a birth time that the file system does not keep.
const NOT_BORN: i64 = i64::MIN;

/// Moves the cursor of a file, or deletes that of one that is gone for good. Groups commit in
/// order, so the last one written is the furthest.
pub(super) fn upsert(
    transaction: &Transaction<'_>,
    source: &str,
    cursor: &Cursor,
    now: Timestamp,
) -> rusqlite::Result<()> {
    if cursor.file.is_forgotten {
        return delete(transaction, source, cursor.file.identity);
    }
    let query = format!(
        "INSERT OR REPLACE INTO cursors (source, inode, born_nanos, device, generation, \
                 path, prefix_bytes, prefix_hash, origin, offset, tail_bytes, tail_hash, \
                 updated_at, written_at, packed_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                 ?9, ?10, ?11, ?12, ?13, ?14, ?15) RETURNING {}",
        CURSORS.fields
    );
    let FileMark { identity, generation, path, prefix, .. } = &cursor.file;
    let values = params![
        source,
        identity.inode.cast_signed(),
        identity.born_nanos.unwrap_or(NOT_BORN),
        identity.device.cast_signed(),
        generation,
        path.as_os_str().as_bytes(),
        prefix.len,
        prefix.hash.cast_signed(),
        cursor.origin.0.cast_signed(),
        cursor.offset.cast_signed(),
        cursor.tail.len,
        cursor.tail.hash.cast_signed(),
        now.as_millis(),
        cursor.file.written_at.as_millis(),
        cursor.file.packed_bytes.map(u64::cast_signed),
    ];
    let checksum = transaction
        .prepare_cached(&query)?
        .query_row(values, |row| checksums::over(row, 0..CURSORS.columns))?;
    let query = "UPDATE cursors SET checksum = ?5 \
                 WHERE source = ?1 AND inode = ?2 AND born_nanos = ?3 AND device = ?4";
    let (inode, device) = (identity.inode.cast_signed(), identity.device.cast_signed());
    let born = identity.born_nanos.unwrap_or(NOT_BORN);
    transaction.prepare_cached(query)?.execute(params![source, inode, born, device, checksum])?;
    Ok(())
}

fn delete(transaction: &Transaction<'_>, source: &str, file: FileIdentity) -> rusqlite::Result<()> {
    // Device numbers may change when the machine restarts; without a birth time they are what tells
    // one file from another of the same inode number.
    let query = "DELETE FROM cursors WHERE source = ?1 AND inode = ?2 AND born_nanos = ?3 \
                 AND (born_nanos <> ?4 OR device = ?5)";
    let (inode, device) = (file.inode.cast_signed(), file.device.cast_signed());
    let born = file.born_nanos.unwrap_or(NOT_BORN);
    transaction.prepare_cached(query)?.execute(params![source, inode, born, NOT_BORN, device])?;
    Ok(())
}

/// Of the cursor of a file. What is cut from a batch keeps the time of that: all that was committed
/// with the cursor or before it is gone once no batch is so old. It is asked for each file that may be
/// removed: by indexes alone, however much waits.
pub(super) const IS_DELIVERED: &str = "SELECT EXISTS (SELECT 1 FROM cursors WHERE source = ?1 AND inode = ?2 \
     AND born_nanos = ?3 AND (born_nanos <> ?4 OR device = ?5) AND offset = ?6 \
     AND NOT EXISTS (SELECT 1 FROM batches WHERE created_at <= cursors.updated_at) \
     AND NOT EXISTS (SELECT 1 FROM dead_letters \
     WHERE substr(event_id, 1, 17) = printf('%016x-', cursors.origin)))";

/// Whether everything of the file up to `offset` is delivered or a dead letter, and no dead letter
/// of it is left. They are known by the origin in their event ids: the file may have had another
/// name when they were written.
pub(super) fn is_delivered(
    connection: &Connection,
    source: &str,
    file: FileIdentity,
    offset: u64,
) -> rusqlite::Result<bool> {
    let (inode, device) = (file.inode.cast_signed(), file.device.cast_signed());
    let born = file.born_nanos.unwrap_or(NOT_BORN);
    let values = params![source, inode, born, NOT_BORN, device, offset.cast_signed()];
    connection.prepare_cached(IS_DELIVERED)?.query_row(values, |row| row.get(0))
}

/// Fails when any cursor, of whichever source, is not what was written.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    match CURSORS.damaged(connection)?.first() {
        Some(row) => Err(checksums::damage(checksums::words(row))),
        None => Ok(()),
    }
}

/// The cursors of a source, the one moved last first.
pub(super) fn of_source(connection: &Connection, source: &str) -> rusqlite::Result<Vec<Cursor>> {
    let query = "SELECT inode, born_nanos, device, generation, path, prefix_bytes, prefix_hash, \
                 origin, offset, tail_bytes, tail_hash, written_at, packed_bytes \
                 FROM cursors WHERE source = ?1 \
                 ORDER BY updated_at DESC";
    connection.prepare(query)?.query_map([source], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    let unsigned = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let born: i64 = row.get(1)?;
    let identity = FileIdentity {
        inode: unsigned(0)?,
        born_nanos: (born != NOT_BORN).then_some(born),
        device: unsigned(2)?,
    };
    let path: Vec<u8> = row.get(4)?;
    let tail = BytesHash { len: row.get(9)?, hash: unsigned(10)? };
    let file = FileMark {
        identity,
        generation: row.get(3)?,
        path: PathBuf::from(OsStr::from_bytes(&path)),
        prefix: BytesHash { len: row.get(5)?, hash: unsigned(6)? },
        tail,
        written_at: Timestamp::from_millis(row.get(11)?),
        packed_bytes: row.get::<_, Option<i64>>(12)?.map(i64::cast_unsigned),
        is_forgotten: false,
    };
    Ok(Cursor { file, origin: Origin(unsigned(7)?), offset: unsigned(8)?, tail })
}
