//! What standard input and TCP connections have in common: bytes that come in order, once, become
//! numbered lines.
//!
//! Between two reads only the start of an unfinished line is kept, in a buffer of its size.

mod messages;

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use self::messages::{Found, Oversized};
use crate::chunk::{Buffer, Chunk, Content, Stream};
use crate::dead_letter::Reason;
use crate::intake::Intake;
use crate::notice::Notifier;
use crate::position::{Numbering, Origin, hash64};
use crate::source::lines::{Cut, Discarded, cut};
use crate::source::ready::Ready;
use crate::source::{Context, right_sized};

/// What becomes of the last line when it has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLine {
    /// The input is whole: it is a line like any other.
    Keep,
    /// The input was cut off: it becomes a dead letter.
    Refuse,
}

/// Makes numbered lines of the bytes of one stream.
#[derive(Debug)]
pub struct Assembler {
    stream: Arc<Stream>,
    line_bytes_max: usize,
    /// The position of the next line.
    next: u64,
    /// The start of a line whose end has not come.
    partial: Vec<u8>,
    /// The line that is being dropped because it is too long.
    discarded: Option<Discarded>,
    /// Whether syslog messages come, which may have their length before them.
    takes_messages: bool,
    /// The message that is being dropped because it is too long.
    oversized: Option<Oversized>,
    /// Lines that were handed over; positions may count bytes.
    lines: u64,
    /// For a peer that wants to hear how many lines are durable.
    notifier: Option<Notifier>,
}

impl Assembler {
    /// An assembler for a stream of its own, called `label` by people.
    pub fn new(context: &Context, label: String, line_bytes_max: usize) -> Self {
        let mapping = context.tag.mapping.as_deref();
        let stream = Stream {
            source: Arc::clone(&context.tag),
            origin: origin(context, &label),
            label,
            // Events that share a line are told apart by their offsets.
            numbering: match mapping {
                Some(mapping) if mapping.is_array() => Numbering::ByteOffset,
                _ => Numbering::LineNumber,
            },
            header: OnceLock::new(),
        };
        let takes_messages = mapping.is_some_and(|mapping| mapping.is_syslog);
        Self { takes_messages, ..Self::at(0, Arc::new(stream), line_bytes_max) }
    }

    /// An assembler whose next line has the position `next` in `stream`.
    pub(super) fn at(next: u64, stream: Arc<Stream>, line_bytes_max: usize) -> Self {
        Self {
            stream,
            line_bytes_max,
            next,
            partial: Vec::new(),
            discarded: None,
            takes_messages: false,
            oversized: None,
            lines: 0,
            notifier: None,
        }
    }

    /// Tells from here on how many lines are durable.
    pub(super) fn notify(&mut self) -> watch::Receiver<u64> {
        let (notifier, seen) = Notifier::new();
        self.notifier = Some(notifier);
        seen
    }

    /// How many lines were handed over.
    pub(super) fn lines_ready(&self) -> u64 {
        self.lines
    }

    /// A buffer to append what is read to. It begins with the unfinished line and has room.
    pub fn begin(&mut self, intake: &Intake) -> Buffer {
        let mut buffer = intake.buffer();
        buffer.extend_from_slice(&self.partial);
        self.partial = Vec::new();
        self.make_room(&mut buffer);
        buffer
    }

    /// Grows a buffer that one line fills completely; the limit of a line bounds it.
    pub(super) fn make_room(&self, buffer: &mut Buffer) {
        if buffer.len() == buffer.capacity() {
            let more = buffer.len().clamp(1024, self.line_bytes_max.max(1024));
            buffer.reserve(more);
        }
    }

    /// Takes the next chunk off the start of `buffer`; none when only an unfinished line is left.
    pub fn next(&mut self, buffer: &mut Buffer, intake: &Intake) -> Option<Ready> {
        if self.discarded.is_none() && self.takes_messages {
            match self.messages(buffer, intake) {
                Found::Ready(ready) => return Some(*ready),
                Found::Nothing => return None,
                Found::LongLine => {}
            }
        } else if self.discarded.is_none() {
            match cut(buffer, self.line_bytes_max) {
                Cut::Lines { bytes, lines } => {
                    return Some(self.lines(buffer, bytes, lines, intake));
                }
                Cut::Partial => return None,
                Cut::TooLong | Cut::PartialTooLong => {}
            }
        }
        let mut discarded = self.discarded.take().unwrap_or_default();
        let taken = discarded.absorb(buffer);
        buffer.drain(..taken);
        if discarded.has_ended() {
            return Some(self.fault(discarded, Reason::LineTooLong));
        }
        self.discarded = Some(discarded);
        None
    }

    /// The same, as work of the source of `context`.
    pub(super) fn next_of(&mut self, buffer: &mut Buffer, context: &Context) -> Option<Ready> {
        let _beat = context.pulse.beat();
        self.next(buffer, &context.intake)
    }

