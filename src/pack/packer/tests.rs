mod routed;

use super::*;
use std::io::Read;
use std::path::PathBuf;

use crate::chunk::{Buffer, Chunk, LineFault, SourceTag, Stream};
use crate::dead_letter::Reason;
use crate::meter::{Limits, Meter, UnknownFields};
use crate::notice::{Notice, Request, Verdict};
use crate::position::{BytesHash, FileIdentity, FileMark, Origin, TAIL_BYTES_MAX};
use crate::schema::Schema;
use proptest::prelude::*;
use std::time::Duration;
use tokio::sync::watch;

fn meter(limits: Limits, id: Option<&str>) -> Arc<Meter> {
    Arc::new(bare_meter(limits, id))
}

fn bare_meter(limits: Limits, id: Option<&str>) -> Meter {
    Meter { event_id_field: id.map(Into::into), limits, ..Meter::new("m", String::new()) }
}

/// 2026-11-21T06:14:11Z
const NOW: Timestamp = Timestamp::from_millis(1_795_241_651_000);

const WIDE: Limits = Limits {
    events_per_request_max: 1000,
    payload_bytes_max: 100_000,
    compressed_bytes_max: 100_000,
};

fn group(meter: &Arc<Meter>, lines: &str) -> Group {
    group_of("s", meter, lines)
}

fn group_of(source: &str, meter: &Arc<Meter>, lines: &str) -> Group {
    let source = SourceTag::new(source, Arc::clone(meter));
    let stream = Arc::new(Stream {
        source: Arc::new(source),
        origin: Origin(1),
        label: "/log".into(),
        numbering: Numbering::ByteOffset,
        header: <_>::default(),
    });
    let identity = FileIdentity { device: 1, inode: 2, born_nanos: None };
    let prefix = BytesHash::of(b"");
    let file = FileMark {
        identity,
        generation: 0,
        path: PathBuf::from("/log"),
        prefix,
        tail: prefix,
        written_at: Timestamp::default(),
        packed_bytes: None,
        is_forgotten: false,
    };
    let end = 100 + lines.len() as u64;
    let count = u32::try_from(lines.matches('\n').count()).unwrap_or(0);
    let chunk = Chunk {
        stream,
        first: 100,
        end,
        lines: count.into(),
        content: Content::Lines(Buffer::from(lines.as_bytes().to_vec())),
        file: Some(Box::new(file)),
        permit: None,
        notice: None,
    };
    let range = 0..lines.len();
    let slice = Slice { chunk: Arc::new(chunk), range, first: 100, end, lines: count };
    Group { number: 7, destination: Arc::clone(meter).into(), slices: vec![slice] }
}

fn event(quantity: u32) -> String {
    format!(
        "{{\"CustomerId\":\"C\",\"UsageIdentifier\":\"u\",\"UsageDate\":\"2026-11-21\",\"Quantity\":{quantity}}}"
    )
}

/// What a cursor records of a file that holds `text`.
fn tail_of(text: &str) -> BytesHash {
    BytesHash::of(&text.as_bytes()[text.len().saturating_sub(TAIL_BYTES_MAX)..])
}

fn unpack(batch: &PackedBatch) -> String {
    let mut text = String::new();
    let _ = flate2::read::GzDecoder::new(batch.body.as_ref()).read_to_string(&mut text);
    text
}

/// Both have read the same file: what only one of them says of it, the other reads again.
#[test]
fn each_source_of_a_group_has_its_own_cursor_of_one_file() -> Result<(), Error> {
    let meter = meter(WIDE, None);
    let mut of_both = group(&meter, &event(1));
    of_both.slices.extend(group_of("t", &meter, &event(1)).slices);
    let packed = Packer::new(2).pack(&of_both, NOW)?;
    let sources: Vec<&str> = packed.cursors.iter().map(|(source, _)| &**source).collect();
    assert_eq!(sources, ["s", "t"]);
    Ok(())
}

