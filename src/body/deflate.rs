//! deflate (RFC 1951) for arrays of events, which are much like the ones before them.
//!
//! One look at one place for a repetition: at the distance of the last one, where the field of the
//! event before stands as long as lengths do not change, or else where the same five bytes stood last.
//! What is found is compared byte for byte, so nothing that was remembered can make a wrong body. Each
//! block has codes of its own, which are known when all of it was looked at.

mod bits;
mod head;

use super::huffman::{self, Code};
use bits::Bits;

/// How far back a repetition may lie.
pub(super) const WINDOW_BYTES: usize = 32 * 1024;

/// Bytes that a buffer must have behind the block, of any value.
pub(super) const PADDING_BYTES: usize = REPEAT_MAX + 8;

/// A token takes four bytes, and there may be one for each byte of a block: an event may have megabytes.
const BLOCK_BYTES_MAX: usize = 128 * 1024;

/// Shorter repetitions are not looked for.
const REPEAT_MIN: usize = 4;
/// The longest that deflate has.
const REPEAT_MAX: usize = 258;

/// 128 KiB of places stay in the cache of a core. With fewer, one hides another: with 13 bits a body took a
/// sixth longer.
const HASH_BITS: u32 = 15;

/// Symbols for bytes, the end of a block and lengths.
const ELEMENTS: usize = 286;
const END_OF_BLOCK: usize = 256;
const DISTANCES: usize = 30;

/// In the place of the symbol of a distance, in tokens of bytes: its code has no bits.
const NO_DISTANCE: u32 = 30;

/// A length as it is written.
#[derive(Debug, Clone, Copy)]
struct LengthSymbol {
    symbol: usize,
    extra_bits: u8,
    extra: u8,
}

/// By the length less 3.
const LENGTHS: [LengthSymbol; 256] = length_symbols();

const fn length_symbols() -> [LengthSymbol; 256] {
    let mut table = [LengthSymbol { symbol: 285, extra_bits: 0, extra: 0 }; 256];
    let (mut symbol, mut at) = (257, 0);
    while at < 255 {
        // Eight symbols without extra bits, then four for each number of them.
        let extra_bits = match symbol {
            ..=264 => 0,
            265..=268 => 1,
            269..=272 => 2,
            273..=276 => 3,
            277..=280 => 4,
            _ => 5,
        };
        let mut extra = 0;
        while extra < 1 << extra_bits && at < 255 {
            table[at] = LengthSymbol { symbol, extra_bits, extra };
            (at, extra) = (at + 1, extra + 1);
        }
        symbol += 1;
    }
    table
}

