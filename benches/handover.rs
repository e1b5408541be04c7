//! What it costs to hand lines over: source to intake to batcher to group.

mod support;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use meterd::intake::intake;
use meterd::pack::batcher;
use meterd::telemetry::Pulse;
use tokio_util::sync::CancellationToken;

fn handover(criterion: &mut Criterion) {
    let lines = support::events(100_000, 3);
    let stream = support::stream(&support::meter(Some("EventId")));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let mut group = criterion.benchmark_group("handover");
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("intake and batcher", |bencher| {
        bencher.iter_batched(
            || support::chunks(&stream, &lines),
            |chunks| {
                let (intake, outlet) = intake(64 << 20, runtime.handle().clone());
                let linger_max = Duration::from_secs(60);
                let settings = batcher::Settings { linger_max, ..batcher::Settings::default() };
                let settings = tokio::sync::watch::channel(settings).1;
                let (groups, packed) = crossbeam_channel::unbounded();
                let never = CancellationToken::new();
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        batcher::run(&outlet, settings, &groups, &Pulse::default());
                        drop(groups);
                    });
                    for chunk in chunks {
                        assert!(intake.block_on(intake.send(chunk, &never)).is_ok());
                    }
                    drop(intake);
                    packed.iter().map(|group| group.slices.len()).sum::<usize>()
                })
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, handover);
criterion_main!(benches);