#[test]
fn good_lines_become_an_array_and_bad_ones_dead_letters() -> Result<(), Error> {
    let meter = meter(WIDE, None);
    let lines = format!("{}\r\n\n{{\"Quantity\":1}}\n  {} \n", event(1), event(2));
    let packed = Packer::new(2).pack(&group(&meter, &lines), NOW)?;
    assert_eq!(packed.batches.len(), 1);
    let Some(batch) = packed.batches.first() else { return Ok(()) };
    assert_eq!(unpack(batch), format!("[{},{}]", event(1), event(2)));
    assert_eq!((batch.events, batch.first_event_id.as_deref()), (2, None));
    let letters: Vec<_> = packed
        .dead_letters
        .iter()
        .map(|letter| (letter.reason, letter.position.as_str(), letter.event.as_slice()))
        .collect();
    let position = format!("/log:{}", 100 + event(1).len() + 3);
    let expected = (Reason::MissingField, position.as_str(), b"{\"Quantity\":1}".as_slice());
    assert_eq!(letters, [expected]);
    let (source, meter) = ("s".into(), "m".into());
    let tally = SourceTally { source, meter, read: 4, dead_lettered: 1, ignored: 1 };
    assert_eq!(packed.tallies, [tally]);
    let cursor = packed.cursors.first().map(|(_, cursor)| (cursor.offset, cursor.tail));
    assert_eq!(cursor, Some((100 + lines.len() as u64, tail_of(&lines))));
    Ok(())
}

#[test]
fn a_tail_is_of_what_is_in_the_file_not_of_a_line_end_that_was_added() -> Result<(), Error> {
    let meter = meter(WIDE, None);
    let mut group = group(&meter, &format!("{}\n", event(1)));
    for slice in &mut group.slices {
        slice.end -= 1;
    }
    let packed = Packer::new(2).pack(&group, NOW)?;
    let cursor = packed.cursors.first().map(|(_, cursor)| (cursor.offset, cursor.tail));
    let length = event(1).len() as u64;
    assert_eq!(cursor, Some((100 + length, tail_of(&event(1)))));
    Ok(())
}

#[test]
fn ids_are_stamped_from_origin_and_offset_and_own_ones_stay() -> Result<(), Error> {
    let meter = meter(WIDE, Some("EventId"));
    let own = event(2).replace("{\"Cust", "{\"EventId\":\"own\",\"Cust");
    let packed = Packer::new(2).pack(&group(&meter, &format!("{}\n{own}\n", event(1))), NOW)?;
    let batch = packed.batches.first();
    let stamped = event(1).replace("1}", "1,\"EventId\":\"0000000000000001-100\"}");
    assert_eq!(batch.map(unpack), Some(format!("[{stamped},{own}]")));
    let ends = batch.map(|batch| (batch.first_event_id.clone(), batch.last_event_id.clone()));
    assert_eq!(ends, Some((Some("0000000000000001-100".into()), Some("own".into()))));
    Ok(())
}

#[test]
fn an_event_larger_than_a_request_is_a_dead_letter_and_its_neighbours_go_out() -> Result<(), Error>
{
    let long = event(2).replace("\"C\"", &format!("\"{}\"", "C".repeat(300)));
    let limits = Limits { payload_bytes_max: 300, ..WIDE };
    let lines = format!("{}\n{long}\n{}\n", event(1), event(3));
    let packed = Packer::new(2).pack(&group(&meter(limits, None), &lines), NOW)?;
    let bodies: Vec<String> = packed.batches.iter().map(unpack).collect();
    assert_eq!(bodies.concat().matches("CustomerId").count(), 2);
    let reasons: Vec<Reason> = packed.dead_letters.iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [Reason::EventTooLarge]);
    Ok(())
}

#[test]
fn what_does_not_compress_under_the_wire_limit_is_cut_in_parts() -> Result<(), Error> {
    let mut random = fastrand::Rng::with_seed(7);
    let noise = |random: &mut fastrand::Rng| (0..200).map(|_| random.alphanumeric()).collect();
    let lines: String = (0..64)
        .map(|index| {
            let noise: String = noise(&mut random);
            event(index).replace("\"C\"", &format!("\"{noise}\"")) + "\n"
        })
        .collect();
    let limits = Limits { compressed_bytes_max: 2000, ..WIDE };
    let packed = Packer::new(2).pack(&group(&meter(limits, None), &lines), NOW)?;
    assert!(packed.batches.iter().all(|batch| batch.body.len() <= 2000));
    assert_eq!(packed.batches.iter().map(|batch| batch.events).sum::<u32>(), 64);
    let joined: Vec<String> = packed
        .batches
        .iter()
        .map(|batch| unpack(batch).trim_matches(['[', ']']).to_owned())
        .collect();
    assert_eq!(joined.join(",") + "\n", lines.replace("}\n{", "},{"));
    Ok(())
}

