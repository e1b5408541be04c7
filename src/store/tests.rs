mod cursors;
mod decisions;
mod footing;
mod model;
mod receipts;
mod refusals;
mod salvage;
mod sums;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::*;
use crate::dead_letter::{DeadLetter, Reason};
use crate::group::{PackedBatch, SourceTally};
use crate::meter::Meter;
use crate::notice::{Notice, Request, RequestKey};
use crate::position::{BytesHash, FileIdentity, FileMark, Origin};
use crate::settlement::{BatchId, LaneState};
use crate::store::dead_letters::Filter;
use crate::store::reader::Reader;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const NOW: Timestamp = Timestamp::from_millis(1_763_705_651_123);
const WAIT_MAX: Duration = Duration::from_secs(900);

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.join("state"),
        bytes_max: 1 << 30,
        receipts_keep: Duration::from_secs(60),
    }
}

fn meter(name: &str) -> Arc<Meter> {
    Arc::new(Meter::new(name, String::new()))
}

fn cursor(offset: u64) -> Cursor {
    let identity = FileIdentity { device: u64::MAX, inode: 7, born_nanos: None };
    let file = FileMark {
        identity,
        generation: 2,
        path: PathBuf::from("/var/log/app/usage.jsonl"),
        prefix: BytesHash::of(b"start"),
        tail: BytesHash::of(b"tail"),
        written_at: Timestamp::from_millis(5),
        packed_bytes: Some(3),
        is_forgotten: false,
    };
    Cursor { file, origin: Origin(u64::MAX), offset, tail: BytesHash::of(b"tail") }
}

/// A group with one batch of `events` events, `dead` dead letters and a cursor at `offset`.
fn group(meter: &Arc<Meter>, events: u32, dead: u64, offset: u64) -> PackedGroup {
    let letter = DeadLetter {
        meter: Arc::clone(&meter.name),
        source: "app".into(),
        position: "/log:12".into(),
        reason: Reason::WrongType,
        field: Some("Quantity".into()),
        detail: "byte 1: a number was expected, a string was found".into(),
        code: None,
        event_id: Some("a-3".into()),
        event: b"{\xff}".to_vec(),
    };
    let body = vec![events.to_le_bytes()[0]; 100];
    let batch = PackedBatch {
        meter: Arc::clone(&meter.name),
        schema: None,
        sha256: Sha256::digest(&body).into(),
        body: Bytes::from(body),
        events,
        payload_bytes: 300,
        first_event_id: Some("a-1".into()),
        last_event_id: Some("a-2".into()),
        quantity: None,
    };
    let read = u64::from(events) + dead + 1;
    let (source, name) = ("app".into(), Arc::clone(&meter.name));
    let tally = SourceTally { source, meter: name, read, dead_lettered: dead, ignored: 1 };
    PackedGroup {
        number: 0,
        destination: Arc::clone(meter).into(),
        batches: if events == 0 { Vec::new() } else { vec![batch] },
        dead_letters: (0..dead).map(|_| letter.clone()).collect(),
        cursors: vec![("app".into(), cursor(offset))],
        tallies: vec![tally],
        origins: Vec::new(),
        permits: Vec::new(),
        notices: Vec::new(),
    }
}

fn commit(
    store: &mut Store,
    groups: &[PackedGroup],
    settlements: &[&Settlement],
) -> Result<(), Error> {
    store.commit(&Work { groups, settlements, now: NOW })
}

fn delivered(batch: i64, meter: &Arc<Meter>) -> Settlement {
    Settlement::Delivered {
        batch: BatchId(batch),
        meter: Arc::clone(&meter.name),
        attempts: 3,
        status: 200,
        is_duplicate: false,
        at: NOW,
    }
}

#[test]
fn what_is_committed_is_there_after_a_reopen() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let meter = meter("m");
    let mut store = Store::open(&settings, "edge:1 \"x\"")?;
    commit(&mut store, &[group(&meter, 2, 1, 50)], &[])?;
    drop(store);
    let store = Store::open(&settings, "edge:1 \"x\"")?;
    assert_eq!(store.cursors("app")?, [cursor(50)]);
    assert_eq!(store.cursors("other")?, []);
    let mut reader = Reader::open(&settings.directory)?;
    let (head, body) = reader.next_batch("m", BatchId(0))?.ok_or("a batch")?;
    assert_eq!((head.id, head.events, body.len()), (BatchId(1), 2, 100));
    assert!(head.track_id.starts_with("edge_1__x_-") && head.track_id.ends_with("-1"));
    assert_eq!(reader.next_batch("m", BatchId(1))?, None);
    assert_eq!(reader.next_batch("n", BatchId(0))?, None);
    let letters = reader.dead_letters(&Filter::default(), 0, 10)?;
    let letter = letters.first().ok_or("a dead letter")?;
    assert_eq!((letter.reason.as_str(), letter.event.as_str()), ("wrong_type", "{\u{fffd}}"));
    let status = reader.status(NOW, None)?;
    assert!(status.equation.holds);
    assert_eq!((status.equation.read, status.equation.stored), (4, 2));
    Ok(())
}

