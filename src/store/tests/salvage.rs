//! A damaged store: what is wrong with it is seen, and what can be read comes out of it.

use std::collections::BTreeMap;
use std::fs;

use sha2::{Digest, Sha256};

use super::*;
use crate::store::editor::Editor;
use crate::store::inspection::Inspection;
use crate::store::salvage::{Salvage, salvage};

/// Bytes of a page, as the store is made with.
const PAGE_BYTES: usize = 16_384;

/// Bodies by number.
type Bodies = BTreeMap<i64, Vec<u8>>;

/// A store with `count` batches and as many dead letters and receipts, all in its main file.
fn store_with(directory: &Path, count: u8) -> Result<Bodies, Box<dyn std::error::Error>> {
    let mut store = Store::open(&settings(directory), "a")?;
    let meters = [meter("m"), meter("n")];
    let mut bodies = Bodies::new();
    for number in 0..count {
        // Longer than a page, so that some pages belong to bodies only.
        let body = vec![number; 3 * PAGE_BYTES];
        let meter = &meters[usize::from(number % 2)];
        let groups = [1, 0].map(|dead| {
            let mut group = group(meter, 3, dead, u64::from(number));
            group.batches[0].sha256 = Sha256::digest(&body).into();
            group.batches[0].body = body.clone().into();
            group
        });
        let (kept, sent) = (i64::from(number) * 2 + 1, i64::from(number) * 2 + 2);
        commit(&mut store, &groups, &[])?;
        commit(&mut store, &[], &[&delivered(sent, meter)])?;
        bodies.insert(kept, body);
    }
    Ok(bodies)
}

fn bodies(directory: &Path) -> Result<Bodies, Box<dyn std::error::Error>> {
    let reader = Reader::open(directory)?;
    let mut bodies = Bodies::new();
    for meter in ["m", "n"] {
        let mut after = BatchId(0);
        while let Some((head, body)) = reader.next_batch(meter, after)? {
            after = head.id;
            bodies.insert(head.id.0, body.to_vec());
        }
    }
    Ok(bodies)
}

fn inspect(directory: &Path) -> Result<Inspection, Error> {
    Reader::open(directory)?.inspect(NOW)
}

/// Salvages what is in `state` to `new` below `directory`; what comes out is a good store.
fn salvaged(directory: &Path) -> Result<(Salvage, Bodies), Box<dyn std::error::Error>> {
    let new = directory.join("new");
    let salvage = salvage(&directory.join("state"), &new, NOW)?;
    let inspection = inspect(&new)?;
    assert_eq!(inspection.faults, Vec::<String>::new(), "{salvage:?}");
    Ok((salvage, bodies(&new)?))
}

#[test]
fn all_of_a_good_store_is_taken() -> TestResult {
    let directory = tempfile::tempdir()?;
    let written = store_with(directory.path(), 10)?;
    let state = directory.path().join("state");
    let inspection = inspect(&state)?;
    assert_eq!(inspection.faults, Vec::<String>::new());
    assert_eq!((inspection.batches, inspection.events), (10, 30));
    assert_eq!((inspection.dead_letters, inspection.receipts, inspection.cursors), (10, 10, 1));
    let (salvage, taken) = salvaged(directory.path())?;
    assert!(salvage.is_whole(), "{salvage:?}");
    assert_eq!(taken, written);
    let [before, after] = [&state, &directory.path().join("new")].map(|path| {
        let mut status = Reader::open(path)?.status(NOW, None)?;
        status.store.bytes = 0;
        Ok::<_, Error>(status)
    });
    assert_eq!(before?, after?);
    let again = super::super::salvage::salvage(&state, &directory.path().join("new"), NOW);
    assert!(matches!(again, Err(Error::Present { .. })));
    // Numbers of batches are not used again under the same track ids.
    let store = Store::open(
        &Settings { directory: directory.path().join("new"), ..settings(&state) },
        "a",
    )?;
    assert_ne!(store.track_prefix, Store::open(&settings(directory.path()), "a")?.track_prefix);
    Ok(())
}

