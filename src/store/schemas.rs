//! The schema of each meter that came last with its export: one row a meter.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::schema::edition::Hash;

/// A schema that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is told from others by.
    pub hash: Hash,
    /// The schema as it stood in the export, as JSON.
    pub document: String,
    /// When it came for the first time.
    pub fetched_at: Timestamp,
    /// When it was seen last.
    pub seen_at: Timestamp,
}

/// Keeps `document` as the schema of `meter`, seen at `at`.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    meter: &str,
    hash: &Hash,
    document: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO schemas (meter, hash, document, fetched_at, seen_at) \
                 VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT DO UPDATE SET \
                 fetched_at = CASE hash WHEN excluded.hash THEN fetched_at ELSE excluded.fetched_at END, \
                 hash = excluded.hash, document = excluded.document, seen_at = excluded.seen_at";
    transaction.prepare_cached(query)?.execute(params![meter, hash, document, at.as_millis()])?;
    Ok(())
}

/// The schema of `meter` that is kept.
pub(super) fn kept(connection: &Connection, meter: &str) -> rusqlite::Result<Option<Kept>> {
    let query = "SELECT hash, document, fetched_at, seen_at FROM schemas WHERE meter = ?1";
    connection
        .prepare_cached(query)?
        .query_row([meter], |row| {
            Ok(Kept {
                hash: row.get(0)?,
                document: row.get(1)?,
                fetched_at: Timestamp::from_millis(row.get(2)?),
                seen_at: Timestamp::from_millis(row.get(3)?),
            })
        })
        .optional()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settlement::Settlement;
    use crate::store::reader::Reader;
    use crate::store::{Settings, Store, Work};

    #[test]
    fn the_last_one_is_kept_with_the_time_at_which_it_came_first()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let settings = Settings {
            directory: directory.path().to_owned(),
            bytes_max: 1 << 30,
            receipts_keep: Duration::from_secs(1),
        };
        let mut store = Store::open(&settings, "a")?;
        let reader = Reader::open(&settings.directory)?;
        assert_eq!(reader.schema("m")?, None);
        let at = Timestamp::from_millis;
        for (hash, document, millis, fetched) in
            [(1, "one", 10, 10), (1, "One", 20, 10), (2, "two", 30, 30), (1, "one", 40, 40)]
        {
            let fetched_now = Settlement::Schema {
                meter: "m".into(),
                hash: [hash; 32],
                document: document.into(),
                at: at(millis),
            };
            store.commit(&Work { groups: &[], settlements: &[&fetched_now], now: at(millis) })?;
            let kept = Kept {
                hash: [hash; 32],
                document: document.to_owned(),
                fetched_at: at(fetched),
                seen_at: at(millis),
            };
            assert_eq!(reader.schema("m")?, Some(kept));
        }
        assert_eq!(reader.schema("other")?, None);
        Ok(())
    }
}
