//! The state of each meter's lane, and the waits that the server asked for: they hold after a
//! restart.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::settlement::LaneState;

/// Until when the server asked for no request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waits {
    /// Of any meter; long ago when it asked for no such thing.
    pub tenant: Timestamp,
    /// Of one meter.
    pub meters: HashMap<String, Timestamp>,
}

/// Records the state of a meter's lane.
pub(super) fn set_state(
    transaction: &Transaction<'_>,
    meter: &str,
    state: LaneState,
    reason: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO lanes (meter, state, reason, since) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET \
                 state = excluded.state, reason = excluded.reason, since = excluded.since";
    transaction.prepare_cached(query)?.execute(params![
        meter,
        state.name(),
        reason,
        at.as_millis()
    ])?;
    Ok(())
}

/// Records that the server wants no request of `meter`, or of the whole tenant, before `until`.
pub(super) fn set_wait(
    transaction: &Transaction<'_>,
    meter: &str,
    until: Timestamp,
    is_tenants: bool,
) -> rusqlite::Result<()> {
    let query = "INSERT INTO lanes (meter, state, reason, since, not_before) \
                 VALUES (?1, ?2, '', ?3, ?3) \
                 ON CONFLICT DO UPDATE SET not_before = max(not_before, excluded.not_before)";
    let running = LaneState::Running.name();
    transaction.prepare_cached(query)?.execute(params![meter, running, until.as_millis()])?;
    if is_tenants {
        let query = "INSERT INTO meta VALUES ('not_before', ?1) \
                     ON CONFLICT DO UPDATE SET value = max(value, excluded.value)";
        transaction.prepare_cached(query)?.execute([until.as_millis()])?;
    }
    Ok(())
}

/// Shortens waits that are longer than any that is obeyed: the clock was set back meanwhile.
pub(super) fn limit_waits(
    transaction: &Transaction<'_>,
    latest: Timestamp,
) -> rusqlite::Result<()> {
    let latest = [latest.as_millis()];
    transaction.execute("UPDATE lanes SET not_before = ?1 WHERE not_before > ?1", latest)?;
    let query = "UPDATE meta SET value = ?1 WHERE key = 'not_before' AND value > ?1";
    transaction.execute(query, latest)?;
    Ok(())
}

/// Every wait that was ever asked for, those that are over included.
pub(super) fn waits(connection: &Connection) -> rusqlite::Result<Waits> {
    let tenant = connection
        .query_row("SELECT value FROM meta WHERE key = 'not_before'", [], |row| row.get(0))
        .optional()?;
    let mut lanes = connection.prepare("SELECT meter, not_before FROM lanes")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)));
    Ok(Waits {
        tenant: Timestamp::from_millis(tenant.unwrap_or_default()),
        meters: lanes.query_map([], read)?.collect::<rusqlite::Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::reader::Reader;
    use super::super::{Settings, Store, Work};
    use super::*;
    use crate::settlement::Settlement;

    const NOW: Timestamp = Timestamp::from_millis(1_763_705_651_123);
    const MAX: Duration = Duration::from_secs(900);

    #[test]
    fn waits_hold_until_a_later_one_and_a_clock_that_was_set_back_does_not_make_them_long()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let settings = Settings {
            directory: directory.path().to_owned(),
            bytes_max: 1 << 30,
            receipts_keep: MAX,
        };
        let mut store = Store::open(&settings, "a")?;
        let later = |seconds| NOW.after(Duration::from_secs(seconds));
        let wait = |meter: &str, seconds, is_tenants| Settlement::Wait {
            meter: meter.into(),
            is_tenants,
            until: later(seconds),
        };
        let running = Settlement::Lane {
            meter: Arc::from("one"),
            state: LaneState::Running,
            reason: String::new(),
            at: NOW,
        };
        let settlements =
            [&wait("one", 5, false), &wait("one", 3, false), &wait("two", 7, true), &running];
        store.commit(&Work { groups: &[], settlements: &settlements, now: NOW })?;
        let reader = Reader::open(&settings.directory)?;
        let check = |tenant, one, two| -> Result<(), Box<dyn std::error::Error>> {
            let meters = [("one".to_owned(), one), ("two".to_owned(), two)];
            assert_eq!(reader.waits()?, Waits { tenant, meters: meters.into_iter().collect() });
            Ok(())
        };
        check(later(7), later(5), later(7))?;
        store.begin_run(8, MAX, NOW)?;
        check(later(7), later(5), later(7))?;
        let hour_ago = Timestamp::from_millis(NOW.as_millis() - 3_600_000);
        store.begin_run(8, MAX, hour_ago)?;
        check(hour_ago.after(MAX), hour_ago.after(MAX), hour_ago.after(MAX))
    }
}
