//! A good event costs no allocation on the pack path: packing ten times as many events allocates
//! as often.

use std::sync::Arc;
use std::time::Duration;

use meterd::chunk::{Buffer, Chunk, Content, SourceTag, Stream};
use meterd::clock::Timestamp;
use meterd::config::{self, Format, LoadFor};
use meterd::group::{Group, Slice};
use meterd::meter::{FourByteCharacters, Guards, Limits, Meter};
use meterd::pack::packer::Packer;
use meterd::position::{Numbering, Origin};
use meterd::schema::{FieldType, Schema};

const NOW: Timestamp = Timestamp::from_millis(1_795_241_651_000);

/// The documented fields, with the time in `format` when there is one.
fn schema(format: Option<&str>) -> Schema {
    let mut fields = Schema::documented().fields().to_vec();
    for field in fields.iter_mut().filter(|field| field.kind == FieldType::DateTime) {
        field.format = format.and_then(|format| format.parse().ok());
        assert_eq!(field.format.is_some(), format.is_some());
    }
    Schema::new(fields).unwrap_or_else(|_| Schema::documented())
}

fn group(events: u32, event_id_field: Option<&str>, format: Option<&str>) -> Group {
    let meter = Arc::new(Meter {
        schema: schema(format).into(),
        event_id_field: event_id_field.map(Into::into),
        guards: Guards {
            event_age_max: Some(Duration::from_secs(86_400)),
            event_ahead_max: Some(Duration::from_secs(60)),
            four_byte_characters: FourByteCharacters::Reject,
            ..Guards::default()
        },
        limits: Limits {
            events_per_request_max: 100_000,
            payload_bytes_max: 100_000_000,
            compressed_bytes_max: 100_000_000,
        },
        ..Meter::new("m", String::new())
    });
    let source = SourceTag::new("s", Arc::clone(&meter));
    let stream = Stream {
        source: Arc::new(source),
        origin: Origin(1),
        label: "peer".into(),
        numbering: Numbering::LineNumber,
        header: <_>::default(),
    };
    let line = |number: u32| {
        format!(
            "{{\"CustomerId\":\"C-{number}\",\"UsageIdentifier\":\"é\\u0041\",\
             \"UsageDate\":\"2026-11-21T06:14:11.123Z\",\"Quantity\":{number}.5}}\n"
        )
    };
    let lines: String = (0..events).map(line).collect();
    let range = 0..lines.len();
    let chunk = Chunk {
        stream: Arc::new(stream),
        first: 0,
        end: u64::from(events),
        lines: u64::from(events),
        content: Content::Lines(Buffer::from(lines.into_bytes())),
        file: None,
        permit: None,
        notice: None,
    };
    let end = u64::from(events);
    let slice = Slice { chunk: Arc::new(chunk), range, first: 0, end, lines: events };
    Group { number: 0, destination: meter.into(), slices: vec![slice] }
}

/// The same group through the mapping that `keys` of a source are.
fn mapped(group: Group, keys: &str) -> Group {
    let text = format!(
        "mediation.base_url = \"http://127.0.0.1:1\"\nmeters.m.global_id = \"m\"\n\
         [sources.s]\nmeter = \"m\"\ntype = \"stdin\"\n{keys}"
    );
    let loaded = config::load_str(LoadFor::Run, &text, Format::Toml, std::iter::empty());
    let sources = loaded.map(|loaded| loaded.settings.sources).unwrap_or_default();
    let mapping = sources.into_iter().find_map(|source| source.mapping);
    assert!(mapping.is_some(), "{keys}");
    let source = SourceTag { mapping, ..SourceTag::new("s", group.destination.clone()) };
    let source = Arc::new(source);
    let slices = group.slices.into_iter().filter_map(|slice| {
        let chunk = Arc::into_inner(slice.chunk)?;
        let stream = Arc::into_inner(chunk.stream)?;
        let stream = Arc::new(Stream { source: Arc::clone(&source), ..stream });
        let chunk = Arc::new(Chunk { stream, ..chunk });
        Some(Slice { chunk, ..slice })
    });
    Group { slices: slices.collect(), ..group }
}

#[test]
fn a_mapped_event_costs_no_allocation_unless_text_is_made_of_it() {
    const RULES: &str = "[sources.s.fields]\nCustomerId = { from = \"c\", trim = true }\n\
        UsageIdentifier = { value = \"u\" }\nUsageDate = { value = \"2026-11-21T06:14:11Z\" }\n\
        Quantity = { from = \"q\", unit = { from = \"B\", to = \"kB\" } }\n";
    let json = RULES.replace("\"c\"", "\"CustomerId\"").replace("\"q\"", "\"Quantity\"");
    let pattern = r#"'"(?<c>C-[^"]*)".*:(?<q>[0-9.]+)}$'"#;
    for keys in [
        "[[sources.s.select]]\nfield = \"CustomerId\"\nmatches = \"^C-\"\n".to_owned(),
        json,
        format!("format = \"regex\"\npattern = {pattern}\n{RULES}"),
    ] {
        let (few, many) = (group(1000, None, None), group(10_000, None, None));
        let (few, many) = (mapped(few, &keys), mapped(many, &keys));
        let mut packer = Packer::new(2);
        assert!(packer.pack(&many, NOW).is_ok());
        let mut count = |group: &Group| {
            let info = allocation_counter::measure(|| {
                let packed = packer.pack(group, NOW);
                assert!(packed.is_ok_and(|packed| packed.dead_letters.is_empty()));
            });
            info.count_total
        };
        let (few, many) = (count(&few), count(&many));
        assert_eq!(few, many, "{keys}");
    }
}

#[test]
fn packing_ten_times_the_events_allocates_as_often() {
    let pattern = Some("yyyy-MM-dd'T'HH:mm:ss.SSSX");
    for (field, format) in [
        (None, None),
        (Some("EventId"), None),
        (None, Some("epoch_ms")),
        (Some("EventId"), pattern),
    ] {
        let (few, many) = (group(1000, field, format), group(10_000, field, format));
        let mut packer = Packer::new(2);
        // The first pass grows the buffers that are used again.
        assert!(packer.pack(&many, NOW).is_ok());
        let count = |packer: &mut Packer, group: &Group| {
            let info = allocation_counter::measure(|| {
                let packed = packer.pack(group, NOW);
                assert!(packed.is_ok_and(|packed| packed.dead_letters.is_empty()));
            });
            info.count_total
        };
        let (few, many) = (count(&mut packer, &few), count(&mut packer, &many));
        assert_eq!(few, many, "{field:?} {format:?}");
    }
}