#[test]
fn a_body_that_was_just_stored_is_not_read_and_one_that_is_read_is_checked() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let meter = meter("m");
    let mut store = Store::open(&settings, "edge")?;
    commit(&mut store, &[group(&meter, 2, 0, 50)], &[])?;
    let stored = Reader::open(&settings.directory)?.next_batch("m", BatchId(0))?;
    store.connection.execute("UPDATE bodies SET body = zeroblob(100)", [])?;
    let reader = Reader::open(&settings.directory)?.with_fresh(store.fresh());
    assert_eq!(reader.next_batch("m", BatchId(0))?, stored);
    let checked = reader.next_batch("m", BatchId(0));
    assert!(checked.is_err_and(|error| error.is_damage()));
    store.connection.execute("DELETE FROM bodies", [])?;
    let checked = reader.next_batch("m", BatchId(0));
    assert!(checked.is_err_and(|error| error.is_damage()));
    Ok(())
}

#[test]
fn track_ids_are_short_and_of_allowed_characters_whatever_the_name() -> TestResult {
    let directory = tempfile::tempdir()?;
    let name = "é:;\"'".repeat(20);
    let mut store = Store::open(&settings(directory.path()), &name)?;
    store.connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('batches', 9223372036854775806)",
        [],
    )?;
    commit(&mut store, &[group(&meter("m"), 1, 0, 1)], &[])?;
    let reader = Reader::open(&settings(directory.path()).directory)?;
    let (head, _) = reader.next_batch("m", BatchId(0))?.ok_or("a batch")?;
    assert!(head.track_id.len() <= 64, "{}", head.track_id);
    assert!(
        head.track_id.chars().all(|letter| letter.is_ascii_graphic() && !":;\"'".contains(letter))
    );
    Ok(())
}

#[test]
fn a_receipt_takes_the_place_of_its_batch_once() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let meter = meter("m");
    let mut store = Store::open(&settings, "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 1)], &[])?;
    let unknown = Settlement::Attempted { batch: BatchId(1), outcome_unknown: true };
    let receipt = delivered(1, &meter);
    commit(&mut store, &[], &[&unknown, &receipt])?;
    commit(&mut store, &[], &[&receipt])?;
    assert!(store.is_drained()?);
    let mut reader = Reader::open(&settings.directory)?;
    let receipts = reader.receipts(&crate::store::receipts::Filter::default(), 0..10, 10)?;
    let receipt = receipts.first().ok_or("a receipt")?;
    assert_eq!((receipt.attempts, receipt.outcome_unknown_attempts), (3, 1));
    let sent = "a602b7a20e4bfa29f01e08439a888cf02df13fcf45f8257ad5c392bcc5996f92";
    assert_eq!(receipt.sha256, sent);
    assert_eq!(reader.receipt(&receipt.track_id)?.as_ref(), Some(receipt));
    assert_eq!(reader.receipt("1")?.as_ref(), Some(receipt));
    assert_eq!(reader.receipt("somebody-1")?, None);
    let equation = reader.status(NOW, None)?.equation;
    assert_eq!((equation.delivered, equation.stored, equation.holds), (2, 0, true));
    Ok(())
}

#[test]
fn halves_and_dead_letters_take_the_place_of_a_batch_once() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let meter = meter("m");
    let mut store = Store::open(&settings, "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 1)], &[])?;
    let unknown = Settlement::Attempted { batch: BatchId(1), outcome_unknown: true };
    let halves = [group(&meter, 1, 0, 1), group(&meter, 1, 0, 1)];
    let halves = halves.into_iter().flat_map(|group| group.batches).collect();
    let split = Settlement::Split { batch: BatchId(1), halves };
    commit(&mut store, &[], &[&unknown, &split])?;
    commit(&mut store, &[], &[&split])?;
    let mut reader = Reader::open(&settings.directory)?;
    let (head, _) = reader.next_batch("m", BatchId(0))?.ok_or("a half")?;
    assert_eq!((head.id, head.events, head.outcome_unknown_attempts), (BatchId(2), 1, 1));
    let letter = DeadLetter {
        meter: "m".into(),
        source: "".into(),
        position: "a-1".into(),
        reason: Reason::Refused,
        field: None,
        detail: "Mediation: no".into(),
        code: Some("70000000".into()),
        event_id: None,
        event: b"{}".to_vec(),
    };
    let refused = Settlement::Refused { batch: BatchId(3), letter, at: NOW };
    commit(&mut store, &[], &[&refused])?;
    commit(&mut store, &[], &[&refused, &delivered(2, &meter)])?;
    assert!(store.is_drained()?);
    let letters = reader.dead_letters(&Filter::default(), 0, 10)?;
    let found: Vec<_> =
        letters.iter().map(|letter| (letter.source.as_str(), letter.code.as_deref())).collect();
    assert_eq!(found, [("app", Some("70000000"))]);
    let status = reader.status(NOW, None)?;
    let equation = &status.equation;
    assert_eq!((equation.delivered, equation.dead_lettered, equation.holds), (1, 1, true));
    assert_eq!(status.sources.get("app").map(|source| source.dead_lettered), Some(1));
    Ok(())
}

