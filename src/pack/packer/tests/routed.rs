//! Lines of one source that are for several meters.

use super::*;
use crate::mapping::Reference;
use crate::routing::{Route, Routing};

const NARROW: Limits = Limits { events_per_request_max: 3, payload_bytes_max: 700, ..WIDE };

/// A source whose lines name the meters "a" and "b" in the field `k`.
fn routing(limits: Limits, default: Option<usize>) -> Arc<Routing> {
    let meter = |name: &str| {
        let meter = Meter::new(name, String::new());
        Arc::new(Meter { event_id_field: Some("Id".into()), limits, ..meter })
    };
    let route = Route {
        from: Reference::Field(vec!["k".into()]),
        table: [("a".to_owned(), 0), ("b".to_owned(), 1)].into(),
        default,
    };
    let meters = vec![meter("a"), meter("b")];
    Arc::new(Routing { route: Arc::new(route), meters, unrouted: Arc::default() })
}

/// A group of `lines` for the meters of `routing`.
fn group_of(routing: &Arc<Routing>, lines: &str) -> Group {
    let destination = Destination::Routed(Arc::clone(routing));
    let Group { slices, .. } = group(&routing.meters[0], lines);
    let slices = slices.into_iter().map(|slice| {
        let chunk = Arc::into_inner(slice.chunk).expect("the only one");
        let stream = Arc::into_inner(chunk.stream).expect("the only one");
        let source = Arc::new(SourceTag::new("s", destination.clone()));
        let chunk = Chunk { stream: Arc::new(Stream { source, ..stream }), ..chunk };
        Slice { chunk: Arc::new(chunk), ..slice }
    });
    Group { number: 7, slices: slices.collect(), destination }
}

/// Event `quantity` that names a meter.
fn named(meter: &str, quantity: u32) -> String {
    event(quantity).replace('{', &format!("{{\"k\":\"{meter}\","))
}

/// What the batches of `meter` hold, in order.
fn events_of(packed: &PackedGroup, meter: &str) -> Vec<serde_json::Value> {
    let batches = packed.batches.iter().filter(|batch| *batch.meter == *meter);
    batches
        .flat_map(|batch| {
            let events = serde_json::from_str::<Vec<_>>(&unpack(batch)).expect("an array");
            assert_eq!(events.len(), batch.events as usize);
            events
        })
        .collect()
}

fn sizes(packed: &PackedGroup) -> Vec<(&str, u32)> {
    packed.batches.iter().map(|batch| (&*batch.meter, batch.events)).collect()
}

#[test]
fn each_line_goes_to_its_meter_and_all_of_them_move_one_cursor() -> Result<(), Error> {
    let bad = named("b", 5).replace(":5}", ":\"x\"}");
    let (c, nameless) = (named("c", 3), event(4));
    let lines = [&named("a", 1), &named("b", 2), &c, "", &nameless, &bad, &named("a", 6), "no"];
    let text = lines.join("\n") + "\n";
    let packed = Packer::new(2).pack(&group_of(&routing(WIDE, None), &text), NOW)?;
    assert_eq!(sizes(&packed), [("a", 2), ("b", 1)]);
    let of_a = events_of(&packed, "a");
    assert_eq!((&of_a[0]["Quantity"], &of_a[1]["Quantity"]), (&1.into(), &6.into()));
    // Ids are those of the places of the lines, whatever stands between them.
    let last = 100 + text.find(lines[6]).unwrap_or(0);
    assert_eq!(of_a[1]["Id"], format!("0000000000000001-{last}"));
    assert_eq!(packed.batches[0].last_event_id.as_deref(), of_a[1]["Id"].as_str());
    let shown = |letter: &DeadLetter| {
        let event = String::from_utf8_lossy(&letter.event).into_owned();
        format!("{} {} {event}", letter.meter, letter.reason)
    };
    let letters: Vec<_> = packed.dead_letters.iter().map(shown).collect();
    let expected = [
        format!(" unknown_meter {c}"),
        format!(" unknown_meter {nameless}"),
        format!("b wrong_type {bad}"),
        " invalid_json no".to_owned(),
    ];
    assert_eq!(letters, expected);
    let detail = "\"k\" is a value for no meter, one of \"a\", \"b\" was expected";
    assert_eq!(packed.dead_letters[0].detail, detail);
    let tally = |meter: &str, read, dead_lettered, ignored| {
        let (source, meter) = ("s".into(), meter.into());
        SourceTally { source, meter, read, dead_lettered, ignored }
    };
    assert_eq!(packed.tallies, [tally("", 4, 3, 1), tally("a", 2, 0, 0), tally("b", 2, 1, 0)]);
    let offsets: Vec<_> = packed.cursors.iter().map(|(_, cursor)| cursor.offset).collect();
    assert_eq!(offsets, [100 + text.len() as u64]);
    Ok(())
}