    /// Keeps the unfinished line that is left in `buffer` for the next read.
    pub fn end(&mut self, buffer: &Buffer) {
        self.partial = buffer.to_vec();
    }

    /// What is left when nothing more will come.
    pub fn finish(&mut self, last: LastLine) -> Option<Ready> {
        if let Some(discarded) = self.discarded.take() {
            return Some(self.fault(discarded, Reason::LineTooLong));
        }
        if let Some(ready) = self.broken_oversized() {
            return Some(ready);
        }
        let mut partial = std::mem::take(&mut self.partial);
        if partial.is_empty() {
            return None;
        }
        // A message that says its length is cut off, however the input ended.
        let is_counted = self.takes_messages && messages::length_digits(&partial).is_some();
        if last == LastLine::Refuse || is_counted {
            return Some(self.fault(Discarded::cut_off(&partial), Reason::PartialLine));
        }
        let bytes = partial.len() as u64;
        partial.push(b'\n');
        Some(self.ready(Content::Lines(Buffer::from(partial)), 1, bytes))
    }

    fn lines(&mut self, buffer: &mut Buffer, bytes: usize, lines: u64, intake: &Intake) -> Ready {
        let mut rest = intake.buffer();
        rest.extend_from_slice(buffer.get(bytes..).unwrap_or_default());
        let mut whole = std::mem::replace(buffer, rest);
        whole.truncate(bytes);
        self.ready(Content::Lines(right_sized(whole)), lines, bytes as u64)
    }

    fn fault(&mut self, discarded: Discarded, reason: Reason) -> Ready {
        let bytes = discarded.bytes();
        self.ready(Content::Fault(discarded.into_fault(reason)), 1, bytes)
    }

    fn ready(&mut self, content: Content, lines: u64, bytes: u64) -> Ready {
        let positions = match self.stream.numbering {
            Numbering::LineNumber => lines,
            Numbering::ByteOffset => bytes,
        };
        self.chunk(content, positions, lines, bytes)
    }

    fn chunk(&mut self, content: Content, positions: u64, lines: u64, bytes: u64) -> Ready {
        let first = self.next;
        let end = first + positions;
        self.next = end;
        self.lines += lines;
        let stream = Arc::clone(&self.stream);
        let notice = self.notifier.as_ref().map(|notifier| notifier.notice(self.lines));
        let chunk = Chunk { stream, first, end, lines, content, file: None, permit: None, notice };
        Ready { chunk, bytes }
    }
}

/// How many bytes lie in the pipe or socket buffer now, where the kernel tells: a stop reads
/// these and no more, so that a writer that never pauses cannot hold it up.
pub(super) fn bytes_waiting(fd: impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(fd).unwrap_or(u64::MAX)
}

/// A stream comes once, so its origin need not be found again: it only has to differ from
/// every other in the fleet, that of an earlier process with the same number included.
pub(super) fn origin(context: &Context, label: &str) -> Origin {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Origin(hash64(&[
        context.agent.as_bytes(),
        context.tag.name.as_bytes(),
        label.as_bytes(),
        &nanos.to_le_bytes(),
        &std::process::id().to_le_bytes(),
        &fastrand::u64(..).to_le_bytes(),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{Bench, Event, naive};
    use proptest::prelude::*;

    fn assemble(pieces: &[&[u8]], line_bytes_max: usize, last: LastLine) -> Vec<Event> {
        let bench = Bench::new();
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
    fn the_last_line_without_an_end_is_kept_or_refused() {
        let kept = assemble(&[b"a\nb"], 10, LastLine::Keep);
        assert_eq!(kept, [Event::line(0, "a"), Event::line(1, "b")]);
        let refused = assemble(&[b"a\nb"], 10, LastLine::Refuse);
        assert_eq!(refused, [Event::line(0, "a"), Event::fault(1, Reason::PartialLine, 1, "b")]);
    }

    #[test]
    fn two_streams_of_one_source_have_different_origins() {
        let bench = Bench::new();
        let origin = || Assembler::new(&bench.context, "peer".into(), 1).stream.origin;
        assert_ne!(origin(), origin());
    }

    proptest! {
        #[test]
        fn any_reads_give_the_lines_of_the_naive_splitter(
            text in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..300),
            borders in prop::collection::vec(0_usize..300, 0..12),
            line_bytes_max in 1_usize..12,
        ) {
            let mut borders: Vec<usize> = borders.into_iter().map(|at| at.min(text.len())).collect();
            borders.extend([0, text.len()]);
            borders.sort_unstable();
            let pieces: Vec<&[u8]> = borders.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let events = assemble(&pieces, line_bytes_max, LastLine::Keep);
            prop_assert_eq!(events, naive(&text, line_bytes_max));
        }
    }
}
