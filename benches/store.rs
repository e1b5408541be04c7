//! Durable commits: batches of a production request's size in, receipts in their place.

mod support;

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meterd::clock::Timestamp;
use meterd::group::PackedGroup;
use meterd::pack::packer::Packer;
use meterd::settlement::{BatchId, Settlement};
use meterd::store::reader::Reader;
use meterd::store::{Settings, Store, Work};

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    let meter = support::meter(None);
    let Ok(packed) = Packer::new(support::LEVEL).pack(&support::group(&meter), Timestamp::now())
    else {
        return;
    };
    let bytes: usize = packed.batches.iter().map(|batch| batch.body.len()).sum();
    for groups_per_commit in [1_usize, 4, 16] {
        let Ok(directory) = tempfile::tempdir() else { return };
        let settings = Settings {
            directory: directory.path().to_owned(),
            bytes_max: u64::MAX,
            receipts_keep: Duration::from_secs(3600),
        };
        let Ok(mut store) = Store::open(&settings, "bench") else { return };
        let Ok(reader) = Reader::open(directory.path()) else { return };
        let mut after = BatchId(0);
        group.throughput(Throughput::Bytes((bytes * groups_per_commit) as u64));
        group.bench_function(format!("{groups_per_commit} in and out"), |bencher| {
            bencher.iter(|| {
                let groups: Vec<PackedGroup> = (0..groups_per_commit)
                    .map(|number| PackedGroup {
                        number: number as u64,
                        destination: Arc::clone(&meter).into(),
                        batches: packed.batches.clone(),
                        dead_letters: Vec::new(),
                        cursors: Vec::new(),
                        tallies: packed.tallies.clone(),
                        origins: Vec::new(),
                        permits: Vec::new(),
                        notices: Vec::new(),
                    })
                    .collect();
                commit(&mut store, &groups, &[]);
                let mut delivered = Vec::new();
                while let Ok(Some((head, _))) = reader.next_batch("bench", after) {
                    after = head.id;
                    delivered.push(Settlement::Delivered {
                        batch: head.id,
                        meter: Arc::clone(&meter.name),
                        attempts: 1,
                        status: 200,
                        is_duplicate: false,
                        at: Timestamp::now(),
                    });
                }
                commit(&mut store, &[], &delivered.iter().collect::<Vec<_>>());
            });
        });
    }
    group.finish();
}

fn commit(store: &mut Store, groups: &[PackedGroup], settlements: &[&Settlement]) {
    let work = Work { groups, settlements, now: Timestamp::now() };
    assert!(store.commit(&work).is_ok());
}

criterion_group!(benches, commits);
criterion_main!(benches);
