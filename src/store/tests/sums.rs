//! Sums over all rows, which the database keeps.

use super::*;

/// What is wrong with the store, by a look at every row.
fn faults(settings: &Settings) -> Result<Vec<String>, Error> {
    Ok(Reader::open(&settings.directory)?.inspect(NOW)?.faults)
}

#[test]
fn a_store_of_before_there_were_sums_gets_them_of_what_it_holds() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    Store::create_directory(&settings.directory)?;
    let path = settings.directory.join(FILE_NAME);
    let connection = Connection::open(&path)?;
    migrations::run_to(8, &connection, &path)?;
    connection.execute_batch(
        "INSERT INTO tallies VALUES (1, 'm', 'app', 9, 0, 3, 1, 0, 1, 0), (2, 'm', 'app', 5, 0, 0, 0, 1, 0, 0),
             (2, 'm', '', 0, 4, 0, 0, 0, 0, 1), (2, '', 'app', 1, 0, 1, 0, 0, 0, 0);
         INSERT INTO batches (meter, source, track_id, events, payload_bytes, wire_bytes, sha256, created_at)
             VALUES ('m', 'app', 'a-1', 7, 1, 1, x'', 3000), ('m', '', 'a-2', 2, 1, 1, x'', 2000);
         INSERT INTO dead_letters (meter, source, position, reason, detail, at, event)
             VALUES ('m', 'app', '', 'refused', '', 1, x''), ('', 'app', '', 'refused', '', 1, x'');",
    )?;
    drop(connection);
    let store = Store::open(&settings, "a")?;
    assert_eq!(tallies::wrong_sums(&store.connection)?, []);
    let now = Timestamp::from_millis(12_000);
    let status = Reader::open(&settings.directory)?.status(now, None)?;
    let sum = &status.equation;
    assert_eq!((sum.read, sum.delivered, sum.dead_lettered), (15, 3, 2));
    assert_eq!((sum.ignored, sum.discarded, sum.stored), (1, 1, 9));
    let meter = status.meters.get("m").ok_or("no meter")?;
    assert_eq!((meter.stored, meter.dead_lettered, meter.refused_after_delivery), (9, 1, 1));
    assert!((meter.oldest_undelivered_seconds - 10.0).abs() < 1e-9, "{meter:?}");
    Ok(())
}

#[test]
fn halves_are_as_old_as_their_batch() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    let meter = meter("m");
    commit(&mut store, &[group(&meter, 2, 0, 1)], &[])?;
    let later = NOW.after(Duration::from_secs(50));
    let (young, halves) =
        ([group(&meter, 1, 0, 2)], [1, 1].map(|events| group(&meter, events, 0, 1)));
    let halves = halves.into_iter().flat_map(|group| group.batches).collect();
    let split = Settlement::Split { batch: BatchId(1), halves };
    store.commit(&Work { groups: &young, settlements: &[&split], now: later })?;
    let status = Reader::open(&settings.directory)?.status(later, None)?;
    let oldest = status.meters.get("m").map(|meter| meter.oldest_undelivered_seconds);
    assert_eq!(oldest, Some(50.0));
    Ok(())
}

#[test]
fn a_sum_that_is_not_that_of_the_rows_is_found() -> TestResult {
    for change in [
        "UPDATE sums SET read = read + 1, ignored = ignored + 1",
        "UPDATE sums SET stored = stored + 1",
        "DELETE FROM sums",
        "INSERT INTO sums (meter, source, letters) VALUES ('x', 'y', 1)",
    ] {
        let directory = tempfile::tempdir()?;
        let settings = settings(directory.path());
        let mut store = Store::open(&settings, "a")?;
        commit(&mut store, &[group(&meter("m"), 2, 1, 1)], &[])?;
        assert_eq!(faults(&settings)?, Vec::<String>::new());
        store.connection.execute(change, [])?;
        let faults = faults(&settings)?.join("; ");
        assert!(faults.contains("are not those of the rows"), "{change}: {faults}");
    }
    Ok(())
}
