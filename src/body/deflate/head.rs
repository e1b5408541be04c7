//! The head of a block: the lengths of its codes, themselves in a code whose lengths are told first.

use super::bits::Bits;
use super::{DISTANCES, ELEMENTS};
use crate::body::huffman;

/// The order in which lengths of codes of lengths are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// More than a head can have: 17 bits, 19 lengths of 3 bits, 316 codes of 7 bits with 7 more; and eight
/// bytes that are written over the end.
pub(super) const BYTES_MAX: usize = 640;

/// Writes the lengths of the codes of a block.
pub(super) fn write(
    bits: &mut Bits,
    is_last: bool,
    elements: &[u8; ELEMENTS],
    distances: &[u8; DISTANCES],
    output: &mut [u8],
) {
    let used = |lengths: &[u8], least: usize| {
        lengths.iter().rposition(|length| *length > 0).map_or(least, |last| least.max(last + 1))
    };
    let (element_count, distance_count) = (used(elements, 257), used(distances, 1));
    let mut all = [0; ELEMENTS + DISTANCES];
    all[..element_count].copy_from_slice(&elements[..element_count]);
    all[element_count..element_count + distance_count]
        .copy_from_slice(&distances[..distance_count]);
    let mut runs = [Run::default(); ELEMENTS + DISTANCES];
    let run_count = find_runs(&all[..element_count + distance_count], &mut runs);
    let runs = &runs[..run_count];
    let mut times = [0; 19];
    for run in runs {
        times[run.symbol & 31] += 1;
    }
    let lengths = huffman::lengths(&times, 7);
    let codes = huffman::codes(&lengths);
    let last = ORDER.iter().rposition(|symbol| lengths[*symbol] > 0);
    let count = last.map_or(4, |last| (last + 1).max(4));
    bits.add(u64::from(is_last) | 0b10 << 1, 3);
    bits.add((element_count - 257) as u64, 5);
    bits.add((distance_count - 1) as u64, 5);
    bits.add((count - 4) as u64, 4);
    bits.write(output);
    for symbol in &ORDER[..count] {
        bits.add(lengths[*symbol].into(), 3);
        bits.write(output);
    }
    for run in runs {
        let code = codes[run.symbol];
        bits.add(code.bits.into(), code.length.into());
        bits.add(run.extra, run.extra_bits);
        bits.write(output);
    }
}

/// Lengths as they are written: one, or one again and again.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    symbol: usize,
    extra: u64,
    extra_bits: u32,
}

/// Finds the runs of `lengths`; gives how many there are, which is not more than there are lengths.
fn find_runs(lengths: &[u8], runs: &mut [Run]) -> usize {
    let mut count = 0;
    let mut push = |run| {
        runs[count] = run;
        count += 1;
    };
    for same in lengths.chunk_by(|one, other| one == other) {
        let length = same.first().copied().unwrap_or_default();
        let single = Run { symbol: length.into(), extra: 0, extra_bits: 0 };
        let mut left = same.len();
        if length > 0 {
            push(single);
            left -= 1;
        }
        while left > 0 {
            let (taken, run) = match (length, left) {
                (0, 11..) => {
                    let taken = left.min(138);
                    (taken, Run { symbol: 18, extra: (taken - 11) as u64, extra_bits: 7 })
                }
                (0, 3..) => (left, Run { symbol: 17, extra: (left - 3) as u64, extra_bits: 3 }),
                (_, 3..) => {
                    let taken = left.min(6);
                    (taken, Run { symbol: 16, extra: (taken - 3) as u64, extra_bits: 2 })
                }
                _ => (1, single),
            };
            push(run);
            left -= taken;
        }
    }
    count
}
