//! Framing: where whole lines end in a run of bytes.
//!
//! A line ends with `\n`; a `\r` before it belongs to the line and stays. Nothing here reads,
//! copies a line that is within the limit, or keeps more of one that is not than an excerpt.

use memchr::{memchr, memchr_iter, memrchr};

use crate::chunk::LineFault;
use crate::dead_letter::Reason;
use crate::position::TAIL_BYTES_MAX;

/// How many bytes of a line that is too long go to its dead letter.
pub const EXCERPT_BYTES_MAX: usize = 4096;

/// What stands at the start of a run of bytes that begins with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Whole lines, each within the limit.
    Lines {
        /// How many bytes they have, ends included; at least 1.
        bytes: usize,
        /// How many they are.
        lines: u64,
    },
    /// One whole line that is too long.
    TooLong,
    /// The start of a line, so far within the limit; perhaps nothing.
    Partial,
    /// The start of a line that is too long already.
    PartialTooLong,
}

/// Cuts as many lines off the start of `bytes` as there are within `line_bytes_max` bytes, line
/// ends not counted.
pub fn cut(bytes: &[u8], line_bytes_max: usize) -> Cut {
    if bytes.len() <= line_bytes_max {
        // No line in it can be too long: only the last end is looked for, and ends are counted.
        return match memrchr(b'\n', bytes) {
            Some(last) => {
                let lines = memchr_iter(b'\n', bytes).count() as u64;
                Cut::Lines { bytes: last + 1, lines }
            }
            None => Cut::Partial,
        };
    }
    let (mut start, mut lines) = (0, 0);
    for end in memchr_iter(b'\n', bytes) {
        if end - start > line_bytes_max {
            return if start == 0 { Cut::TooLong } else { Cut::Lines { bytes: start, lines } };
        }
        (start, lines) = (end + 1, lines + 1);
    }
    if start > 0 {
        Cut::Lines { bytes: start, lines }
    } else if bytes.len() > line_bytes_max {
        Cut::PartialTooLong
    } else {
        Cut::Partial
    }
}

/// A line that is dropped while it is read: all that is kept of it, however long it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discarded {
    bytes: u64,
    ended: bool,
    excerpt: Vec<u8>,
    tail: Vec<u8>,
}

impl Discarded {
    /// All of `text`, whose end did not come; a line end in it is part of it.
    pub fn cut_off(text: &[u8]) -> Self {
        let excerpt = text.get(..EXCERPT_BYTES_MAX).unwrap_or(text).to_vec();
        let tail =
            text.get(text.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or_default().to_vec();
        Self { bytes: text.len() as u64, ended: false, excerpt, tail }
    }

    /// Takes the bytes of the line from the start of `more`, its end included, and tells how
    /// many that were. Takes nothing once the line has ended.
    pub fn absorb(&mut self, more: &[u8]) -> usize {
        if self.ended {
            return 0;
        }
        let end = memchr(b'\n', more);
        let taken = end.map_or(more.len(), |end| end + 1);
        let line = more.get(..taken).unwrap_or_default();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let room = EXCERPT_BYTES_MAX - self.excerpt.len();
        self.excerpt.extend(text.iter().take(room));
        self.tail
            .extend_from_slice(line.get(taken.saturating_sub(TAIL_BYTES_MAX)..).unwrap_or(&[]));
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES_MAX));
        self.bytes += taken as u64;
        self.ended = end.is_some();
        taken
    }

    /// Whether the end of the line was among the bytes.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes were taken, the line's end included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last bytes taken, at most [`TAIL_BYTES_MAX`].
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// The dead letter that the line becomes.
    pub fn into_fault(self, reason: Reason) -> LineFault {
        let length = self.bytes - u64::from(self.ended);
        LineFault { reason, length, excerpt: self.excerpt, tail: self.tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_cut_up_to_the_last_end_or_the_first_that_is_too_long() {
        let rows: [(&[u8], Cut); 9] = [
            (b"", Cut::Partial),
            (b"abc", Cut::Partial),
            (b"abcd", Cut::PartialTooLong),
            (b"abc\n", Cut::Lines { bytes: 4, lines: 1 }),
            (b"abcd\n", Cut::TooLong),
            (b"\n\nab", Cut::Lines { bytes: 2, lines: 2 }),
            (b"ab\r\nc\nabcd\nx\n", Cut::Lines { bytes: 6, lines: 2 }),
            (b"a\nabcde", Cut::Lines { bytes: 2, lines: 1 }),
            (b"abcd\na\n", Cut::TooLong),
        ];
        for (bytes, expected) in rows {
            assert_eq!(cut(bytes, 3), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_of_a_line_does_not_depend_on_the_borders_of_reads(
            text in prop::collection::vec(b'a'..=b'e', 0..10_000),
            step in 1_usize..5000,
        ) {
            let mut line = text.clone();
            line.extend_from_slice(b"\nnext\n");
            let mut discarded = Discarded::default();
            let mut at = 0;
            while !discarded.has_ended() {
                let piece = &line[at..(at + step).min(line.len())];
                at += discarded.absorb(piece);
            }
            prop_assert_eq!(at, text.len() + 1);
            prop_assert_eq!(discarded.bytes(), at as u64);
            prop_assert_eq!(discarded.tail(), &line[at.saturating_sub(TAIL_BYTES_MAX)..at]);
            let fault = discarded.into_fault(Reason::LineTooLong);
            prop_assert_eq!(fault.length, text.len() as u64);
            prop_assert_eq!(&fault.excerpt, &text[..text.len().min(EXCERPT_BYTES_MAX)]);
        }
    }
}
