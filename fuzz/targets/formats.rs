//! Lines of every format become events, dead letters or nothing. The first byte chooses the source,
//! the rest is what it reads.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use meterd::body;
use meterd::chunk::{Buffer, Chunk, Content, SourceTag, Stream};
use meterd::clock::Timestamp;
use meterd::config::{self, LoadFor};
use meterd::dead_letter::DeadLetter;
use meterd::group::{Group, Slice};
use meterd::mapping::Mapping;
use meterd::meter::Meter;
use meterd::pack::packer::Packer;
use meterd::pack::validate::Validator;
use meterd::position::{Numbering, Origin};

const NOW: Timestamp = Timestamp::from_millis(1_795_241_651_000);

/// What stands behind the name of a source, for each of them.
const SOURCES: [&str; 9] = [
    "format = \"json-array\"\n",
    "format = \"json-array\"\nfields.CustomerId = { from = \"/c/0\", trim = true }\n\
     fields.UsageIdentifier = { template = \"{/c/1}-{u}\" }\nfields.UsageDate = { from = \"t\" }\n\
     fields.Quantity = { from = \"q\", unit = { from = \"B\", to = \"GiB\" }, decimals = 9 }\n",
    "format = \"csv\"\ncsv.columns = [\"CustomerId\", \"UsageIdentifier\", \"UsageDate\", \"Quantity\"]\n",
    "format = \"csv\"\n",
    "format = \"logfmt\"\non_unparsable = \"ignore\"\nselect = [{ field = \"Quantity\", matches = \"^[0-9]\" }]\n",
    "format = \"logfmt\"\nfields.CustomerId = { from = \"c\", lowercase = true }\n\
     fields.UsageIdentifier = { from = \"u\", map = { a = \"A\", b = \"B\" } }\n\
     fields.UsageDate = { from = \"t\", time_format = \"d/MMM/yyyy:HH:mm:ss Z\" }\n\
     fields.Quantity = { from = \"q\", unit = { from = \"written\", to = \"s\" } }\n",
    "format = \"regex\"\npattern = '^(?<c>\\S*) \\S+ (?<u>[^ ]*) \\[(?<t>[^\\]]+)\\] \"[^\"]*\" \\d+ (?<q>\\S+)'\n\
     fields.CustomerId = { from = \"c\", default = \"nobody\" }\nfields.UsageIdentifier = { from = \"u\" }\n\
     fields.UsageDate = { from = \"t\", time_format = \"dd/MMM/yyyy:HH:mm:ss Z\" }\n\
     fields.Quantity = { from = \"q\", scale = \"0.001\" }\n",
    "format = \"syslog\"\nmessage_format = \"logfmt\"\nfields.CustomerId = { from = \"syslog:hostname\" }\n\
     fields.UsageIdentifier = { from = \"syslog:app\" }\nfields.UsageDate = { from = \"syslog:timestamp\" }\n\
     fields.Quantity = { from = \"q\" }\n",
    "format = \"syslog\"\n",
];

static TAGS: LazyLock<Vec<SourceTag>> = LazyLock::new(|| SOURCES.map(source).into());

/// The only meter, which stamps its events.
static METER: LazyLock<Arc<Meter>> = LazyLock::new(|| {
    let id = Some("Id".into());
    Arc::new(Meter { event_id_field: id, ..Meter::new("m", String::new()) })
});

/// A source of which the configuration says `keys`.
pub(super) fn source(keys: &str) -> SourceTag {
    let text = format!(
        "mediation.base_url = \"http://127.0.0.1:1\"\nmeters.m.global_id = \"m\"\n\
         [sources.s]\nmeter = \"m\"\ntype = \"tcp\"\nlisten = \"127.0.0.1:1\"\n{keys}"
    );
    let loaded = config::load_str(LoadFor::Run, &text, config::Format::Toml, std::iter::empty());
    let loaded = loaded.unwrap_or_else(|error| unreachable!("{error}\n{text}"));
    let mapping = loaded.settings.sources.into_iter().find_map(|source| source.mapping);
    assert_eq!(mapping.is_some(), !keys.is_empty(), "{keys}");
    SourceTag { mapping, ..SourceTag::new("s", Arc::clone(&METER)) }
}

/// A group of `lines`, from the beginning of a stream.
pub(super) fn group(meter: &Arc<Meter>, mapping: Option<&Arc<Mapping>>, lines: &[u8]) -> Group {
    group_at(0, None, meter, mapping, lines)
}

