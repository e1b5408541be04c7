//! The sources of the present run, or of the last one: which are held, and why.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::tallies::SourceStatus;
use crate::clock::Timestamp;
use crate::settlement::SourceState;

/// Records the state of a source.
pub(super) fn set_state(
    transaction: &Transaction<'_>,
    source: &str,
    state: SourceState,
    reason: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query =
        "INSERT OR REPLACE INTO sources (source, state, reason, since) VALUES (?1, ?2, ?3, ?4)";
    transaction.prepare_cached(query)?.execute(params![
        source,
        state.name(),
        reason,
        at.as_millis()
    ])?;
    Ok(())
}

/// Forgets the states of all sources: one that is not configured any more is not held.
pub(super) fn forget(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM sources", []).map(|_| ())
}

/// Adds their states to what was counted; who is not on record is not held.
pub(super) fn add_states(
    connection: &Transaction<'_>,
    sources: &mut BTreeMap<String, SourceStatus>,
) -> rusqlite::Result<()> {
    let mut states = connection.prepare("SELECT source, state, reason FROM sources")?;
    let mut rows = states.query([])?;
    while let Some(row) = rows.next()? {
        let source = sources.entry(row.get(0)?).or_default();
        source.state = row.get(1)?;
        source.reason = row.get(2)?;
    }
    for source in sources.values_mut().filter(|source| source.state.is_empty()) {
        SourceState::Reading.name().clone_into(&mut source.state);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settlement::Settlement;
    use crate::store::reader::Reader;
    use crate::store::{Settings, Store, Work};

    #[test]
    fn a_source_is_held_until_it_reads_again_or_another_run_begins()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let (directory, receipts_keep) = (directory.path().join("state"), Duration::from_secs(60));
        let settings = Settings { directory, bytes_max: 1 << 30, receipts_keep };
        let mut store = Store::open(&settings, "agent")?;
        let mut reader = Reader::open(&settings.directory)?;
        let now = Timestamp::now();
        let mut note = |state, why: &str| -> Result<_, Box<dyn std::error::Error>> {
            let (source, reason) = ("app".into(), why.to_owned());
            let settlement = Settlement::Source { source, state, reason, at: now };
            store.commit(&Work { groups: &[], settlements: &[&settlement], now })?;
            let source = reader.status(now, None)?.sources.remove("app").ok_or("no source")?;
            Ok((source.state, source.reason))
        };
        let expected = |state: &str, reason: &str| (state.to_owned(), reason.to_owned());
        assert_eq!(note(SourceState::Reading, "")?, expected("reading", ""));
        assert_eq!(note(SourceState::Held, "bad")?, expected("held", "bad"));
        store.begin_run(8, Duration::ZERO, now)?;
        assert_eq!(reader.status(now, None)?.sources.get("app"), None);
        Ok(())
    }
}
