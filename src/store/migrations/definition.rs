//! What the tables are made by, and whether that is what this program writes.

use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use super::MIGRATIONS;

/// The hash of the definitions of this version: to make them anew takes as long as the rest of a start.
const WRITTEN: u64 = 0xb5f4_b3f7_1386_9f54;

/// What a table, an index or a trigger is made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Definition {
    /// `table`, `index` or `trigger`.
    pub(in crate::store) kind: String,
    /// Its name.
    pub(in crate::store) name: String,
    /// The table of an index or a trigger, or the table itself.
    pub(in crate::store) table: String,
    /// The statement.
    pub(in crate::store) sql: Option<String>,
}

/// The definitions that are in the database, as far as they are readable.
pub(in crate::store) fn definitions(connection: &Connection) -> rusqlite::Result<Vec<Definition>> {
    let text = |row: &Row<'_>, column| -> rusqlite::Result<Option<String>> {
        let bytes = row.get_ref(column)?.as_bytes_or_null()?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    let query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid";
    let read = |row: &Row<'_>| {
        Ok(Definition {
            kind: text(row, 0)?.unwrap_or_default(),
            name: text(row, 1)?.unwrap_or_default(),
            table: text(row, 2)?.unwrap_or_default(),
            sql: text(row, 3)?,
        })
    };
    connection.prepare(query)?.query_map([], read)?.collect()
}

/// Whether these are the definitions of this version, in the order in which they were made.
pub(in crate::store) fn are_written(definitions: &[Definition]) -> bool {
    hash(definitions) == WRITTEN
}

fn hash(definitions: &[Definition]) -> u64 {
    let mut hasher = Sha256::new();
    for Definition { kind, name, table, sql } in definitions {
        for text in [kind, name, table, sql.as_ref().unwrap_or(&String::new())] {
            hasher.update(text);
            hasher.update([0]);
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
}

/// The definitions of this version.
pub(in crate::store) fn written() -> rusqlite::Result<Vec<Definition>> {
    let fresh = Connection::open_in_memory()?;
    MIGRATIONS.iter().try_for_each(|migration| fresh.execute_batch(migration))?;
    definitions(&fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_migrations() -> rusqlite::Result<()> {
        let hash = hash(&written()?);
        assert_eq!(hash, WRITTEN, "{hash:#x}");
        Ok(())
    }
}
