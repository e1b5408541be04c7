//! The tables of the store, and how a store of an earlier version becomes one of this.
//!
//! `user_version` counts the migrations that were run; each runs once, in a transaction of its
//! own. A store with a higher number was written by a later version and is left alone.

mod definition;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::Error;
pub(super) use definition::{Definition, are_written, definitions, written};

/// Marks the database as meterd's: "mtrd".
const APPLICATION_ID: i32 = 0x6d74_7264;

/// The migrations in order. Never change one that was released: add another.
const MIGRATIONS: [&str; 9] = [
    r"
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

-- AUTOINCREMENT: the number is part of the track id and must never be used again.
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    meter TEXT NOT NULL,
    -- The source of all its events; empty when there are several.
    source TEXT NOT NULL,
    track_id TEXT NOT NULL,
    events INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    wire_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    first_event_id TEXT,
    last_event_id TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    outcome_unknown_attempts INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);
CREATE INDEX batches_by_meter ON batches (meter, id);

-- Apart, so that looking at batches does not read bodies.
CREATE TABLE bodies (
    batch INTEGER PRIMARY KEY REFERENCES batches (id),
    body BLOB NOT NULL
);

CREATE TABLE receipts (
    batch INTEGER PRIMARY KEY,
    meter TEXT NOT NULL,
    track_id TEXT NOT NULL,
    events INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    wire_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    first_event_id TEXT,
    last_event_id TEXT,
    attempts INTEGER NOT NULL,
    outcome_unknown_attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    status INTEGER NOT NULL
);
CREATE INDEX receipts_by_time ON receipts (delivered_at);

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    meter TEXT NOT NULL,
    source TEXT NOT NULL,
    position TEXT NOT NULL,
    reason TEXT NOT NULL,
    field TEXT,
    detail TEXT NOT NULL,
    code TEXT,
    at INTEGER NOT NULL,
    event BLOB NOT NULL
);

CREATE TABLE cursors (
    source TEXT NOT NULL,
    inode INTEGER NOT NULL,
    born_nanos INTEGER NOT NULL,
    device INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    path BLOB NOT NULL,
    prefix_bytes INTEGER NOT NULL,
    prefix_hash INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    tail_bytes INTEGER NOT NULL,
    tail_hash INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (source, inode, born_nanos, device)
) WITHOUT ROWID;

-- What was counted in an hour since the epoch. What is delivered is counted for its meter alone,
-- with an empty source: a batch mixes sources.
CREATE TABLE tallies (
    hour INTEGER NOT NULL,
    meter TEXT NOT NULL,
    source TEXT NOT NULL,
    read INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead_lettered INTEGER NOT NULL DEFAULT 0,
    ignored INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, meter, source)
) WITHOUT ROWID;