#[test]
fn a_body_that_is_not_what_was_stored_is_named_and_left() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut written = store_with(directory.path(), 4)?;
    let path = directory.path().join("state").join(FILE_NAME);
    let mut bytes = fs::read(&path)?;
    let body = vec![2_u8; 1000];
    let at = memchr::memmem::find(&bytes, &body).ok_or("the body")?;
    bytes[at + 500] ^= 1;
    fs::write(&path, bytes)?;
    let faults = inspect(&directory.path().join("state"))?.faults.join("\n");
    assert!(faults.starts_with("batch 5 with 3 events"), "{faults}");
    let (salvage, taken) = salvaged(directory.path())?;
    written.remove(&5);
    assert_eq!(taken, written);
    let missing: Vec<_> = salvage.missing.iter().map(|missing| missing.events).collect();
    assert_eq!((missing, salvage.missing[0].meter.as_str()), (vec![3], "m"));
    Ok(())
}

/// Whatever part of the file is gone, what comes out is a good store whose counts are right, nothing
/// comes out that was not in it, and when something is missing that is said.
#[test]
fn whatever_page_is_gone_the_rest_comes_out() -> TestResult {
    let original = tempfile::tempdir()?;
    let written = store_with(original.path(), 12)?;
    let bytes = fs::read(original.path().join("state").join(FILE_NAME))?;
    let mut partial = 0;
    for page in 0..bytes.len() / PAGE_BYTES {
        let directory = tempfile::tempdir()?;
        let state = directory.path().join("state");
        fs::create_dir(&state)?;
        let mut damaged = bytes.clone();
        damaged[page * PAGE_BYTES..][..PAGE_BYTES].fill(0);
        fs::write(state.join(FILE_NAME), damaged)?;
        let inspection = inspect(&state);
        let Ok((salvage, taken)) = salvaged(directory.path()) else {
            // Without the first page nobody knows what the others are.
            assert_eq!(page, 0);
            assert!(inspection.is_err());
            continue;
        };
        let foreign = taken.iter().find(|(number, body)| written.get(number) != Some(body));
        assert_eq!(foreign, None, "page {page}");
        let lost = written.len() - taken.len();
        let said: i64 = salvage.missing.iter().map(|missing| missing.events).sum();
        assert!(lost == 0 || !salvage.is_whole(), "page {page}: {salvage:?}");
        assert_eq!(usize::try_from(said)?, lost * 3, "page {page}: {salvage:?}");
        if inspection.is_ok_and(|inspection| inspection.faults.is_empty()) {
            assert!(salvage.is_whole(), "page {page}: {salvage:?}");
            assert_eq!(lost, 0, "page {page}");
        } else {
            partial += 1;
        }
    }
    assert!(partial > 10, "{partial} pages mattered");
    Ok(())
}

#[test]
fn commits_that_the_log_has_lost_are_noticed_and_their_batches_marked() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    let meter = meter("m");
    for number in 0..6 {
        let mut group = group(&meter, 3, 0, number);
        group.batches[0].sha256 = Sha256::digest(&group.batches[0].body).into();
        commit(&mut store, &[group], &[])?;
    }
    // As a cut leaves it: nobody has closed it.
    let state = directory.path().join("state");
    let cut = directory.path().join("cut");
    fs::create_dir(&cut)?;
    for entry in fs::read_dir(&state)? {
        let entry = entry?;
        fs::copy(entry.path(), cut.join(entry.file_name()))?;
    }
    drop(store);
    fs::remove_dir_all(&state)?;
    fs::rename(&cut, &state)?;
    let log = state.join(format!("{FILE_NAME}-wal"));
    let mut bytes = fs::read(&log)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes)?;
    assert!(matches!(Store::open(&settings, "a"), Err(Error::LogDamaged { .. })));
    assert!(matches!(Editor::open(&state).map(|_| ()), Err(Error::LogDamaged { .. })));
    let faults = inspect(&state)?.faults.join("\n");
    assert!(faults.contains("meterd store salvage"), "{faults}");
    // Neither look has put the log away.
    assert_eq!(fs::read(&log)?, bytes);
    let (salvage, taken) = salvaged(directory.path())?;
    assert!(!salvage.is_whole());
    assert!((1..6).contains(&taken.len()), "{} batches", taken.len());
    let new = Settings { directory: directory.path().join("new"), ..settings };
    assert_eq!(Store::open(&new, "a")?.begin_run(1, WAIT_MAX, NOW)?, taken.len());
    Ok(())
}

