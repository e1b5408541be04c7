//! The body of a request becomes lines. The first byte is the longest line, or none below 128; the
//! rest is the body.

use meterd::source::http::split::{Limit, document, lines};
use serde_json::value::RawValue;

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Some((&first, body)) = input.split_first() else { return };
    let limit = if first < 128 { 1 << 20 } else { usize::from(first) - 127 };
    sequence(body, limit);
    let mut cut = body.to_vec();
    let events = serde_json::from_slice::<&RawValue>(body).map(RawValue::get);
    let Ok(count) = document(&mut cut, Limit(limit)) else { return };
    assert!(cut.is_empty() || cut.ends_with(b"\n"), "a line has no end");
    let found: Vec<&[u8]> = cut.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(found.len() as u64, count, "lines are miscounted");
    assert!(found.iter().all(|line| line.len() <= limit + 1), "a line is too long");
    let are_events = found.iter().all(|line| serde_json::from_slice::<&RawValue>(line).is_ok());
    // Whether an event is right is found later: nothing may be hidden between them.
    assert_eq!(events.is_ok(), are_events, "what is accepted was no JSON, or the other way round");
    if let Ok(whole) = events {
        let single = [whole];
        let list: Vec<&RawValue> = serde_json::from_str(whole).unwrap_or_default();
        let list: Vec<&str> = list.into_iter().map(RawValue::get).collect();
        let expected = if whole.starts_with('[') { &list } else { single.as_slice() };
        let expected: Vec<String> =
            expected.iter().map(|event| format!("{}\n", event.replace('\n', " "))).collect();
        let found: Vec<_> = found.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(found, expected, "events are not in their own bytes");
    }
}

fn sequence(body: &[u8], limit: usize) {
    let mut whole = body.to_vec();
    let counted = lines(&mut whole, Limit(limit));
    let wanted = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let is_short = wanted.clone().all(|line| line.len() <= limit);
    assert_eq!(counted.is_ok(), is_short, "a long line");
    if let Ok(count) = counted {
        assert_eq!(count, wanted.count() as u64, "lines are miscounted");
        assert_eq!(
            whole.strip_suffix(b"\n").unwrap_or(&whole),
            body.strip_suffix(b"\n").unwrap_or(body)
        );
    }
}