CREATE TABLE lanes (
    meter TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO meta VALUES ('store_id', lower(hex(randomblob(8))));
INSERT INTO meta VALUES ('commits', 0);
",
    r"
-- The id that the event has or would have had, so that it has the same one when it is replayed.
ALTER TABLE dead_letters ADD COLUMN event_id TEXT;
-- Requests that carried the event before Mediation refused it, and those of unknown outcome.
ALTER TABLE dead_letters ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN outcome_unknown_attempts INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_by_meter ON dead_letters (meter, id);

-- Dead letters that were put back: those that are left are dead_lettered - replayed - discarded.
ALTER TABLE tallies ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;

-- Dead letters that a person gave up, and why.
CREATE TABLE discards (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    meter TEXT NOT NULL,
    source TEXT NOT NULL,
    letters INTEGER NOT NULL,
    because TEXT NOT NULL
);

-- Of the attempts of unknown outcome, those that a person has looked at.
ALTER TABLE batches ADD COLUMN decided_attempts INTEGER NOT NULL DEFAULT 0;
-- Usually empty: finds what nobody has decided about without a look at the whole backlog.
CREATE INDEX batches_undecided ON batches (meter) WHERE outcome_unknown_attempts > decided_attempts;

-- Mediation said that it had the events already.
ALTER TABLE receipts ADD COLUMN duplicate INTEGER NOT NULL DEFAULT 0;

-- No request before this: what the server asked for holds across a restart.
ALTER TABLE lanes ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;

CREATE TABLE sources (
    source TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL
) WITHOUT ROWID;
",
    r"
-- When a file was last written to, as far as was seen: tells archives that came later.
ALTER TABLE cursors ADD COLUMN written_at INTEGER NOT NULL DEFAULT 0;
UPDATE cursors SET written_at = updated_at;
-- Of a compressed file: its size when it was read to its end, 0 before.
ALTER TABLE cursors ADD COLUMN packed_bytes INTEGER;
",
    r"
-- Requests whose lines are committed, so that a repeat of one is known: a hash over its key, its
-- body and its meter.
CREATE TABLE requests (
    hash BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_by_expiry ON requests (expires_at);
",
    r"
-- The schema of a meter that came last with its export: it serves when Mediation cannot be reached.
CREATE TABLE schemas (
    meter TEXT PRIMARY KEY,
    hash BLOB NOT NULL,
    document TEXT NOT NULL,
    -- When this one came first, and when it was seen last.
    fetched_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;

-- The hash of the schema that the events were validated with; none: it was configured.
ALTER TABLE batches ADD COLUMN schema BLOB;
",
    r"
-- The sum of the events' quantities, a decimal number; NULL: not known.
ALTER TABLE batches ADD COLUMN quantity TEXT;
ALTER TABLE receipts ADD COLUMN quantity TEXT;

-- Whose event ids this agent stamps: tells its events from those of others.
CREATE TABLE origins (
    origin INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    seen_at INTEGER NOT NULL
);
CREATE INDEX origins_by_time ON origins (seen_at);
INSERT OR REPLACE INTO origins SELECT origin, source, updated_at FROM cursors;

-- Delivered events that Mediation refused later: what is delivered is delivered - refused.
ALTER TABLE tallies ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;

-- Each of them with its dead letter, which may be gone by now, and until when what Mediation has
-- said of the event, by its clock, is settled by it.
CREATE TABLE refusals (
    letter INTEGER PRIMARY KEY,
    meter TEXT NOT NULL,
    event_id TEXT NOT NULL,
    error_at INTEGER NOT NULL,
    settled_until INTEGER NOT NULL,
    quantity TEXT,
    filed_at INTEGER NOT NULL
);
CREATE INDEX refusals_by_event ON refusals (meter, event_id);
CREATE INDEX refusals_by_time ON refusals (meter, error_at);
CREATE INDEX dead_letters_by_event ON dead_letters (meter, event_id);

-- What the latest reconciliation of each meter came to.
CREATE TABLE reconciliations (
    meter TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    output INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    repeats INTEGER NOT NULL,
    unexplained INTEGER NOT NULL,
    is_even INTEGER NOT NULL
) WITHOUT ROWID;
",
    r"
-- Over what of a row never changes; NULL: it was written before there were checksums.
ALTER TABLE batches ADD COLUMN checksum INTEGER;
ALTER TABLE cursors ADD COLUMN checksum INTEGER;
",
    r"
-- Whether dead letters of a file are left, and whether batches as old as its end wait, asked for
-- each file that may be removed.
CREATE INDEX dead_letters_by_origin ON dead_letters (substr(event_id, 1, 17));
CREATE INDEX batches_by_time ON batches (created_at);

-- What waits is counted without a look at the batches.
DROP INDEX batches_by_meter;
CREATE INDEX batches_by_meter ON batches (meter, id, events, created_at);
",
    r"
-- What was counted, what waits and what is dead, in sums over all hours and rows: a look at them
-- costs the same after years and beside any backlog. The database keeps them itself, whoever
-- changes rows.
CREATE TABLE sums (
    meter TEXT NOT NULL,
    source TEXT NOT NULL,
    read INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead_lettered INTEGER NOT NULL DEFAULT 0,
    ignored INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0,
    replayed INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    -- Events in batches.
    stored INTEGER NOT NULL DEFAULT 0,
    -- Rows in the dead letters.
    letters INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (meter, source)
) WITHOUT ROWID;

INSERT INTO sums
    SELECT meter, source, sum(read), sum(delivered), sum(dead_lettered), sum(ignored),
        sum(discarded), sum(replayed), sum(refused), sum(stored), sum(letters)
    FROM (
        SELECT meter, source, read, delivered, dead_lettered, ignored, discarded, replayed, refused,
            0 AS stored, 0 AS letters FROM tallies
        UNION ALL SELECT meter, source, 0, 0, 0, 0, 0, 0, 0, events, 0 FROM batches
        UNION ALL SELECT meter, source, 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM dead_letters
    )
    GROUP BY meter, source;

-- By ON CONFLICT and not by OR IGNORE, which the statement that fires a trigger overrides.
CREATE TRIGGER tallies_begun AFTER INSERT ON tallies BEGIN
    INSERT INTO sums (meter, source, read, delivered, dead_lettered, ignored, discarded, replayed, refused)
        VALUES (new.meter, new.source, new.read, new.delivered, new.dead_lettered, new.ignored,
            new.discarded, new.replayed, new.refused)
        ON CONFLICT DO UPDATE SET read = read + excluded.read,
            delivered = delivered + excluded.delivered,
            dead_lettered = dead_lettered + excluded.dead_lettered,
            ignored = ignored + excluded.ignored,
            discarded = discarded + excluded.discarded,
            replayed = replayed + excluded.replayed,
            refused = refused + excluded.refused;
END;
CREATE TRIGGER tallies_counted AFTER UPDATE ON tallies BEGIN
    UPDATE sums SET read = read + new.read - old.read,
            delivered = delivered + new.delivered - old.delivered,
            dead_lettered = dead_lettered + new.dead_lettered - old.dead_lettered,
            ignored = ignored + new.ignored - old.ignored,
            discarded = discarded + new.discarded - old.discarded,
            replayed = replayed + new.replayed - old.replayed,
            refused = refused + new.refused - old.refused
        WHERE meter = new.meter AND source = new.source;
END;
CREATE TRIGGER batches_come AFTER INSERT ON batches BEGIN
    INSERT INTO sums (meter, source, stored) VALUES (new.meter, new.source, new.events)
        ON CONFLICT DO UPDATE SET stored = stored + excluded.stored;
END;
CREATE TRIGGER batches_gone AFTER DELETE ON batches BEGIN
    UPDATE sums SET stored = stored - old.events
        WHERE meter = old.meter AND source = old.source;
END;
CREATE TRIGGER dead_letters_come AFTER INSERT ON dead_letters BEGIN
    INSERT INTO sums (meter, source, letters) VALUES (new.meter, new.source, 1)
        ON CONFLICT DO UPDATE SET letters = letters + 1;
END;
CREATE TRIGGER dead_letters_gone AFTER DELETE ON dead_letters BEGIN
    UPDATE sums SET letters = letters - 1
        WHERE meter = old.meter AND source = old.source;
END;

-- The oldest batch of a meter is found by its age: a half of one has a later number.
DROP INDEX batches_by_meter;
CREATE INDEX batches_by_meter ON batches (meter, id);
CREATE INDEX batches_by_age ON batches (meter, created_at);
",
];

/// The version that this program writes.
pub const VERSION: usize = MIGRATIONS.len();

/// Refuses a database that this program does not understand.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<usize, Error> {
    let refused = |found: String| Error::NotUnderstood { path: path.to_owned(), found };
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = usize::try_from(version).map_err(|_| refused("a negative version".into()))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(refused("a database of another program".into()));
    }
    // The tables come in one transaction with their version.
    if tables > 0 && version == 0 {
        return Err(refused("tables of no version".into()));
    }
    if version > VERSION {
        let found = format!("version {version}, this program knows versions up to {VERSION}");
        return Err(refused(found));
    }
    Ok(version)
}

