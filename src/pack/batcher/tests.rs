use super::*;
use crate::chunk::{Buffer, LineFault, SourceTag, Stream};
use crate::dead_letter::Reason;
use crate::intake::{Intake, intake};
use crate::meter::{Limits, Meter};
use crate::notice::{Notice, Request};
use crate::position::Origin;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

fn stream(name: &str, events: u32, bytes: usize) -> Arc<Stream> {
    let limits = Limits {
        events_per_request_max: events,
        payload_bytes_max: bytes,
        compressed_bytes_max: bytes,
    };
    let meter = Meter { limits, ..Meter::new(name, String::new()) };
    let source = SourceTag::new(name, Arc::new(meter));
    Arc::new(Stream {
        source: Arc::new(source),
        origin: Origin(1),
        label: "peer".into(),
        numbering: Numbering::LineNumber,
        header: <_>::default(),
    })
}

fn settings(linger_max: Duration) -> watch::Receiver<Settings> {
    let settings = Settings { linger_max, first_linger_max: linger_max, ..Settings::default() };
    watch::channel(settings).1
}

fn chunk(stream: &Arc<Stream>, first: u64, lines: &str) -> Chunk {
    let count = lines.matches('\n').count() as u64;
    Chunk {
        stream: Arc::clone(stream),
        first,
        end: first + count,
        lines: count,
        content: Content::Lines(Buffer::from(lines.as_bytes().to_vec())),
        file: None,
        permit: None,
        notice: None,
    }
}

/// Runs a batcher over what `feed` sends; gives its groups.
fn groups_of(linger_max: Duration, feed: impl FnOnce(&Intake)) -> std::io::Result<Vec<Group>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (intake, outlet) = intake(1 << 20, runtime.handle().clone());
    let (sender, groups) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run(&outlet, settings(linger_max), &sender, &Pulse::default());
            drop(sender);
        });
        feed(&intake);
        drop(intake);
        Ok(groups.iter().collect())
    })
}

fn send(intake: &Intake, chunk: Chunk) {
    assert_eq!(intake.block_on(intake.send(chunk, &CancellationToken::new())), Ok(()));
}

fn text(group: &Group) -> String {
    let part = |slice: &Slice| match &slice.chunk.content {
        Content::Lines(lines) => String::from_utf8_lossy(&lines[slice.range.clone()]).into_owned(),
        Content::Fault(_) => "!".to_owned(),
    };
    group.slices.iter().map(part).collect()
}

#[test]
fn a_group_is_sealed_at_its_row_limit_and_the_rest_at_the_end() -> std::io::Result<()> {
    let stream = stream("a", 2, 1000);
    let groups = groups_of(Duration::from_secs(60), |intake| {
        send(intake, chunk(&stream, 0, "1\n"));
        send(intake, chunk(&stream, 1, "2\n3\n4\n5\n"));
    })?;
    let texts: Vec<String> = groups.iter().map(text).collect();
    assert_eq!(texts, ["1\n2\n", "3\n4\n", "5\n"]);
    let numbers: Vec<u64> = groups.iter().map(|group| group.number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let positions: Vec<(u64, u64)> = groups
        .iter()
        .flat_map(|group| group.slices.iter().map(|slice| (slice.first, slice.end)))
        .collect();
    assert_eq!(positions, [(0, 1), (1, 2), (2, 4), (4, 5)]);
    Ok(())
}

#[test]
fn a_line_that_fits_no_request_is_alone_in_its_group() -> std::io::Result<()> {
    let stream = stream("a", 10, 10);
    let groups = groups_of(Duration::from_secs(60), |intake| {
        send(intake, chunk(&stream, 0, "1\n2222222222222222\n3\n"));
    })?;
    let texts: Vec<String> = groups.iter().map(text).collect();
    assert_eq!(texts, ["1\n", "2222222222222222\n", "3\n"]);
    Ok(())
}

#[test]
fn a_line_that_has_waited_long_enough_goes_without_company() -> std::io::Result<()> {
    let stream = stream("a", 10, 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (intake, outlet) = intake(1 << 20, runtime.handle().clone());
    let (sender, groups) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        scope
            .spawn(|| run(&outlet, settings(Duration::from_millis(1)), &sender, &Pulse::default()));
        send(&intake, chunk(&stream, 0, "1\n"));
        let group = groups.recv_timeout(Duration::from_secs(30));
        assert_eq!(group.map(|group| text(&group)), Ok("1\n".to_owned()));
        drop(intake);
    });
    Ok(())
}

