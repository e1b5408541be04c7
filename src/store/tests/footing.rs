//! What a flipped bit makes of names, definitions and indexes: it is seen before it costs anything.

use super::*;

/// A store of two commits, after `changes` were made to it.
fn changed(changes: &str) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let mut store = Store::open(&settings(directory.path()), "a")?;
    let meter = meter("m");
    commit(&mut store, &[group(&meter, 3, 1, 1), group(&meter, 3, 1, 2)], &[])?;
    commit(&mut store, &[], &[&delivered(1, &meter)])?;
    drop(store);
    let connection = Connection::open(directory.path().join("state").join(FILE_NAME))?;
    connection.pragma_update(None, "writable_schema", "ON")?;
    connection.execute_batch(changes)?;
    Ok(directory)
}

#[test]
fn a_name_that_is_another_one_refuses_the_store() -> TestResult {
    let renamed = |table: &str, from: &str, to: &str| {
        let of = format!("type = 'table' AND name = '{table}'");
        format!("UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE {of}")
    };
    for (changes, words) in [
        (renamed("receipts", "payload_bytes", "paylo!d_bytes"), ""),
        (renamed("receipts", "payload_bytes", "payload_bytds"), "the table receipts"),
        (renamed("lanes", "TEXT PRIMARY KEY", "TEXT PRIMARY KEX"), ""),
        (
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema \
             WHERE name = 'bodies') WHERE name = 'receipts'"
                .to_owned(),
            "have the same pages",
        ),
        ("UPDATE meta SET key = 'store_ie' WHERE key = 'store_id'".to_owned(), "store_ie"),
        ("UPDATE meta SET value = 'G' || value WHERE key = 'store_id'".to_owned(), "store_id"),
        ("UPDATE meta SET key = 'runnilg' WHERE key = 'commits'".to_owned(), "runnilg"),
        ("INSERT INTO meta VALUES ('running', 0)".to_owned(), "running"),
        ("INSERT INTO meta VALUES ('not_before', 'x')".to_owned(), "not_before"),
        ("DELETE FROM meta WHERE key = 'store_id'".to_owned(), "lacks"),
        ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'batches'".to_owned(), "2 is used"),
        ("UPDATE sqlite_sequence SET name = 'batchez' WHERE seq = 2".to_owned(), "2 is used"),
        ("PRAGMA user_version = 0".to_owned(), "no version"),
    ] {
        let directory = changed(&changes)?;
        let state = directory.path().join("state");
        let Err(error) = Store::open(&settings(directory.path()), "a") else {
            return Err(format!("{changes}: opened").into());
        };
        assert!(error.to_string().contains(words), "{changes}: {error}");
        let is_refused = error.is_damage() || matches!(error, Error::NotUnderstood { .. });
        assert!(is_refused, "{changes}: {error}");
        let inspected = Reader::open(&state).and_then(|reader| reader.inspect(NOW));
        let is_told = inspected.is_ok_and(|found| found.faults.join("\n").contains(words));
        assert!(is_told || words.is_empty() || words == "no version", "{changes}");
    }
    Ok(())
}

#[test]
fn a_row_that_its_index_does_not_have_is_found() -> TestResult {
    let untouched = changed("")?;
    let state = untouched.path().join("state");
    Store::open(&settings(untouched.path()), "a")?;
    Reader::open(&state)?.look()?;

    let directory = changed(
        "UPDATE sqlite_schema SET sql = sql || ' WHERE id < 0' WHERE name = 'batches_by_meter'",
    )?;
    let path = directory.path().join("state").join(FILE_NAME);
    // By a definition that leaves all rows out, and then by its own again.
    Connection::open(&path)?.execute_batch("REINDEX batches_by_meter")?;
    let connection = Connection::open(&path)?;
    connection.pragma_update(None, "writable_schema", "ON")?;
    connection.execute_batch(
        "UPDATE sqlite_schema SET sql = replace(sql, ' WHERE id < 0', '') \
         WHERE name = 'batches_by_meter'",
    )?;
    drop(connection);
    let reader = Reader::open(&directory.path().join("state"))?;
    assert!(reader.next_batch("m", BatchId(0))?.is_none());
    assert!(reader.look().is_err_and(|error| error.is_damage()));
    Ok(())
}

#[test]
fn a_batch_without_a_body_is_not_passed_over() -> TestResult {
    let directory = changed("DELETE FROM bodies WHERE batch = 2")?;
    let reader = Reader::open(&directory.path().join("state"))?;
    assert!(reader.next_batch("m", BatchId(0)).is_err_and(|error| error.is_damage()));
    Ok(())
}
