//! Syslog messages in a stream of bytes, RFC 6587: with their length before them, or with a line end
//! behind them, told apart by their first byte. Each becomes a line.

use super::{Assembler, Ready};
use crate::chunk::{Buffer, Content, LineFault};
use crate::dead_letter::Reason;
use crate::intake::Intake;
use crate::position::Numbering;
use crate::source::lines::EXCERPT_BYTES_MAX;
use crate::source::right_sized;

/// The most digits of a length: more than any message may have.
const LENGTH_DIGITS_MAX: usize = 9;

/// What the messages at the start of a buffer came to.
pub(super) enum Found {
    /// Lines, or one message that cannot be a line.
    Ready(Box<Ready>),
    /// Only the start of a message.
    Nothing,
    /// A message with a line end behind it that is too long.
    LongLine,
}

/// A message with its length before it that is dropped while it is read.
#[derive(Debug)]
pub(super) struct Oversized {
    /// Bytes that are still to come.
    left: usize,
    /// All of its bytes, and those before it that say how many.
    length: u64,
    framed: u64,
    excerpt: Vec<u8>,
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// A message from here to there, and where the next one begins.
    Whole { start: usize, end: usize, next: usize },
    /// The start of one.
    Partial,
    /// One of so many bytes behind its length; that is too long.
    Oversized { start: usize, length: usize },
    /// One with a line end behind it; that is too long.
    LongLine,
}

/// How many digits of a length stand at the start of `bytes`, with a message behind them.
pub(super) fn length_digits(bytes: &[u8]) -> Option<usize> {
    let digits = leading_digits(bytes);
    let is_counted = (1..LENGTH_DIGITS_MAX).contains(&digits);
    (is_counted && bytes.get(digits..)?.starts_with(b" <")).then_some(digits)
}

fn leading_digits(bytes: &[u8]) -> usize {
    bytes.iter().take(LENGTH_DIGITS_MAX).take_while(|it| it.is_ascii_digit()).count()
}

fn frame(bytes: &[u8], line_bytes_max: usize) -> Frame {
    let Some(digits) = length_digits(bytes) else {
        let digits = leading_digits(bytes);
        let may_be_length = (1..LENGTH_DIGITS_MAX).contains(&digits) || bytes.is_empty();
        // Whether a message begins here is still to come.
        return match bytes.get(digits..) {
            Some(b"" | b" ") if may_be_length => Frame::Partial,
            _ => line(bytes, line_bytes_max),
        };
    };
    let length = bytes.iter().take(digits);
    let length = length.fold(0_usize, |length, digit| length * 10 + usize::from(digit - b'0'));
    let (start, next) = (digits + 1, digits + 1 + length);
    if length > line_bytes_max {
        Frame::Oversized { start, length }
    } else if bytes.len() < next {
        Frame::Partial
    } else {
        Frame::Whole { start, end: next, next }
    }
}

fn line(bytes: &[u8], line_bytes_max: usize) -> Frame {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end <= line_bytes_max => Frame::Whole { start: 0, end, next: end + 1 },
        None if bytes.len() <= line_bytes_max => Frame::Partial,
        _ => Frame::LongLine,
    }
}

/// Senders that say the length often write a line end or a zero behind the text as well.
fn without_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
    text.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

impl Assembler {
    /// Takes messages off the start of `buffer`.
    pub(super) fn messages(&mut self, buffer: &mut Buffer, intake: &Intake) -> Found {
        if let Some(oversized) = self.oversized.take() {
            return self.drop_oversized(oversized, buffer);
        }
        let mut lines = intake.buffer();
        let (mut taken, mut count) = (0, 0);
        loop {
            let rest = buffer.get(taken..).unwrap_or_default();
            match frame(rest, self.line_bytes_max) {
                Frame::Whole { start, end, next } => {
                    let text = without_end(rest.get(start..end).unwrap_or_default());
                    if memchr::memchr(b'\n', text).is_some() {
                        if count > 0 {
                            break;
                        }
                        let (length, excerpt) = (text.len() as u64, text.to_vec());
                        let fault =
                            LineFault { reason: Reason::Unparsable, length, excerpt, tail: vec![] };
                        buffer.drain(..next);
                        return Found::Ready(Box::new(self.message_fault(fault, next as u64)));
                    }
                    lines.extend_from_slice(text);
                    lines.push(b'\n');
                    (taken, count) = (taken + next, count + 1);
                }
                _ if count > 0 => break,
                Frame::Partial => return Found::Nothing,
                Frame::LongLine => return Found::LongLine,
                Frame::Oversized { start, length } => {
                    buffer.drain(..start);
                    let (framed, total) = (start as u64, length as u64);
                    let excerpt = Vec::new();
                    let oversized = Oversized { left: length, length: total, framed, excerpt };
                    return self.drop_oversized(oversized, buffer);
                }
            }
        }
        buffer.drain(..taken);
        let positions = match self.stream.numbering {
            Numbering::LineNumber => count,
            Numbering::ByteOffset => lines.len() as u64,
        };
        let content = Content::Lines(right_sized(lines));
        Found::Ready(Box::new(self.chunk(content, positions, count, taken as u64)))
    }

    fn drop_oversized(&mut self, mut oversized: Oversized, buffer: &mut Buffer) -> Found {
        let taken = oversized.left.min(buffer.len());
        let room = EXCERPT_BYTES_MAX - oversized.excerpt.len();
        oversized.excerpt.extend(buffer.iter().take(taken.min(room)));
        buffer.drain(..taken);
        oversized.left -= taken;
        if oversized.left > 0 {
            self.oversized = Some(oversized);
            return Found::Nothing;
        }
        let Oversized { length, framed, excerpt, .. } = oversized;
        let fault = LineFault { reason: Reason::LineTooLong, length, excerpt, tail: Vec::new() };
        Found::Ready(Box::new(self.message_fault(fault, length + framed)))
    }