/// A group of `lines` that stand at `first` in a stream with this `header`.
fn group_at(
    first: u64,
    header: Option<&[u8]>,
    meter: &Arc<Meter>,
    mapping: Option<&Arc<Mapping>>,
    lines: &[u8],
) -> Group {
    let mapping = mapping.cloned();
    let source = SourceTag { mapping, ..SourceTag::new("s", Arc::clone(meter)) };
    let stream = Stream {
        source: Arc::new(source),
        origin: Origin(1),
        label: "peer".to_owned(),
        numbering: Numbering::ByteOffset,
        header: header.map(|header| header.to_vec().into()).unwrap_or_default(),
    };
    let bytes = [lines, b"\n"].concat();
    let (range, end) = (0..bytes.len(), first + bytes.len() as u64);
    let lines = memchr::memchr_iter(b'\n', &bytes).count();
    let chunk = Chunk {
        stream: Arc::new(stream),
        first,
        end,
        lines: lines as u64,
        content: Content::Lines(Buffer::from(bytes)),
        file: None,
        permit: None,
        notice: None,
    };
    chunk.learn_header();
    let lines = u32::try_from(lines).unwrap_or(u32::MAX);
    let slice = Slice { chunk: Arc::new(chunk), range, first, end, lines };
    Group { number: 0, destination: Arc::clone(meter).into(), slices: vec![slice] }
}

/// What came of a group.
pub(super) struct Packed {
    /// As they go out.
    pub(super) events: Vec<Vec<u8>>,
    pub(super) letters: Vec<DeadLetter>,
}

thread_local! {
    /// As that of a worker: it has seen other lines before.
    static PACKER: RefCell<Packer> = RefCell::new(Packer::new(1));
}

/// Packs `group`, and adds up.
pub(super) fn packed(group: &Group) -> Packed {
    let packed = PACKER.with_borrow_mut(|packer| packer.pack(group, NOW));
    let packed = packed.expect("nothing hinders the compressor");
    let mut events = Vec::new();
    for batch in &packed.batches {
        let before = events.len();
        let taken =
            body::each(&batch.body, batch.payload_bytes, |event| events.push(event.to_vec()));
        assert!(taken.is_ok(), "a body is no array: {taken:?}");
        assert_eq!(events.len() - before, batch.events as usize, "events are miscounted");
    }
    let letters = packed.dead_letters;
    let sum = |of: fn(&meterd::group::SourceTally) -> u64| packed.tallies.iter().map(of).sum();
    let (read, refused, ignored): (u64, u64, u64) =
        (sum(|it| it.read), sum(|it| it.dead_lettered), sum(|it| it.ignored));
    assert_eq!(refused, letters.len() as u64, "dead letters are miscounted");
    assert_eq!(read, events.len() as u64 + refused + ignored, "the equation does not hold");
    Packed { events, letters }
}

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Some((&choice, lines)) = input.split_first() else { return };
    let tag = &TAGS[usize::from(choice) % TAGS.len()];
    let mapping = tag.mapping.as_ref();
    let first = packed(&group(&METER, mapping, lines));
    // A packer that has seen other lines does the same.
    let again = packed(&group(&METER, mapping, lines));
    assert_eq!((&first.events, &first.letters), (&again.events, &again.letters));
    let mut validator = Validator::new(&METER);
    for event in &first.events {
        assert!(validator.check(event).is_ok(), "{}", String::from_utf8_lossy(event));
    }
    for letter in &first.letters {
        assert!(!letter.position.is_empty() && !letter.detail.is_empty());
        replayed(mapping, letter);
    }
}

/// What a dead letter keeps comes to the same dead letter again, and to nothing else.
fn replayed(mapping: Option<&Arc<Mapping>>, letter: &DeadLetter) {
    let parts = mapping.map(|mapping| mapping.split_letter(&letter.event));
    let (header, line) = parts.unwrap_or((None, &letter.event));
    let again = packed(&group_at(1, header, &METER, mapping, line));
    let shown = String::from_utf8_lossy(&letter.event);
    assert!(again.events.is_empty(), "{} would be an event: {shown}", letter.reason);
    if header.is_none() && mapping.is_some_and(|mapping| mapping.has_header()) {
        // The line that should have been the header.
        return;
    }
    let found: Vec<_> = again.letters.iter().map(|it| (it.reason, &it.field)).collect();
    assert_eq!(found, [(letter.reason, &letter.field)], "{shown}");
}