#[test]
fn a_line_without_the_name_of_a_meter_is_for_the_default() -> Result<(), Error> {
    let text = format!("{}\n{}\n{}\n", event(1), named("c", 2), named("a", 3));
    let packed = Packer::new(2).pack(&group_of(&routing(WIDE, Some(1)), &text), NOW)?;
    assert_eq!((sizes(&packed), packed.dead_letters.len()), (vec![("a", 1), ("b", 2)], 0));
    Ok(())
}

#[test]
fn a_line_that_could_not_be_read_is_a_letter_of_no_meter() -> Result<(), Error> {
    let Group { slices, destination, .. } = group_of(&routing(WIDE, Some(0)), "x\n");
    let reason = Reason::LineTooLong;
    let fault = LineFault { reason, length: 9, excerpt: b"x".to_vec(), tail: Vec::new() };
    let slices = slices.into_iter().map(|slice| {
        let chunk = Arc::into_inner(slice.chunk).expect("the only one");
        let chunk = Chunk { content: Content::Fault(fault.clone()), ..chunk };
        Slice { chunk: Arc::new(chunk), range: 0..0, ..slice }
    });
    let group = Group { number: 0, slices: slices.collect(), destination };
    let packed = Packer::new(2).pack(&group, NOW)?;
    let letters: Vec<_> = packed.dead_letters.iter().map(|one| (&*one.meter, one.reason)).collect();
    assert_eq!(letters, [("", reason)]);
    Ok(())
}

proptest! {
    /// Whatever the order and the limits, and however often the packer was used.
    #[test]
    fn each_meter_gets_its_lines_in_their_order_as_if_it_were_alone(
        meters in prop::collection::vec(0_usize..3, 1..60), is_narrow: bool,
    ) {
        let limits = if is_narrow { NARROW } else { WIDE };
        let numbered = || meters.iter().zip(1_u32..);
        let line = |(meter, number): (&usize, u32)| named(["a", "b", "c"][*meter], number) + "\n";
        let group = group_of(&routing(limits, None), &numbered().map(line).collect::<String>());
        let mut packer = Packer::new(2);
        let first = packer.pack(&group, NOW).expect("packed");
        let again = packer.pack(&group, NOW).expect("packed");
        prop_assert_eq!(&first.batches, &again.batches);
        for (index, name) in ["a", "b"].into_iter().enumerate() {
            let found: Vec<_> =
                events_of(&first, name).iter().map(|event| event["Quantity"].as_u64()).collect();
            let wanted = numbered().filter(|(meter, _)| **meter == index);
            let wanted: Vec<_> = wanted.map(|(_, number)| Some(u64::from(number))).collect();
            prop_assert_eq!(found, wanted);
        }
        for batch in &first.batches {
            prop_assert!(batch.events <= limits.events_per_request_max);
            prop_assert!(batch.payload_bytes <= limits.payload_bytes_max as u64);
        }
        let sum = |of: fn(&SourceTally) -> u64| first.tallies.iter().map(of).sum::<u64>();
        prop_assert_eq!(sum(|tally| tally.read), meters.len() as u64);
        let strangers = meters.iter().filter(|meter| **meter == 2).count();
        prop_assert_eq!(sum(|tally| tally.dead_lettered), strangers as u64);
    }
}
