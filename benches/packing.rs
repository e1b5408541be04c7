//! From a group of 10,000 lines to a frozen body.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meterd::body::ArrayWriter;
use meterd::clock::Timestamp;
use meterd::pack::packer::Packer;

const NOW: Timestamp = Timestamp::from_millis(0);

fn packing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packing");
    group.throughput(Throughput::Elements(support::EVENTS_PER_REQUEST as u64));
    for (name, field) in [("without id", None), ("with id", Some("EventId"))] {
        let lines = support::group(&support::meter(field));
        let mut packer = Packer::new(support::LEVEL);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(packer.pack(black_box(&lines), NOW)));
        });
    }
    group.finish();
}

/// The same events made of other formats, without the id.
fn mapping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mapping");
    group.throughput(Throughput::Elements(support::EVENTS_PER_REQUEST as u64));
    let meter = support::meter(None);
    for mapped in support::mappings() {
        let lines = support::mapped_group(&meter, &mapped);
        let mut packer = Packer::new(support::LEVEL);
        let packed = packer.pack(&lines, NOW);
        assert!(packed.is_ok_and(|packed| packed.dead_letters.is_empty()), "{}", mapped.name);
        group.bench_function(mapped.name, |bencher| {
            bencher.iter(|| black_box(packer.pack(black_box(&lines), NOW)));
        });
    }
    group.finish();
}

fn compression(criterion: &mut Criterion) {
    let lines = support::events(support::EVENTS_PER_REQUEST, 7);
    let mut group = criterion.benchmark_group("compression");
    group.throughput(Throughput::Bytes(lines.len() as u64));
    for level in [1, 2, 3, 6] {
        let mut writer = ArrayWriter::new(level);
        group.bench_function(format!("level {level}"), |bencher| {
            bencher.iter(|| {
                writer.begin();
                for line in lines.chunks(60_000) {
                    writer.begin_event().extend_from_slice(line);
                    assert!(writer.end_event().is_ok());
                }
                black_box(writer.finish())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packing, mapping, compression);
criterion_main!(benches);
