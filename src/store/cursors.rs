//! How far each file has been read and committed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rusqlite::{Connection, Row, Transaction, params};

use crate::clock::Timestamp;
use crate::position::{BytesHash, Cursor, FileIdentity, FileMark, Origin};

/// Stands for a birth time that the file system does not keep.
const NOT_BORN: i64 = i64::MIN;

/// Moves the cursor of a file. Groups commit in order, so the last one written is the furthest.
pub(super) fn upsert(
    transaction: &Transaction<'_>,
    source: &str,
    cursor: &Cursor,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT OR REPLACE INTO cursors (source, inode, born_nanos, device, generation, \
                 path, prefix_bytes, prefix_hash, origin, offset, tail_bytes, tail_hash, \
                 updated_at, written_at, packed_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                 ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let FileMark { identity, generation, path, prefix, .. } = &cursor.file;
    transaction.prepare_cached(query)?.execute(params![
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
    ])?;
    Ok(())
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
    };
    Ok(Cursor { file, origin: Origin(unsigned(7)?), offset: unsigned(8)?, tail })
}