/// `meter` with its time in milliseconds and unknown fields dropped.
fn formatted(limits: Limits) -> Arc<Meter> {
    let mut fields = Schema::documented().fields().to_vec();
    for field in fields.iter_mut().filter(|field| &*field.name == "UsageDate") {
        field.format = "epoch_ms".parse().ok();
    }
    let mut meter = bare_meter(limits, Some("EventId"));
    meter.schema = Schema::new(fields).unwrap_or(Schema::open()).into();
    meter.unknown_fields = UnknownFields::Drop;
    meter.guards.event_age_max = Some(std::time::Duration::from_secs(86_400));
    Arc::new(meter)
}

#[test]
fn times_go_out_in_their_format_beside_dropped_fields_and_ids() -> Result<(), Error> {
    let meter = formatted(WIDE);
    let extra = event(2).replace("\"UsageDate", "\"x\":\"2026-11-21\",\"UsageDate");
    let old = event(3).replace("2026-11-21", "2026-11-20");
    let group = group(&meter, &format!("{}\n{extra}\n{old}\n", event(1)));
    let packed = Packer::new(2).pack(&group, NOW)?;
    let out = |quantity, id: usize| {
        let time = event(quantity).replace("\"2026-11-21\"", "1795219200000");
        time.replace('}', &format!(",\"EventId\":\"0000000000000001-{id}\"}}"))
    };
    let expected = format!("[{},{}]", out(1, 100), out(2, 101 + event(1).len()));
    assert_eq!(packed.batches.first().map(unpack), Some(expected));
    let letters: Vec<_> = packed
        .dead_letters
        .iter()
        .map(|letter| (letter.reason, letter.field.as_deref(), letter.event.as_slice()))
        .collect();
    assert_eq!(letters, [(Reason::TooOld, Some("UsageDate"), old.as_bytes())]);
    Ok(())
}

#[test]
fn what_is_too_old_depends_on_the_instant_that_was_given_and_nothing_else() -> Result<(), Error> {
    let meter = formatted(WIDE);
    let group = group(&meter, &format!("{}\n", event(1)));
    let mut packer = Packer::new(2);
    let later = Timestamp::from_millis(NOW.as_millis() + 86_400_000);
    let mut pack =
        |now| packer.pack(&group, now).map(|packed| (packed.batches, packed.dead_letters));
    let first = pack(NOW)?;
    assert_eq!((first.0.len(), first.1.len()), (1, 0));
    let aged = pack(later)?;
    assert_eq!((aged.0.len(), aged.1.len()), (0, 1));
    assert_eq!(pack(NOW)?, first);
    assert_eq!(pack(later)?, aged);
    Ok(())
}

proptest! {
    #[test]
    fn every_line_ends_in_a_body_or_a_dead_letter_within_the_limits(
        kinds in prop::collection::vec(0_u8..4, 1..200),
        rows in 1_u32..50,
        payload in 100_usize..2000,
        stamped: bool,
    ) {
        let limits = Limits { events_per_request_max: rows, payload_bytes_max: payload, ..WIDE };
        let meter = meter(limits, stamped.then_some("EventId"));
        let lines: String = kinds.iter().enumerate().map(|(index, kind)| match kind {
            0 => "\n".to_owned(),
            1 => "{\"Quantity\":true}\n".to_owned(),
            _ => event(u32::try_from(index).unwrap_or(0)) + "\n",
        }).collect();
        let group = group(&meter, &lines);
        let packed = Packer::new(1).pack(&group, NOW);
        prop_assert!(packed.is_ok());
        if let Ok(packed) = packed {
            let again = Packer::new(1).pack(&group, NOW).map(|again| again.batches);
            prop_assert_eq!(again.ok(), Some(packed.batches.clone()));
            let events: u32 = packed.batches.iter().map(|batch| batch.events).sum();
            let tally = packed.tallies.first().map(|tally| tally.read - tally.ignored);
            prop_assert_eq!(tally, Some(u64::from(events) + packed.dead_letters.len() as u64));
            for batch in &packed.batches {
                let text = unpack(batch);
                prop_assert!(batch.events <= rows && text.len() <= payload);
                let parsed = serde_json::from_str::<Vec<serde_json::Value>>(&text);
                prop_assert_eq!(parsed.map(|events| events.len()).ok(), Some(batch.events as usize));
            }
        }
    }
}

