use std::sync::Arc;
use std::thread::scope;

use crossbeam_channel::{Sender, unbounded};

use super::*;
use crate::meter::Meter;
use crate::settlement::BatchId;
use crate::store::Settings;
use crate::store::reader::Reader;
use crate::store::receipts::Filter;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn group(number: u64, body: usize) -> PackedGroup {
    let meter = Meter::new("m", String::new());
    let mut group = PackedGroup::of_body(&Arc::new(meter), vec![1; body].into(), 1, 1);
    group.number = number;
    group.batches[0].first_event_id = Some(number.to_string());
    group
}

/// The test's ends of a committer's inputs.
struct Ends {
    packed: Sender<PackedGroup>,
    postings: Sender<Posting>,
    drain: CancellationToken,
    groups_done: oneshot::Receiver<()>,
}

fn terms(has_streams: bool) -> watch::Receiver<Terms> {
    let limits = Limits { bytes_max: 0, receipts_keep: Duration::ZERO };
    watch::channel(Terms { limits, has_streams }).1
}

fn inputs() -> (Ends, Inputs) {
    let (packed, committer_packed) = unbounded();
    let (postings, committer_postings) = unbounded();
    let (tell, groups_done) = oneshot::channel();
    let drain = CancellationToken::new();
    let inputs = Inputs {
        packed: committer_packed,
        postings: committer_postings,
        drain: drain.clone(),
        terms: terms(false),
        abandon: CancellationToken::new(),
        groups_done: tell,
        died: CancellationToken::new(),
        vitals: Arc::default(),
    };
    (Ends { packed, postings, drain, groups_done }, inputs)
}

/// A store that holds `bytes_max`, in a directory of its own.
fn store(bytes_max: u64) -> Result<(tempfile::TempDir, Store), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let settings = Settings {
        directory: directory.path().to_owned(),
        bytes_max,
        receipts_keep: Duration::from_secs(60),
    };
    let store = Store::open(&settings, "a")?;
    Ok((directory, store))
}

fn deliver(batch: i64) -> (Posting, oneshot::Receiver<()>) {
    let (committed, wait) = oneshot::channel();
    let settlement = Settlement::Delivered {
        batch: BatchId(batch),
        meter: "m".into(),
        attempts: 1,
        status: 200,
        is_duplicate: false,
        at: Timestamp::now(),
    };
    (Posting { settlement, committed }, wait)
}

#[test]
fn groups_commit_in_the_order_of_their_numbers() -> TestResult {
    let (directory, mut store) = store(u64::MAX)?;
    let (ends, inputs) = inputs();
    for number in [2, 0, 3, 1] {
        ends.packed.send(group(number, 10))?;
    }
    drop(ends.packed);
    drop(ends.postings);
    run(&mut store, inputs)?;
    assert_eq!(ends.groups_done.blocking_recv(), Ok(()));
    let reader = Reader::open(directory.path())?;
    for number in 0..4 {
        let (head, _) = reader.next_batch("m", BatchId(number))?.ok_or("a batch")?;
        assert_eq!(head.id.0, number + 1);
    }
    let ids: Vec<String> = (1..=4)
        .map(|batch| {
            let (posting, _) = deliver(batch);
            store.commit(&Work {
                groups: &[],
                settlements: &[&posting.settlement],
                now: Timestamp::now(),
            })
        })
        .collect::<Result<Vec<()>, Error>>()
        .and_then(|_| reader.receipts(&Filter::default(), 0..10, 10))?
        .into_iter()
        .filter_map(|receipt| receipt.first_event_id)
        .collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    Ok(())
}

#[test]
fn a_group_whose_predecessor_is_missing_is_not_committed() -> TestResult {
    let (directory, mut store) = store(u64::MAX)?;
    let (ends, inputs) = inputs();
    ends.packed.send(group(1, 10))?;
    drop(ends.packed);
    drop(ends.postings);
    run(&mut store, inputs)?;
    let reader = Reader::open(directory.path())?;
    assert_eq!(reader.next_batch("m", BatchId(0))?, None);
    Ok(())
}

#[test]
fn a_full_store_lets_groups_wait_and_receipts_make_room() -> TestResult {
    const BODY: usize = 300_000;
    let (directory, mut store) = store(1_000_000)?;
    let (ends, inputs) = inputs();
    for number in 0..6 {
        ends.packed.send(group(number, BODY))?;
    }
    drop(ends.packed);
    let reader = Reader::open(directory.path())?;
    scope(|scope| -> TestResult {
        let committer = scope.spawn(|| run(&mut store, inputs));
        let mut most = 0;
        for batch in 1..=6 {
            // Each receipt is committed although the store is full, and lets a group in.
            while reader.next_batch("m", BatchId(batch - 1))?.is_none() {
                std::thread::yield_now();
            }
            let mut waiting = 0;
            while reader.next_batch("m", BatchId(batch - 1 + waiting))?.is_some() {
                waiting += 1;
            }
            most = most.max(waiting);
            let (posting, committed) = deliver(batch);
            ends.postings.send(posting)?;
            assert_eq!(committed.blocking_recv(), Ok(()));
        }
        assert!((1..=3).contains(&most), "{most} bodies of 300 kB were stored at one time");
        drop(ends.postings);
        assert!(matches!(committer.join(), Ok(Ok(()))));
        Ok(())
    })
}

#[test]
fn a_stop_with_a_full_store_keeps_what_cannot_be_read_again() -> TestResult {
    for has_streams in [true, false] {
        let (directory, mut store) = store(1_000_000)?;
        let (ends, inputs) = inputs();
        for number in 0..6 {
            ends.packed.send(group(number, 300_000))?;
        }
        drop(ends.packed);
        drop(ends.postings);
        ends.drain.cancel();
        run(&mut store, Inputs { terms: terms(has_streams), ..inputs })?;
        let status = Reader::open(directory.path())?.status(Timestamp::now(), None)?;
        // What is not committed was not counted: its file is read again.
        assert!(status.equation.holds);
        assert_eq!(status.equation.read == 6, has_streams, "{}", status.equation.read);
    }
    Ok(())
}