#[test]
fn a_number_that_was_changed_is_not_taken_for_another_one() -> TestResult {
    for (change, words, taken) in [
        ("UPDATE cursors SET offset = offset + 1024", "the cursor of app in /var/log/app/", 0),
        ("UPDATE cursors SET source = 'aqp'", "the cursor of aqp in /var/log/app/", 0),
        ("UPDATE batches SET events = 2 WHERE id = 1", "batch 1 of m is not what was", 1),
        ("UPDATE batches SET track_id = 'a-2' WHERE id = 1", "batch 1 of m is not what was", 1),
    ] {
        let directory = tempfile::tempdir()?;
        let settings = settings(directory.path());
        drop(store_with(directory.path(), 2)?);
        let connection = Connection::open(settings.directory.join(FILE_NAME))?;
        connection.execute(change, [])?;
        drop(connection);
        if let Err(error) = Store::open(&settings, "a") {
            assert!(error.is_damage() && error.to_string().contains(words), "{error}");
        } else {
            let error = Reader::open(&settings.directory)?.next_batch("m", BatchId(0)).err();
            assert!(error.is_some_and(|error| error.is_damage()), "{change}");
        }
        let faults = inspect(&settings.directory)?.faults.join("\n");
        assert!(faults.contains(words), "{faults}");
        let (salvage, _) = salvaged(directory.path())?;
        let faults: Vec<_> = salvage.tables.iter().flat_map(|table| &table.faults).collect();
        assert!(faults.iter().any(|fault| fault.contains(words)), "{faults:?}");
        let cursors = Reader::open(&directory.path().join("new"))?.cursors("app")?;
        assert_eq!(cursors.len(), taken, "{change}");
    }
    Ok(())
}

#[test]
fn rows_of_before_there_were_checksums_pass() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let written = store_with(directory.path(), 4)?;
    let connection = Connection::open(settings.directory.join(FILE_NAME))?;
    connection
        .execute_batch("UPDATE cursors SET checksum = NULL; UPDATE batches SET checksum = NULL")?;
    drop(connection);
    drop(Store::open(&settings, "a")?);
    assert_eq!(inspect(&settings.directory)?.faults, Vec::<String>::new());
    assert_eq!(bodies(&settings.directory)?, written);
    Ok(())
}

#[test]
fn a_batch_behind_a_salvage_has_a_number_that_no_receipt_has() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut store = Store::open(&settings(directory.path()), "a")?;
    let meter = meter("m");
    commit(&mut store, &[group(&meter, 2, 0, 0)], &[])?;
    commit(&mut store, &[], &[&delivered(1, &meter)])?;
    drop(store);
    let (salvage, _) = salvaged(directory.path())?;
    assert!(salvage.is_whole(), "{salvage:?}");
    let directory = directory.path().join("new");
    let mut store = Store::open(&Settings { directory, ..settings(Path::new("")) }, "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 0)], &[])?;
    commit(&mut store, &[], &[&delivered(2, &meter)])?;
    assert!(store.is_drained()?);
    Ok(())
}

#[test]
fn a_count_that_only_the_counts_deny_is_set_right_and_nothing_is_missing() -> TestResult {
    for change in [
        "UPDATE tallies SET read = read + 1024 WHERE source <> ''",
        "UPDATE tallies SET dead_lettered = dead_lettered + 8 WHERE source <> ''",
        "UPDATE tallies SET delivered = delivered + 64 WHERE source = ''",
    ] {
        let directory = tempfile::tempdir()?;
        let written = store_with(directory.path(), 4)?;
        let path = directory.path().join("state").join(FILE_NAME);
        Connection::open(path)?.execute_batch(change)?;
        let (salvage, taken) = salvaged(directory.path())?;
        assert_eq!((&taken, &salvage.missing), (&written, &Vec::new()), "{change}");
        let faults: Vec<_> = salvage.tables.iter().flat_map(|table| &table.faults).collect();
        assert!(faults.iter().any(|fault| fault.contains("set right")), "{change}: {faults:?}");
    }
    Ok(())
}

#[test]
fn what_a_damaged_definition_defines_is_taken() -> TestResult {
    for (table, from, to) in [
        ("receipts", "payload_bytes", "payload_bytds"),
        ("batches", "CREATE TABLE", "CREATE TABLD"),
        ("cursors", "inode", "ioode"),
    ] {
        let directory = tempfile::tempdir()?;
        let written = store_with(directory.path(), 4)?;
        let path = directory.path().join("state").join(FILE_NAME);
        let connection = Connection::open(&path)?;
        connection.pragma_update(None, "writable_schema", "ON")?;
        let change = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE name = ?3";
        connection.execute(change, [from, to, table])?;
        drop(connection);
        let before = fs::read(&path)?;
        let (salvage, taken) = salvaged(directory.path())?;
        assert_eq!((&taken, &salvage.missing), (&written, &Vec::new()), "{table}");
        let rows: u64 = salvage.tables.iter().map(|table| table.taken).sum();
        assert!(!salvage.is_whole() && rows > 12, "{salvage:?}");
        assert_eq!(fs::read(&path)?, before, "{table}");
    }
    Ok(())
}