    /// What there is of a message that is too long and whose end will not come.
    pub(super) fn broken_oversized(&mut self) -> Option<Ready> {
        let Oversized { left, length, framed, excerpt } = self.oversized.take()?;
        let fault = LineFault { reason: Reason::LineTooLong, length, excerpt, tail: Vec::new() };
        Some(self.message_fault(fault, length + framed - left as u64))
    }

    fn message_fault(&mut self, fault: LineFault, bytes: u64) -> Ready {
        self.chunk(Content::Fault(fault), 1, 1, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::LastLine;
    use super::*;
    use crate::mapping::Mapping;
    use crate::source::testing::{Bench, Event};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn bench() -> Bench {
        let mapping = Mapping { is_syslog: true, ..Mapping::default() };
        Bench::with_mapping(Arc::new(mapping))
    }

    fn assemble(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<Event> {
        assemble_until(LastLine::Refuse, pieces, line_bytes_max)
    }

    fn assemble_until(last: LastLine, pieces: &[&[u8]], line_bytes_max: usize) -> Vec<Event> {
        let bench = bench();
        let intake = &bench.context.intake;
        let mut assembler = Assembler::new(&bench.context, "test".into(), line_bytes_max);
        let mut events = Vec::new();
        for piece in pieces {
            let mut buffer = assembler.begin(intake);
            buffer.extend_from_slice(piece);
            while let Some(ready) = assembler.next(&mut buffer, intake) {
                events.extend(Event::of(&ready.chunk));
            }
            assembler.end(&buffer);
        }
        if let Some(ready) = assembler.finish(last) {
            events.extend(Event::of(&ready.chunk));
        }
        events
    }

    #[test]
    fn both_framings_may_follow_each_other() {
        let events = assemble(&[b"5 <1>ab<2>c\n7 <3>d\r\n\n4 <4>e6 <5>f\n\n12 x\n2026-01\n"], 20);
        let expected = ["<1>ab", "<2>c", "<3>d", "<4>e", "<5>f", "12 x", "2026-01"];
        let expected: Vec<_> =
            (0..).zip(expected).map(|(at, text)| Event::line(at, text)).collect();
        assert_eq!(events, expected);
    }

    #[test]
    fn a_line_end_within_a_message_makes_it_a_dead_letter_and_no_other() {
        let events = assemble(&[b"4 <1>a7 <2>b\ncd4 <3>e"], 20);
        let fault = Event::fault(1, Reason::Unparsable, 7, "<2>b\ncd");
        assert_eq!(events, [Event::line(0, "<1>a"), fault, Event::line(2, "<3>e")]);
    }

    #[test]
    fn a_message_that_is_too_long_is_dropped_as_it_comes() {
        let long = format!("5000 <1>{}4 <2>b", "x\n".repeat(2499).get(..4997).unwrap_or_default());
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(700).collect();
        let events = assemble(&pieces, 100);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].fault, Some((Reason::LineTooLong, 5000)));
        assert_eq!(events[0].text.len(), EXCERPT_BYTES_MAX);
        assert_eq!(events[1], Event::line(1, "<2>b"));
        let line = assemble(&[b"<1>abcdef\n4 <2>b"], 5);
        assert_eq!(line[0].fault, Some((Reason::LineTooLong, 9)));
        assert_eq!(line[1], Event::line(1, "<2>b"));
    }

    #[test]
    fn what_breaks_off_is_a_dead_letter() {
        assert_eq!(
            assemble(&[b"9 <1>ab"], 20),
            [Event::fault(0, Reason::PartialLine, 7, "9 <1>ab")]
        );
        let oversized = assemble(&[b"99 <1>ab"], 20);
        assert_eq!(oversized, [Event::fault(0, Reason::LineTooLong, 99, "<1>ab")]);
    }

    #[test]
    fn what_breaks_off_behind_a_line_end_is_one_dead_letter() {
        for last in [LastLine::Keep, LastLine::Refuse] {
            let events = assemble_until(last, &[b"<1>x\n9 <1>a\nb"], 20);
            let fault = Event::fault(1, Reason::PartialLine, 8, "9 <1>a\nb");
            assert_eq!(events, [Event::line(0, "<1>x"), fault], "{last:?}");
            let events = assemble_until(last, &[b"5 <1>a"], 5);
            assert_eq!(events, [Event::fault(0, Reason::PartialLine, 6, "5 <1>a")], "{last:?}");
        }
    }

    proptest! {
        #[test]
        fn any_reads_give_the_messages_that_were_sent(
            messages in prop::collection::vec(("<[0-9]>[a-z 0-9]{0,9}[a-z]", any::<bool>()), 0..20),
            borders in prop::collection::vec(0_usize..300, 0..12),
        ) {
            let framed = |(text, is_counted): &(String, bool)| {
                if *is_counted { format!("{} {text}", text.len()) } else { format!("{text}\n") }
            };
            let sent: String = messages.iter().map(framed).collect();
            let mut borders: Vec<usize> =
                borders.into_iter().map(|at| at.min(sent.len())).chain([0, sent.len()]).collect();
            borders.sort_unstable();
            let pieces: Vec<&[u8]> =
                borders.windows(2).map(|pair| &sent.as_bytes()[pair[0]..pair[1]]).collect();
            let expected: Vec<_> =
                (0..).zip(&messages).map(|(at, (text, _))| Event::line(at, text)).collect();
            prop_assert_eq!(assemble(&pieces, 50), expected);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(pieces in prop::collection::vec("[0-9< >a\n]{0,30}", 0..6)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            assemble(&pieces, 8);
        }
    }
}
