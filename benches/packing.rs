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

/// A line of an event's four values.
type Line = fn([&str; 4]) -> String;

/// The same events made of other formats, without the id.
fn mapping(criterion: &mut Criterion) {
    const RULES: &str = "[sources.s.fields]\nCustomerId = { from = \"c\" }\n\
        UsageIdentifier = { from = \"u\" }\nUsageDate = { from = \"t\" }\n\
        Quantity = { from = \"q\" }\n";
    let mut group = criterion.benchmark_group("mapping");
    group.throughput(Throughput::Elements(support::EVENTS_PER_REQUEST as u64));
    let meter = support::meter(None);
    let event = |[c, u, t, q]: [&str; 4]| {
        format!(
            "{{\"CustomerId\":\"{c}\",\"UsageIdentifier\":\"{u}\",\"UsageDate\":\"{t}\",\"Quantity\":{q}}}\n"
        )
    };
    let select = "[[sources.s.select]]\nfield = \"Quantity\"\nexists = true\n";
    let columns = "format = \"csv\"\ncsv.columns = [\"c\", \"u\", \"t\", \"q\"]\n";
    let pattern = "format = \"regex\"\n\
        pattern = '^(?<t>\\S+) user=(?<c>\\S+) op=(?<u>\\S+) units=(?<q>\\d+)$'\n";
    let rows: [(&str, String, Line); 6] = [
        ("json, selected", select.to_owned(), event),
        ("json, mapped", RULES.to_owned(), |[c, u, t, q]| {
            format!("{{\"c\":\"{c}\",\"u\":\"{u}\",\"t\":\"{t}\",\"q\":{q},\"level\":\"info\"}}\n")
        }),
        ("csv", format!("{columns}{RULES}"), |[c, u, t, q]| format!("{c},{u},{t},{q}\n")),
        ("logfmt", format!("format = \"logfmt\"\n{RULES}"), |[c, u, t, q]| {
            format!("t={t} level=info c={c} u={u} q={q}\n")
        }),
        ("regex", format!("{pattern}{RULES}"), |[c, u, t, q]| {
            format!("{t} user={c} op={u} units={q}\n")
        }),
        (
            "syslog, logfmt",
            format!("format = \"syslog\"\nmessage_format = \"logfmt\"\n{RULES}"),
            |[c, u, t, q]| format!("<14>1 {t} host app 17 - - c={c} u={u} t={t} q={q}\n"),
        ),
    ];
    for (name, keys, line) in rows {
        let lines = support::mapped_group(&meter, &keys, |values| {
            line([values[0], values[1], values[2], values[3]])
        });
        let mut packer = Packer::new(support::LEVEL);
        let packed = packer.pack(&lines, NOW);
        assert!(packed.is_ok_and(|packed| packed.dead_letters.is_empty()), "{name}");
        group.bench_function(name, |bencher| {
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