#[test]
fn what_stands_before_the_end_of_a_file_that_was_cut_off_is_taken() -> TestResult {
    let original = tempfile::tempdir()?;
    let written = store_with(original.path(), 12)?;
    let bytes = fs::read(original.path().join("state").join(FILE_NAME))?;
    let mut most = 0;
    for pages in 1..bytes.len() / PAGE_BYTES {
        let directory = tempfile::tempdir()?;
        let state = directory.path().join("state");
        fs::create_dir(&state)?;
        fs::write(state.join(FILE_NAME), &bytes[..pages * PAGE_BYTES + 100])?;
        let (salvage, taken) = salvaged(directory.path())?;
        let foreign = taken.iter().find(|(number, body)| written.get(number) != Some(body));
        assert_eq!(foreign, None, "{pages} pages");
        let lost = i64::try_from((written.len() - taken.len()) * 3)?;
        let said: i64 = salvage.missing.iter().map(|missing| missing.events).sum();
        let is_exact = salvage.missing.iter().all(|missing| missing.is_exact);
        let is_counted = said == lost || (said > lost && !is_exact);
        assert!(is_counted || !salvage.uncounted.is_empty(), "{pages} pages: {salvage:?}");
        most = most.max(taken.len());
    }
    assert!(most > 6, "{most} bodies at most");
    Ok(())
}

#[test]
fn a_store_that_has_lost_what_its_writer_saw_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    for number in 0..3 {
        commit(&mut store, &[group(&meter("m"), 3, 0, number)], &[])?;
    }
    let state = directory.path().join("state");
    let names = ["meterd.db", "meterd.db-wal", "meterd.lock"];
    let killed =
        names.map(|name| (state.join(name), fs::read(state.join(name)).unwrap_or_default()));
    drop(store);
    let ended =
        names.map(|name| (state.join(name), fs::read(state.join(name)).unwrap_or_default()));
    let commits = |refused: Result<Store, Error>| match refused {
        Err(Error::Behind { commits, acknowledged: 3, .. }) => Ok(commits),
        Err(Error::Gone { commits: 3, .. }) => Ok(-1),
        other => Err(format!("{other:?}")),
    };
    for (files, cut, left) in
        [(&killed, 1, Some(0)), (&killed, 0, Some(-1)), (&ended, 0, Some(-1)), (&killed, 2, None)]
    {
        for (index, (path, bytes)) in files.iter().enumerate() {
            fs::write(path, if index == cut { b"" } else { &bytes[..] })?;
        }
        let Some(left) = left else {
            // Nobody knows of more.
            drop(Store::open(&settings, "a")?);
            continue;
        };
        assert_eq!(commits(Store::open(&settings, "a"))?, left);
        assert_eq!(commits(Store::open(&settings, "a"))?, left, "the word is still there");
        let told = inspect(&state).map_or_else(|error| error.to_string(), |it| it.faults.join(" "));
        assert!(told.contains("3 were acknowledged") || left < 0, "{told}");
        if left == 0 {
            let (salvage, _) = salvaged(directory.path())?;
            assert!(!salvage.uncounted.is_empty(), "{salvage:?}");
        }
    }
    Ok(())
}

/// SQLite would make a new store, and delete the log of the one that is gone.
#[test]
fn a_store_of_which_only_the_log_is_left_is_no_first_start() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "a")?;
    commit(&mut store, &[group(&meter("m"), 3, 0, 0)], &[])?;
    let [path, log, lock] =
        ["meterd.db", "meterd.db-wal", "meterd.lock"].map(|name| settings.directory.join(name));
    let killed = fs::read(&log)?;
    drop(store);
    fs::write(&log, &killed)?;
    for empty in [true, false] {
        fs::remove_file(&path)?;
        if empty {
            fs::write(&path, b"")?;
        }
        for witness in [&lock, &log] {
            let refused = Store::open(&settings, "a").err().map(|error| error.to_string());
            let words = format!("{} knows 1 commits of it", witness.display());
            assert!(refused.as_ref().is_some_and(|it| it.contains(&words)), "{refused:?} {words}");
            let read = Reader::open(&settings.directory).map(drop);
            let is_refused = matches!(read, Err(Error::Gone { .. } | Error::Missing { .. }));
            assert!(is_refused, "{read:?}");
            let salvaged = salvage(&settings.directory, &directory.path().join("new"), NOW);
            let is_refused = matches!(salvaged, Err(Error::Gone { .. } | Error::Missing { .. }));
            assert!(is_refused, "{salvaged:?}");
            assert_eq!(fs::read(&log)?, killed, "it is not touched");
            fs::write(&lock, b"")?;
        }
        let mark = Mark { store_id: "0".repeat(16), commits: 1 };
        fs::write(&lock, format!("1\n{mark}\n"))?;
    }
    fs::remove_file(&log)?;
    fs::remove_file(&lock)?;
    Store::open(&settings, "a")?;
    Ok(())
}