/// `lines` as one request.
fn request_of(meter: &Arc<Meter>, lines: &str) -> (Group, watch::Receiver<Option<Verdict>>) {
    let (request, verdict) = Request::new(None, Duration::ZERO);
    let Group { slices, .. } = group(meter, lines);
    let notice = Some(Notice::Request(Arc::new(request)));
    let whole = |slice: Slice| {
        let chunk = Arc::into_inner(slice.chunk).expect("the only one");
        let chunk = Chunk { file: None, notice: notice.clone(), ..chunk };
        Slice { chunk: Arc::new(chunk), ..slice }
    };
    let slices = slices.into_iter().map(whole).collect();
    (Group { number: 7, destination: Arc::clone(meter).into(), slices }, verdict)
}

#[test]
fn a_request_with_a_bad_line_leaves_nothing_and_its_neighbours_go_on() -> Result<(), Error> {
    let meter = meter(WIDE, None);
    let bad = format!("{}\n{{\"Quantity\":1}}\n\n{}\n[]\n", event(1), event(2));
    let (mut both, refused) = request_of(&meter, &bad);
    let (good, committed) = request_of(&meter, &format!("{}\n", event(3)));
    both.slices.extend(good.slices);
    let packed = Packer::new(2).pack(&both, NOW)?;
    assert_eq!(packed.batches.iter().map(unpack).collect::<Vec<_>>(), [format!("[{}]", event(3))]);
    assert_eq!((packed.dead_letters.len(), packed.notices.len()), (0, 1));
    assert_eq!(packed.tallies.iter().map(|tally| tally.read).collect::<Vec<_>>(), [1]);
    let Some(Verdict::Refused(lines)) = refused.borrow().clone() else { return Ok(()) };
    let told: Vec<_> = lines.iter().map(|line| (line.index, line.reason)).collect();
    assert_eq!(told, [(1, Reason::MissingField), (3, Reason::NotAnObject)]);
    assert_eq!(lines.first().and_then(|line| line.field.as_deref()), Some("CustomerId"));
    assert_eq!(*committed.borrow(), None);
    for notice in &packed.notices {
        notice.committed();
    }
    assert_eq!(*committed.borrow(), Some(Verdict::Committed));
    Ok(())
}

#[test]
fn a_request_that_is_too_large_for_one_body_makes_several_in_one_group() -> Result<(), Error> {
    let meter = meter(Limits { events_per_request_max: 2, ..WIDE }, None);
    let lines: String = (0..5).map(|number| event(number) + "\n").collect();
    let (group, verdict) = request_of(&meter, &lines);
    let packed = Packer::new(2).pack(&group, NOW)?;
    assert_eq!(packed.batches.iter().map(|batch| batch.events).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(*verdict.borrow(), None);
    let small = self::meter(Limits { payload_bytes_max: 20, ..WIDE }, None);
    let (group, verdict) = request_of(&small, &lines);
    assert_eq!(Packer::new(2).pack(&group, NOW)?.batches.len(), 0);
    assert!(matches!(&*verdict.borrow(), Some(Verdict::Refused(lines)) if lines.len() == 5));
    Ok(())
}

#[test]
fn quantities_are_summed_exactly_for_each_body() -> Result<(), Error> {
    let line = |quantity: &str| {
        format!(
            "{{\"CustomerId\":\"c\",\"UsageIdentifier\":\"u\",\"UsageDate\":\"2026-11-21\",\"Quantity\":{quantity}}}\n"
        )
    };
    let check = |quantities: &[&str], events_max: u32, expected: &[Option<&str>]| {
        let limits = Limits { events_per_request_max: events_max, ..WIDE };
        let lines: String = quantities.iter().map(|quantity| line(quantity)).collect();
        let packed = Packer::new(2).pack(&group(&meter(limits, None), &lines), NOW)?;
        let sums = packed.batches.iter().map(|batch| batch.quantity.map(|sum| sum.to_string()));
        let sums: Vec<_> = sums.collect();
        let sums: Vec<_> = sums.iter().map(Option::as_deref).collect();
        assert_eq!(sums, expected, "{quantities:?}");
        Ok::<(), Error>(())
    };
    check(&["0.1", "0.2", "1e1"], 1000, &[Some("10.3")])?;
    check(&["0.1", "\"2\"", "3"], 1000, &[Some("3.1")])?;
    check(&["1", "2", "3"], 2, &[Some("3"), Some("3")])?;
    let no_sum = Meter { quantity_field: None, ..bare_meter(WIDE, None) };
    let packed = Packer::new(2).pack(&group(&Arc::new(no_sum), &line("1")), NOW)?;
    assert_eq!(packed.batches.first().map(|batch| batch.quantity), Some(None));
    Ok(())
}
