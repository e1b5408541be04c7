//! What the benches share: realistic events and the meter that they are for.

#![allow(dead_code, reason = "each bench uses its own part")]

pub(crate) mod process;

use std::fmt::Write as _;
use std::sync::Arc;

use meterd::chunk::{Buffer, CHUNK_BYTES, Chunk, Content, SourceTag, Stream};
use meterd::config::{self, Format, LoadFor};
use meterd::group::{Group, Slice};
use meterd::meter::Meter;
use meterd::position::{Numbering, Origin};

/// Events in one request of a production tenant.
pub(crate) const EVENTS_PER_REQUEST: usize = 10_000;

/// The gzip level of the default configuration.
pub(crate) const LEVEL: u32 = 2;

/// `count` events of about 115 bytes, one a line: customers and quantities vary at random, the
/// time goes on by some milliseconds. The same for the same `seed`.
pub(crate) fn events(count: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(count * 120);
    let mut millis = 0_u64;
    for _ in 0..count {
        millis += random.u64(0..20);
        let (seconds, fraction) = (millis / 1000, millis % 1000);
        let _ = writeln!(
            text,
            "{{\"CustomerId\":\"CUST-{:06}\",\"UsageIdentifier\":\"api-calls-{}\",\
             \"UsageDate\":\"2026-11-{:02}T{:02}:{:02}:{:02}.{fraction:03}Z\",\"Quantity\":{}}}",
            random.u32(0..100_000),
            random.u32(0..20),
            1 + seconds / 86_400 % 28,
            seconds / 3600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            random.u32(1..1000),
        );
    }
    text.into_bytes()
}

/// A meter with production limits.
pub(crate) fn meter(event_id_field: Option<&str>) -> Arc<Meter> {
    let event_id_field = event_id_field.map(Into::into);
    Arc::new(Meter { event_id_field, ..Meter::new("bench", String::new()) })
}

/// A stream of `meter`.
pub(crate) fn stream(meter: &Arc<Meter>) -> Arc<Stream> {
    stream_of(SourceTag::new("bench", Arc::clone(meter)))
}

/// A stream of a source.
fn stream_of(source: SourceTag) -> Arc<Stream> {
    Arc::new(Stream {
        source: Arc::new(source),
        origin: Origin(0x0123_4567_89ab_cdef),
        label: "bench".into(),
        numbering: Numbering::ByteOffset,
        header: <_>::default(),
    })
}

/// Cuts `lines` into chunks as a source does.
pub(crate) fn chunks(stream: &Arc<Stream>, lines: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let window = &lines[at..lines.len().min(at + CHUNK_BYTES)];
        let length = memchr::memrchr(b'\n', window).map_or(window.len(), |end| end + 1);
        chunks.push(Chunk {
            stream: Arc::clone(stream),
            first: at as u64,
            end: (at + length) as u64,
            lines: memchr::memchr_iter(b'\n', &window[..length]).count() as u64,
            content: Content::Lines(Buffer::from(window[..length].to_vec())),
            file: None,
            permit: None,
            notice: None,
        });
        at += length;
    }
    chunks
}

/// One group of [`EVENTS_PER_REQUEST`] events.
pub(crate) fn group(meter: &Arc<Meter>) -> Group {
    group_of(&stream(meter), &events(EVENTS_PER_REQUEST, 7))
}

/// A format that a source of the name `s` makes events of.
pub(crate) struct Mapped {
    pub(crate) name: &'static str,
    /// Keys of the source, behind its meter and type.
    pub(crate) keys: String,
    /// A line of an event's four values.
    line: fn([&str; 4]) -> String,
}

/// How each event field is found in a line of the formats below.
const RULES: &str = "[sources.s.fields]\nCustomerId = { from = \"c\" }\n\
    UsageIdentifier = { from = \"u\" }\nUsageDate = { from = \"t\" }\n\
    Quantity = { from = \"q\" }\n";

