//! Finding line ends, and judging lines.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meterd::pack::validate::Validator;
use meterd::source::lines::cut;

fn framing(criterion: &mut Criterion) {
    let lines = support::events(2000, 1);
    let mut group = criterion.benchmark_group("framing");
    group.throughput(Throughput::Bytes(lines.len() as u64));
    group.bench_function("cut", |bencher| {
        bencher.iter(|| black_box(cut(black_box(&lines), 256 * 1024)));
    });
    group.bench_function("memchr alone", |bencher| {
        bencher.iter(|| memchr::memchr_iter(b'\n', black_box(&lines)).count());
    });
    group.finish();
}

fn validation(criterion: &mut Criterion) {
    let lines = support::events(2000, 1);
    let mut group = criterion.benchmark_group("validation");
    group.throughput(Throughput::Elements(2000));
    group.bench_function("schema, strict", |bencher| {
        let mut validator = Validator::new(&support::meter(None));
        bencher.iter(|| {
            let mut rest = lines.as_slice();
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (line, behind) = rest.split_at(end + 1);
                assert!(validator.check(black_box(line)).is_ok());
                rest = behind;
            }
        });
    });
    group.bench_function("serde_json, syntax only", |bencher| {
        bencher.iter(|| {
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                assert!(serde_json::from_slice::<serde::de::IgnoredAny>(black_box(line)).is_ok());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, framing, validation);
criterion_main!(benches);