#[test]
fn the_first_line_after_a_pause_waits_for_a_moment_and_the_next_for_company() -> std::io::Result<()>
{
    let stream = stream("a", 3, 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (intake, outlet) = intake(1 << 20, runtime.handle().clone());
    let (sender, groups) = crossbeam_channel::unbounded();
    let linger_max = Duration::from_secs(3600);
    let first_linger_max = Duration::from_millis(1);
    let settings = Settings { linger_max, first_linger_max, ..Settings::default() };
    std::thread::scope(|scope| {
        scope.spawn(|| run(&outlet, watch::channel(settings).1, &sender, &Pulse::default()));
        let next = || groups.recv_timeout(Duration::from_secs(30)).map(|group| text(&group));
        send(&intake, chunk(&stream, 0, "1\n"));
        assert_eq!(next(), Ok("1\n".to_owned()));
        // Only its limit ends the second group within the test.
        send(&intake, chunk(&stream, 1, "2\n"));
        std::thread::park_timeout(Duration::from_millis(50));
        send(&intake, chunk(&stream, 2, "3\n4\n5\n"));
        assert_eq!(next(), Ok("2\n3\n4\n".to_owned()));
        drop(intake);
    });
    Ok(())
}

#[test]
fn open_groups_give_way_when_sources_wait_for_room() -> std::io::Result<()> {
    let streams: Vec<_> = (0..8).map(|index| stream(&format!("m{index}"), 1000, 1 << 20)).collect();
    let line = format!("{}\n", "x".repeat(199_999));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (intake, outlet) = intake(1 << 20, runtime.handle().clone());
    let (sender, groups) = crossbeam_channel::unbounded();
    let count = std::thread::scope(|scope| {
        // Eight open groups of 200 kB do not fit an intake of 1 MiB; the linger time never comes.
        scope.spawn(|| {
            run(&outlet, settings(Duration::from_secs(3600)), &sender, &Pulse::default());
            drop(sender);
        });
        // Dropping a group gives its share back, as a commit does.
        let count = scope.spawn(|| groups.iter().map(drop).count());
        for stream in &streams {
            send(&intake, chunk(stream, 0, &line));
        }
        drop(intake);
        count.join()
    });
    assert!(matches!(count, Ok(8)));
    Ok(())
}

#[test]
fn a_fault_keeps_its_place_between_lines() -> std::io::Result<()> {
    let stream = stream("a", 10, 1000);
    let fault = LineFault {
        reason: Reason::LineTooLong,
        length: 99,
        excerpt: Vec::new(),
        tail: Vec::new(),
    };
    let groups = groups_of(Duration::from_secs(60), |intake| {
        send(intake, chunk(&stream, 0, "1\n"));
        let content = Content::Fault(fault);
        send(intake, Chunk { content, end: 2, lines: 1, ..chunk(&stream, 1, "") });
        send(intake, chunk(&stream, 2, "3\n"));
    })?;
    assert_eq!(groups.iter().map(text).collect::<Vec<_>>(), ["1\n!3\n"]);
    Ok(())
}

proptest! {
    #[test]
    fn every_line_is_in_one_group_in_order_and_within_the_limits(
        chunks in prop::collection::vec(prop::collection::vec(0_usize..30, 1..40), 1..10),
        rows in 1_u32..20, bytes in 40_usize..200,
    ) {
        let stream = stream("a", rows, bytes);
        let mut number = 0_u64;
        let texts: Vec<(u64, String)> = chunks.iter().map(|lengths| {
            let first = number;
            number += lengths.len() as u64;
            (first, lengths.iter().map(|length| "x".repeat(*length) + "\n").collect())
        }).collect();
        let groups = groups_of(Duration::from_secs(60), |intake| {
            for (first, text) in &texts {
                send(intake, chunk(&stream, *first, text));
            }
        });
        let groups = groups.unwrap_or_default();
        let all: String = texts.iter().map(|(_, text)| text.as_str()).collect();
        prop_assert_eq!(groups.iter().map(text).collect::<String>(), all);
        let mut position = 0;
        for group in &groups {
            let lines: u32 = group.slices.iter().map(|slice| slice.lines).sum();
            prop_assert!(lines <= rows && (text(group).len() + 2 <= bytes || lines == 1));
            for slice in &group.slices {
                prop_assert_eq!(slice.first, position);
                prop_assert_eq!(slice.end, position + u64::from(slice.lines));
                position = slice.end;
            }
        }
    }
}

#[test]
fn a_request_is_never_cut_and_does_not_wait_for_the_linger_time() -> std::io::Result<()> {
    let stream = stream("a", 2, 1000);
    let request = |first, lines: &str| {
        let (request, _) = Request::new(None, Duration::from_millis(1));
        let notice = Some(Notice::Request(Arc::new(request)));
        Chunk { notice, ..chunk(&stream, first, lines) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (intake, outlet) = intake(1 << 20, runtime.handle().clone());
    let (sender, groups) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        scope
            .spawn(|| run(&outlet, settings(Duration::from_secs(600)), &sender, &Pulse::default()));
        let next = || groups.recv().map(|group| text(&group)).unwrap_or_default();
        send(&intake, chunk(&stream, 0, "1\n"));
        send(&intake, request(1, "2\n3\n"));
        assert_eq!((next(), next()), ("1\n".into(), "2\n3\n".into()));
        send(&intake, request(3, "4\n5\n6\n"));
        assert_eq!(next(), "4\n5\n6\n");
        send(&intake, request(6, "7\n"));
        assert_eq!(next(), "7\n");
        drop(intake);
    });
    Ok(())
}