/// Compresses one stream after the other.
pub(super) struct Deflate {
    /// Where the five bytes of a hash stood last, as a position in the stream modulo 2^32.
    last_seen: Vec<u32>,
    /// What the block consists of: from the lowest bit on a byte or, from 256 on, a length less 3 in
    /// nine bits, the symbol of a distance in five, its extra bits.
    tokens: Vec<u32>,
    /// How often each byte and length occurs.
    elements: [u32; 512],
    /// How often each symbol of a distance occurs.
    distances: [u32; 32],
    /// The position in the stream of the first byte of the buffer, modulo 2^32.
    base: u32,
    bits: Bits,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            last_seen: vec![0; 1 << HASH_BITS],
            tokens: Vec::new(),
            elements: [0; 512],
            distances: [0; 32],
            base: 0,
            bits: Bits::default(),
        }
    }

    /// Begins a stream.
    pub(super) fn reset(&mut self) {
        self.last_seen.fill(0);
        self.base = 0;
        self.bits = Bits::default();
    }

    /// The buffer begins `bytes` later in the stream than before.
    pub(super) fn slide(&mut self, bytes: usize) {
        self.base = self.base.wrapping_add(low_bits(bytes));
    }

    /// Appends blocks of `buffer[from..to]` to `output`, at least one. What stands before them in the buffer
    /// was in the blocks before; behind them are [`PADDING_BYTES`].
    pub(super) fn append(
        &mut self,
        buffer: &[u8],
        (mut from, to): (usize, usize),
        is_last: bool,
        output: &mut Vec<u8>,
    ) {
        while to - from > BLOCK_BYTES_MAX {
            self.block(buffer, (from, from + BLOCK_BYTES_MAX), false, output);
            from += BLOCK_BYTES_MAX;
        }
        self.block(buffer, (from, to), is_last, output);
    }

    fn block(
        &mut self,
        buffer: &[u8],
        (from, to): (usize, usize),
        is_last: bool,
        output: &mut Vec<u8>,
    ) {
        self.find_repetitions(buffer, from, to);
        let mut elements = [0; ELEMENTS];
        elements[..256].copy_from_slice(&self.elements[..256]);
        for (count, length) in self.elements[256..].iter().zip(LENGTHS) {
            elements[length.symbol] += count;
        }
        elements[END_OF_BLOCK] = 1;
        let mut distances = [0; DISTANCES];
        distances.copy_from_slice(&self.distances[..DISTANCES]);
        let element_lengths = huffman::lengths(&elements, huffman::LENGTH_MAX);
        let distance_lengths = huffman::lengths(&distances, huffman::LENGTH_MAX);

        // At most: the head, an element with 5 more bits, a distance with 13.
        let size = |times: &[u32], lengths: &[u8], extra_bits: usize| -> usize {
            let pairs = times.iter().zip(lengths);
            pairs.map(|(times, length)| *times as usize * (usize::from(*length) + extra_bits)).sum()
        };
        let bits_max =
            size(&elements, &element_lengths, 5) + size(&distances, &distance_lengths, 13);
        self.bits.at = output.len();
        output.resize(output.len() + bits_max / 8 + head::BYTES_MAX, 0);
        head::write(&mut self.bits, is_last, &element_lengths, &distance_lengths, output);
        let codes = (huffman::codes(&element_lengths), huffman::codes(&distance_lengths));
        self.write_tokens(&codes.0, &codes.1, output);
        let end = codes.0[END_OF_BLOCK];
        self.bits.add(end.bits.into(), end.length.into());
        self.bits.write(output);
        if is_last {
            self.bits.count = self.bits.count.next_multiple_of(8);
            self.bits.write(output);
        }
        output.truncate(self.bits.at);
    }

    /// Makes tokens of `buffer[from..to]` and counts their parts.
    fn find_repetitions(&mut self, buffer: &[u8], from: usize, to: usize) {
        self.elements.fill(0);
        self.distances.fill(0);
        self.tokens.clear();
        self.tokens.reserve(to - from);
        let (mut at, mut last_distance) = (from, 0);
        let base = self.base;
        while at < to {
            let here = eight(buffer, at);
            let position = base.wrapping_add(low_bits(at));
            let seen = &mut self.last_seen[hash(here)];
            // What was never seen, or long ago, gives any distance: bytes are compared anyway.
            let since_seen = position.wrapping_sub(*seen) as usize;
            *seen = position;
            // Distances below 3 have symbols of another form: a run of a byte repeats at 4 as well.
            let since_seen = if since_seen < REPEAT_MIN { since_seen * 4 } else { since_seen };
            let next_four = (here & 0xffff_ffff) as u32;
            let goes_on = four(buffer, at.wrapping_sub(last_distance)) == next_four;
            let distance = if goes_on && last_distance > 0 { last_distance } else { since_seen };
            // From 1 on: 0 wraps.
            let is_repeated = distance.wrapping_sub(1) < WINDOW_BYTES.min(at)
                && four(buffer, at - distance) == next_four
                && at + REPEAT_MIN <= to;
            if !is_repeated {
                let byte = here.to_le_bytes()[0];
                self.elements[usize::from(byte)] += 1;
                self.tokens.push(NO_DISTANCE << 9 | u32::from(byte));
                at += 1;
                continue;
            }
            let length = repeated(buffer, at - distance, at).min(to - at);
            last_distance = distance;
            let element = (length - 3) & 0xff;
            let (symbol, extra) = distance_symbol(distance);
            self.elements[256 + element] += 1;
            self.distances[(symbol & 31) as usize] += 1;
            self.tokens.push(extra << 14 | symbol << 9 | 256 | low_bits(element));
            at += length;
        }
    }

    fn write_tokens(
        &mut self,
        elements: &[Code; ELEMENTS],
        distances: &[Code; DISTANCES],
        output: &mut [u8],
    ) {
        // With the extra bits of lengths, which are known; of distances their number is.
        let mut of_element = [(0_u32, 0_u32); 512];
        for (entry, code) in of_element.iter_mut().zip(&elements[..256]) {
            *entry = (code.bits.into(), code.length.into());
        }
        for (entry, length) in of_element[256..].iter_mut().zip(LENGTHS) {
            let code = elements[length.symbol];
            let bits = u32::from(code.bits) | u32::from(length.extra) << code.length;
            *entry = (bits, u32::from(code.length + length.extra_bits));
        }
        let mut of_distance = [(Code::default(), 0_u32); 32];
        for (symbol, (entry, code)) in (0_u32..).zip(of_distance.iter_mut().zip(distances)) {
            *entry = (*code, u32::from(code.length) + (symbol / 2).saturating_sub(1));
        }
        // A copy stays in registers. No branch: which token comes next cannot be foretold.
        let mut bits = self.bits;
        for token in &self.tokens {
            let (element, count) = of_element[(token & 0x1ff) as usize];
            bits.add(element.into(), count);
            let (code, count) = of_distance[(token >> 9 & 31) as usize];
            bits.add(u64::from(code.bits) | u64::from(token >> 14) << code.length, count);
            bits.write(output);
        }
        self.bits = bits;
    }
}

/// The symbol of a distance from 3 on, and its extra bits.
#[inline]
fn distance_symbol(distance: usize) -> (u32, u32) {
    let less = low_bits(distance - 1);
    let extra_bits = 30 - (less | 2).leading_zeros();
    (2 * extra_bits + 2 + (less >> extra_bits & 1), less & !(!0 << extra_bits))
}

/// How many bytes are the same from `one` and from `other` on, at most [`REPEAT_MAX`].
#[inline]
fn repeated(buffer: &[u8], one: usize, other: usize) -> usize {
    let mut length = 0;
    while length < REPEAT_MAX {
        let difference = eight(buffer, one + length) ^ eight(buffer, other + length);
        if difference != 0 {
            length += (difference.trailing_zeros() / 8) as usize;
            break;
        }
        length += 8;
    }
    length.min(REPEAT_MAX)
}

/// A number modulo 2^32.
#[inline]
fn low_bits(number: usize) -> u32 {
    (number as u64 & 0xffff_ffff) as u32
}

#[inline]
fn hash(eight: u64) -> usize {
    // Of the first five bytes, by a prime near the golden ratio of 64 bits.
    let mixed = (eight << 24).wrapping_mul(0x9e37_79b1_85eb_ca87);
    (mixed >> (64 - HASH_BITS)) as usize
}

#[inline]
fn eight(buffer: &[u8], at: usize) -> u64 {
    let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline]
fn four(buffer: &[u8], at: usize) -> u32 {
    let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
