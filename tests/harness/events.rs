//! Usage events as an application writes them, each with an id of its own.

use std::fmt::Write as _;
use std::ops::Range;

/// The id of event `number`.
pub(crate) fn event_id(number: u64) -> String {
    format!("event-{number:08}")
}

/// Event `number` on one line without its end, with the four documented fields and its id.
pub(crate) fn event(number: u64) -> String {
    let (minute, second) = (number / 60 % 60, number % 60);
    format!(
        r#"{{"CustomerId":"C-{:05}","UsageIdentifier":"api-call","UsageDate":"2026-11-21T06:{minute:02}:{second:02}+0000","Quantity":{}.{:02},"EventId":"{}"}}"#,
        number % 977,
        number % 13,
        number % 100,
        event_id(number),
    )
}

/// The events of `numbers`, a line each.
pub(crate) fn lines(numbers: Range<u64>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", event(number));
        text
    })
}

/// Event `number` with `bytes` of text that does not compress.
pub(crate) fn bulky_event(number: u64, bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = fastrand::Rng::with_seed(number);
    let noise: String =
        std::iter::repeat_with(|| char::from(LETTERS[random.usize(0..64)])).take(bytes).collect();
    let whole = event(number);
    let open = whole.strip_suffix('}').unwrap_or(&whole);
    format!(r#"{open},"Noise":"{noise}"}}"#)
}