/// The store's own id, 16 hexadecimal digits.
pub(super) fn store_id(connection: &Connection) -> rusqlite::Result<String> {
    let query = "SELECT value FROM meta WHERE key = 'store_id'";
    connection.query_row(query, [], |row| row.get(0))
}

/// Brings the database to `version`, if it is older.
pub(super) fn run_to(version: usize, connection: &Connection, path: &Path) -> Result<(), Error> {
    let before = check(connection, path)?;
    for (index, migration) in MIGRATIONS.iter().enumerate().take(version).skip(before) {
        let script = format!(
            "BEGIN IMMEDIATE; {migration} \
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}; COMMIT;",
            index + 1
        );
        if let Err(error) = connection.execute_batch(&script) {
            // Failing to roll back changes nothing: the connection is dropped with it.
            let _ = connection.execute_batch("ROLLBACK");
            return Err(error.into());
        }
    }
    Ok(())
}

/// The `in_flight_max` of a run that has begun and not ended.
pub(super) fn running(connection: &Connection) -> rusqlite::Result<Option<u32>> {
    let query = "SELECT value FROM meta WHERE key = 'running'";
    connection.query_row(query, [], |row| row.get(0)).optional()
}

/// Records that a run has begun or ended.
pub(super) fn set_running(
    connection: &Connection,
    in_flight_max: Option<u32>,
) -> rusqlite::Result<()> {
    match in_flight_max {
        Some(max) => connection
            .execute("INSERT OR REPLACE INTO meta VALUES ('running', ?1)", [max])
            .map(|_| ()),
        None => connection.execute("DELETE FROM meta WHERE key = 'running'", []).map(|_| ()),
    }
}

/// How many commits of groups and settlements the store has seen.
pub(super) fn commits(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'commits'")?
        .query_row([], |row| row.get(0))
}

/// Counts a commit, within its transaction.
pub(super) fn set_commits(connection: &Connection, commits: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'commits'")?
        .execute([commits])
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_any_earlier_version_becomes_one_of_this() -> Result<(), Box<dyn std::error::Error>>
    {
        let path = Path::new("meterd.db");
        let schema = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
            let query = "SELECT name || coalesce(sql, '') FROM sqlite_schema ORDER BY name";
            connection.prepare(query)?.query_map([], |row| row.get(0))?.collect()
        };
        let fresh = Connection::open_in_memory()?;
        run_to(VERSION, &fresh, path)?;
        assert_eq!(definitions(&fresh)?, written()?);
        for version in 1..VERSION {
            let old = Connection::open_in_memory()?;
            for migration in MIGRATIONS.iter().take(version) {
                old.execute_batch(migration)?;
            }
            old.pragma_update(None, "application_id", APPLICATION_ID)?;
            old.pragma_update(None, "user_version", i64::try_from(version)?)?;
            assert_eq!(check(&old, path)?, version);
            let id: String =
                old.query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| {
                    row.get(0)
                })?;
            run_to(VERSION, &old, path)?;
            assert_eq!(store_id(&old)?, id);
            assert_eq!(schema(&old)?, schema(&fresh)?);
        }
        Ok(())
    }
}