#[test]
fn a_number_of_a_batch_is_never_used_again() -> TestResult {
    let directory = tempfile::tempdir()?;
    let meter = meter("m");
    let mut store = Store::open(&settings(directory.path()), "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 1)], &[])?;
    commit(&mut store, &[], &[&delivered(1, &meter)])?;
    drop(store);
    let mut store = Store::open(&settings(directory.path()), "a")?;
    commit(&mut store, &[group(&meter, 2, 0, 2)], &[])?;
    let reader = Reader::open(&settings(directory.path()).directory)?;
    let next = reader.next_batch("m", BatchId(0))?;
    assert_eq!(next.map(|(head, _)| head.id), Some(BatchId(2)));
    Ok(())
}

#[test]
fn a_run_that_was_cut_off_leaves_its_oldest_batches_in_doubt() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let (one, two) = (meter("one"), meter("two"));
    let mut store = Store::open(&settings, "a")?;
    assert_eq!(store.begin_run(2, WAIT_MAX, NOW)?, 0);
    let groups: Vec<PackedGroup> =
        [&one, &one, &one, &two].map(|meter| group(meter, 1, 0, 1)).into_iter().collect();
    commit(&mut store, &groups, &[])?;
    drop(store);
    // Cut off: two of the first meter and the only one of the second may have been under way.
    let mut store = Store::open(&settings, "a")?;
    assert_eq!(store.begin_run(8, WAIT_MAX, NOW)?, 3);
    store.end_run()?;
    drop(store);
    let mut store = Store::open(&settings, "a")?;
    assert_eq!(store.begin_run(8, WAIT_MAX, NOW)?, 0);
    let reader = Reader::open(&settings.directory)?;
    let unknown = |meter, after| -> Result<Option<u32>, Error> {
        let next = reader.next_batch(meter, BatchId(after))?;
        Ok(next.map(|(head, _)| head.outcome_unknown_attempts))
    };
    assert_eq!(
        (unknown("one", 0)?, unknown("one", 1)?, unknown("one", 2)?),
        (Some(1), Some(1), Some(0))
    );
    assert_eq!(unknown("two", 0)?, Some(1));
    Ok(())
}

#[test]
fn a_store_has_one_writer_and_any_number_of_readers() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let _store = Store::open(&settings, "a")?;
    let second = Store::open(&settings, "a").map(|_| ());
    let process = std::process::id();
    assert!(
        matches!(second, Err(Error::InUse { holder, .. }) if holder.contains(&process.to_string()))
    );
    let _readers = (Reader::open(&settings.directory)?, Reader::open(&settings.directory)?);
    Ok(())
}

#[test]
fn a_store_that_is_not_understood_is_left_alone() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    assert!(matches!(Reader::open(&settings.directory), Err(Error::Missing { .. })));
    drop(Store::open(&settings, "a")?);
    let change = |statement: &str| -> TestResult {
        Ok(Connection::open(settings.directory.join(FILE_NAME))?.execute_batch(statement)?)
    };
    change("PRAGMA user_version = 99")?;
    assert!(matches!(Store::open(&settings, "a"), Err(Error::NotUnderstood { .. })));
    assert!(matches!(Reader::open(&settings.directory), Err(Error::NotUnderstood { .. })));
    change("PRAGMA user_version = 2; PRAGMA application_id = 5")?;
    assert!(matches!(Store::open(&settings, "a"), Err(Error::NotUnderstood { .. })));
    std::fs::write(
        settings.directory.join(FILE_NAME),
        "not a database, but long enough to be read",
    )?;
    assert!(matches!(Store::open(&settings, "a"), Err(Error::Sqlite(_))));
    Ok(())
}

#[test]
fn a_request_is_known_from_its_commit_until_it_expires() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = settings(directory.path());
    let mut store = Store::open(&settings, "edge")?;
    let meter = meter("m");
    let later = |millis| Timestamp::from_millis(NOW.as_millis() + millis);
    let request = |hash: u8, expires_at| {
        let key = Some(RequestKey { hash: [hash; 32], expires_at });
        let (request, _) = Request::new(key, Duration::ZERO);
        let notices = vec![Notice::Request(Arc::new(request))];
        PackedGroup { notices, ..group(&meter, 1, 0, 1) }
    };
    let reader = Reader::open(&settings.directory)?;
    assert!(!reader.has_request(&[1; 32], NOW)?);
    commit(&mut store, &[request(1, later(10)), request(2, later(1000))], &[])?;
    assert!(reader.has_request(&[1; 32], NOW)? && reader.has_request(&[1; 32], later(9))?);
    assert!(!reader.has_request(&[1; 32], later(10))? && !reader.has_request(&[3; 32], NOW)?);
    // What has expired goes when others come.
    let now = later(500);
    store.commit(&Work { groups: &[request(3, later(2000))], settlements: &[], now })?;
    let count: i64 =
        store.connection.query_row("SELECT count(*) FROM requests", [], |row| row.get(0))?;
    assert_eq!(count, 2);
    assert!(reader.has_request(&[2; 32], now)? && reader.has_request(&[3; 32], now)?);
    Ok(())
}