/// What one flipped bit makes of a row, or of the number of rows on a page.
#[test]
fn a_row_that_is_none_of_its_table_is_missed_and_the_rest_comes_out() -> TestResult {
    let no_generation = "PRAGMA writable_schema = ON; \
         UPDATE sqlite_schema SET sql = replace(sql, 'generation INTEGER NOT NULL', \
         'generation INTEGER') WHERE name = 'cursors'";
    let generation = "UPDATE cursors SET generation = NULL; PRAGMA writable_schema = ON; \
         UPDATE sqlite_schema SET sql = replace(sql, 'generation INTEGER', \
         'generation INTEGER NOT NULL') WHERE name = 'cursors'";
    let as_bytes = |table: &str| {
        format!(
            "UPDATE {table} SET meter = CAST(meter AS BLOB) WHERE rowid IN (SELECT min(rowid) FROM {table})"
        )
    };
    for (table, changes, events) in [
        ("cursors", vec![no_generation.to_owned(), generation.to_owned()], 0),
        ("batches", vec![as_bytes("batches")], 3),
        ("dead_letters", vec![as_bytes("dead_letters")], 0),
        (
            "tallies",
            vec!["UPDATE tallies SET meter = CAST(meter AS BLOB) WHERE meter = 'm'".to_owned()],
            0,
        ),
    ] {
        let directory = tempfile::tempdir()?;
        store_with(directory.path(), 4)?;
        let path = directory.path().join("state").join(FILE_NAME);
        for change in changes {
            Connection::open(&path)?.execute_batch(&change)?;
        }
        let (salvage, _) = salvaged(directory.path())?;
        let faults = salvage.tables.iter().find(|found| found.name == table).map(|it| &it.faults);
        assert!(faults.is_some_and(|faults| !faults.is_empty()), "{table}: {salvage:?}");
        let missing: i64 = salvage.missing.iter().map(|missing| missing.events).sum();
        assert_eq!(missing, events, "{table}: {salvage:?}");
    }
    Ok(())
}

#[test]
fn cursors_that_their_page_does_not_count_are_missed_before_a_file_is_read() -> TestResult {
    let directory = tempfile::tempdir()?;
    store_with(directory.path(), 4)?;
    let path = directory.path().join("state").join(FILE_NAME);
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'cursors'";
    let page: i64 = Connection::open(&path)?.query_row(root, [], |row| row.get(0))?;
    let mut bytes = fs::read(&path)?;
    // Of the header of a page, the fourth and fifth byte are the number of its cells.
    let count = (usize::try_from(page)? - 1) * PAGE_BYTES + 3;
    assert_eq!(bytes[count..count + 2], [0, 1]);
    bytes[count + 1] = 0;
    fs::write(&path, bytes)?;
    assert!(Store::open(&settings(directory.path()), "a").is_err_and(|error| error.is_damage()));
    let (salvage, _) = salvaged(directory.path())?;
    assert!(!salvage.is_whole(), "{salvage:?}");
    Ok(())
}

#[test]
fn tries_that_are_no_numbers_are_found_and_doubted() -> TestResult {
    let directory = tempfile::tempdir()?;
    store_with(directory.path(), 1)?;
    let state = directory.path().join("state");
    Connection::open(state.join(FILE_NAME))?.execute_batch("UPDATE batches SET attempts = -5")?;
    let faults = inspect(&state)?.faults;
    assert_eq!(faults, ["batch 1: the numbers of its tries are not what was written"]);
    let (salvage, taken) = salvaged(directory.path())?;
    assert!(!salvage.is_whole(), "{salvage:?}");
    assert_eq!(taken.len(), 1);
    let reader = Reader::open(&directory.path().join("new"))?;
    let unknown = reader.batches(None, true, 0, 10)?;
    assert_eq!(unknown.first().map(|batch| batch.attempts), Some(1), "{unknown:?}");
    Ok(())
}