/// One source of each kind.
pub(crate) fn mappings() -> Vec<Mapped> {
    let mapped = |name, keys: &str, line| Mapped { name, keys: format!("{keys}{RULES}"), line };
    let selected = Mapped {
        name: "json, selected",
        keys: "[[sources.s.select]]\nfield = \"Quantity\"\nexists = true\n".to_owned(),
        line: |[c, u, t, q]| {
            format!(
                "{{\"CustomerId\":\"{c}\",\"UsageIdentifier\":\"{u}\",\"UsageDate\":\"{t}\",\"Quantity\":{q}}}\n"
            )
        },
    };
    let columns = "format = \"csv\"\ncsv.columns = [\"c\", \"u\", \"t\", \"q\"]\n";
    let pattern = "format = \"regex\"\n\
        pattern = '^(?<t>\\S+) user=(?<c>\\S+) op=(?<u>\\S+) units=(?<q>\\d+)$'\n";
    let syslog = "format = \"syslog\"\nmessage_format = \"logfmt\"\n";
    vec![
        selected,
        mapped("json, mapped", "", |[c, u, t, q]| {
            format!("{{\"c\":\"{c}\",\"u\":\"{u}\",\"t\":\"{t}\",\"q\":{q},\"level\":\"info\"}}\n")
        }),
        mapped("csv", columns, |[c, u, t, q]| format!("{c},{u},{t},{q}\n")),
        mapped("logfmt", "format = \"logfmt\"\n", |[c, u, t, q]| {
            format!("t={t} level=info c={c} u={u} q={q}\n")
        }),
        mapped("regex", pattern, |[c, u, t, q]| format!("{t} user={c} op={u} units={q}\n")),
        mapped("syslog, logfmt", syslog, |[c, u, t, q]| {
            format!("<14>1 {t} host app 17 - - c={c} u={u} t={t} q={q}\n")
        }),
    ]
}

impl Mapped {
    /// What `events` of this file look like in the format.
    pub(crate) fn lines(&self, events: &[u8]) -> Vec<u8> {
        let events = std::str::from_utf8(events).unwrap_or_default();
        let line = |event: &str| {
            // Every fourth text between quotes is a value, and the number stands behind the last colon.
            let texts: Vec<&str> = event.split('"').collect();
            let number = texts[texts.len() - 1].trim_matches([':', '}']);
            (self.line)([texts[3], texts[7], texts[11], number])
        };
        events.lines().map(line).collect::<String>().into_bytes()
    }
}

/// The same events as of [`group`] in another format.
pub(crate) fn mapped_group(meter: &Arc<Meter>, mapped: &Mapped) -> Group {
    let keys = &mapped.keys;
    let text = format!(
        "mediation.base_url = \"http://127.0.0.1:1\"\nmeters.m.global_id = \"m\"\n\
         [sources.s]\nmeter = \"m\"\ntype = \"stdin\"\n{keys}"
    );
    let loaded = config::load_str(LoadFor::Run, &text, Format::Toml, std::iter::empty());
    let sources = loaded.map(|loaded| loaded.settings.sources).unwrap_or_default();
    let mapping = sources.into_iter().find_map(|source| source.mapping);
    assert!(mapping.is_some(), "{keys}");
    let source = SourceTag { mapping, ..SourceTag::new("bench", Arc::clone(meter)) };
    group_of(&stream_of(source), &mapped.lines(&events(EVENTS_PER_REQUEST, 7)))
}

/// One group of all of `lines`.
pub(crate) fn group_of(stream: &Arc<Stream>, lines: &[u8]) -> Group {
    let slices = chunks(stream, lines)
        .into_iter()
        .map(|chunk| {
            let Content::Lines(lines) = &chunk.content else { unreachable!("only lines") };
            let (range, count) = (0..lines.len(), memchr::memchr_iter(b'\n', lines).count());
            let (first, end) = (chunk.first, chunk.end);
            let lines = u32::try_from(count).unwrap_or(u32::MAX);
            Slice { chunk: Arc::new(chunk), range, first, end, lines }
        })
        .collect();
    Group { number: 0, destination: stream.source.destination.clone(), slices }
}
