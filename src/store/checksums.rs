//! A checksum over what of a row never changes and money hangs on. `SQLite` has none over rows: with a
//! flipped bit, a place in a file is another place that looks as good.
//!
//! Rows that were written before there were checksums have none, and pass.

use std::ops::Range;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, ffi};
use sha2::{Digest, Sha256};

/// A table with checksums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed {
    /// Its name.
    pub(super) table: &'static str,
    /// The columns under the checksum; the key is first.
    pub(super) fields: &'static str,
    /// How many there are.
    pub(super) columns: usize,
}

/// All that is frozen with a body.
pub(super) const BATCHES: Sealed = Sealed {
    table: "batches",
    fields: "id, meter, source, track_id, events, payload_bytes, wire_bytes, sha256, \
             first_event_id, last_event_id, created_at, schema, quantity",
    columns: 13,
};

/// All of a cursor.
pub(super) const CURSORS: Sealed = Sealed {
    table: "cursors",
    fields: "source, inode, born_nanos, device, path, generation, prefix_bytes, prefix_hash, \
             origin, offset, tail_bytes, tail_hash, updated_at, written_at, packed_bytes",
    columns: 15,
};

impl Sealed {
    /// The fields of each row that is not what was written.
    pub(super) fn damaged(&self, connection: &Connection) -> rusqlite::Result<Vec<Vec<Value>>> {
        let Self { table, fields, columns } = self;
        let query = format!("SELECT {fields}, checksum FROM {table} NOT INDEXED");
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([])?;
        let mut damaged = Vec::new();
        while let Some(row) = rows.next()? {
            if !agree(row, 0..*columns)? {
                damaged
                    .push((0..*columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
            }
        }
        Ok(damaged)
    }
}

/// The checksum over these columns of `row`.
pub(super) fn over(row: &Row<'_>, columns: Range<usize>) -> rusqlite::Result<i64> {
    let mut hasher = Sha256::new();
    for column in columns {
        let value = row.get_ref(column)?;
        // With its kind and its length, so that nothing moves to its neighbour.
        let (kind, number, bytes): (u8, u64, &[u8]) = match value {
            ValueRef::Null => (0, 0, &[]),
            ValueRef::Integer(number) => (1, number.cast_unsigned(), &[]),
            ValueRef::Real(number) => (2, number.to_bits(), &[]),
            ValueRef::Text(bytes) => (3, bytes.len() as u64, bytes),
            ValueRef::Blob(bytes) => (4, bytes.len() as u64, bytes),
        };
        hasher.update([kind]);
        hasher.update(number.to_le_bytes());
        hasher.update(bytes);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    Ok(i64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default()))
}

/// Whether these columns of `row` are what was written, by the checksum that stands behind them.
pub(super) fn agree(row: &Row<'_>, columns: Range<usize>) -> rusqlite::Result<bool> {
    match row.get::<_, Option<i64>>(columns.end)? {
        Some(written) => Ok(over(row, columns)? == written),
        None => Ok(true),
    }
}

/// Which row of [`BATCHES`] or [`CURSORS`] this is, and that it is not what was written.
pub(super) fn words(row: &[Value]) -> String {
    let what = match row {
        [Value::Integer(batch), Value::Text(meter), ..] => format!("batch {batch} of {meter}"),
        [Value::Text(source), _, _, _, Value::Blob(path), ..] => {
            format!("the cursor of {source} in {}", String::from_utf8_lossy(path))
        }
        _ => "a row".to_owned(),
    };
    format!("{what} is not what was written")
}

/// The error for what is not what was written.
pub(super) fn damage(words: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(words))
}
