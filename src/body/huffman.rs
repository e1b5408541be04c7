//! Prefix codes for a block of deflate: short codes for what is frequent.
//!
//! The lengths of the codes are all that is written; who reads them makes the same codes of them
//! (RFC 1951, 3.2.2).

/// More symbols than any alphabet of deflate has.
const SYMBOLS_MAX: usize = 288;

/// The longest code that deflate has.
pub(super) const LENGTH_MAX: usize = 15;

/// A code as it is written, first bit lowest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) bits: u16,
    /// Bits of it; none: the symbol does not occur.
    pub(super) length: u8,
}

/// The codes of symbols whose codes have these lengths.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut counts = [0_u16; LENGTH_MAX + 1];
    for length in lengths.iter().filter(|length| **length > 0) {
        counts[usize::from(*length) & LENGTH_MAX] += 1;
    }
    let mut next = [0_u16; LENGTH_MAX + 1];
    let mut code = 0;
    for length in 1..=LENGTH_MAX {
        code = (code + counts[length - 1]) << 1;
        next[length] = code;
    }
    lengths.map(|length| {
        if length == 0 {
            return Code::default();
        }
        let next = &mut next[usize::from(length) & LENGTH_MAX];
        let bits = next.reverse_bits() >> (16 - length);
        *next += 1;
        Code { bits, length }
    })
}

/// Lengths of the best codes, none above `length_max`, for symbols of these frequencies. Symbols that
/// do not occur have none; there are always two that have, because readers want a complete code.
pub(super) fn lengths<const N: usize>(frequencies: &[u32; N], length_max: usize) -> [u8; N] {
    const { assert!(N >= 2 && N <= SYMBOLS_MAX) }
    let mut lengths = [0; N];
    let mut used = [(0, 0); SYMBOLS_MAX];
    let mut count = 0;
    for (symbol, frequency) in frequencies.iter().enumerate().filter(|(_, times)| **times > 0) {
        used[count] = (*frequency, symbol);
        count += 1;
    }
    let used = &mut used[..count];
    if let [] | [_] = used {
        let only = used.first().map_or(0, |(_, symbol)| *symbol);
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return lengths;
    }
    used.sort_unstable();
    let mut depths = [0; SYMBOLS_MAX];
    for (depth, (frequency, _)) in depths.iter_mut().zip(used.iter()) {
        *depth = *frequency;
    }
    let depths = &mut depths[..count];
    to_depths(depths);
    let mut counts = [0_u32; 33];
    for depth in depths.iter() {
        counts[(*depth as usize).min(length_max)] += 1;
    }
    make_complete(&mut counts, length_max);
    // The rarest have the longest codes.
    let mut rarest = used.iter();
    for length in (1..=length_max).rev() {
        for (_, symbol) in rarest.by_ref().take(counts[length] as usize) {
            // Fifteen at most.
            lengths[*symbol] = u8::try_from(length).unwrap_or_default();
        }
    }
    lengths
}

/// Replaces frequencies, two and more in rising order, by the depths of their leaves in the best tree.
/// In place, by A. Moffat and J. Katajainen, "In-place calculation of minimum-redundancy codes" (1995).
fn to_depths(nodes: &mut [u32]) {
    let count = nodes.len();
    // Inner nodes, in rising order: first each holds its weight, later the index of its parent.
    nodes[0] += nodes[1];
    let (mut root, mut leaf) = (0, 2);
    for next in 1..count - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf >= count || (root < next && nodes[root] < nodes[leaf]) {
                weight += nodes[root];
                nodes[root] = u32::try_from(next).unwrap_or_default();
                root += 1;
            } else {
                weight += nodes[leaf];
                leaf += 1;
            }
        }
        nodes[next] = weight;
    }
    nodes[count - 2] = 0;
    for next in (0..count - 2).rev() {
        nodes[next] = nodes[nodes[next] as usize] + 1;
    }
    // From the depths of inner nodes to those of leaves: what is not an inner node is one.
    let (mut inner, mut leaves) = (count - 1, count);
    let (mut depth, mut places) = (0, 1);
    while leaves > 0 {
        let before = inner;
        while inner > 0 && nodes[inner - 1] == depth {
            inner -= 1;
        }
        let here = before - inner;
        for _ in here..places {
            leaves -= 1;
            nodes[leaves] = depth;
        }
        places = 2 * here;
        depth += 1;
    }
}

/// Codes that were too long have been counted among the longest: makes room for them under those that
/// are shorter. `counts` has the codes of each length.
fn make_complete(counts: &mut [u32], length_max: usize) {
    // In units of the longest code, of which there is room for so many.
    let room = 1_u32 << length_max;
    let taken = |counts: &[u32]| -> u32 {
        (1..=length_max).map(|length| counts[length] << (length_max - length)).sum()
    };
    for _ in room..taken(counts).max(room) {
        // One of the longest and one that is shorter become a pair one bit longer than the latter.
        if let Some(shorter) = (1..length_max).rev().find(|length| counts[*length] > 0) {
            counts[shorter] -= 1;
            counts[shorter + 1] += 2;
            counts[length_max] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<const N: usize>(frequencies: [u32; N], length_max: usize, expected: [u8; N]) {
        assert_eq!(lengths(&frequencies, length_max), expected, "{frequencies:?}");
    }

    #[test]
    fn frequent_symbols_have_short_codes() {
        check([1, 1], 15, [1, 1]);
        check([0, 9, 0], 15, [1, 1, 0]);
        check([7, 0, 0], 15, [1, 1, 0]);
        check([0, 0, 0], 15, [1, 1, 0]);
        check([8, 1, 4, 2], 15, [1, 3, 2, 3]);
        check([8, 1, 4, 2], 2, [2, 2, 2, 2]);
        check([1, 1, 2, 3, 5, 8], 4, [4, 4, 4, 4, 2, 1]);
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]).map(|code| {
            let bits = code.bits.reverse_bits() >> (16 - code.length);
            format!("{bits:0width$b}", width = usize::from(code.length))
        });
        assert_eq!(codes, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }

    /// What all codes together take of a whole, in units of the longest that there may be.
    fn taken(lengths: &[u8]) -> u32 {
        lengths.iter().filter(|length| **length > 0).map(|length| 1 << (15 - length)).sum()
    }

    proptest! {
        #[test]
        fn codes_are_complete_whatever_the_frequencies(
            frequencies in prop::collection::vec(
                prop_oneof![Just(0), 1_u32..4, 1_u32..100_000], 286),
            length_max in 9_usize..=15,
        ) {
            let frequencies: [u32; 286] = frequencies.try_into().unwrap_or([0; 286]);
            let lengths = lengths(&frequencies, length_max);
            prop_assert_eq!(taken(&lengths), 1 << 15);
            prop_assert!(lengths.iter().all(|length| usize::from(*length) <= length_max));
            let is_fit = |(times, length): (&u32, &u8)| *times == 0 || *length > 0;
            prop_assert!(frequencies.iter().zip(&lengths).all(is_fit));
        }

        #[test]
        fn codes_are_complete_where_the_best_ones_would_be_too_long(count in 2_usize..40) {
            // Fibonacci's numbers: each code one bit longer than the one before.
            let mut frequencies = [0_u32; 286];
            let (mut one, mut other) = (1, 1);
            for frequency in &mut frequencies[..count] {
                *frequency = one;
                (one, other) = (other, one + other);
            }
            for length_max in [9, 15] {
                prop_assert_eq!(taken(&lengths(&frequencies, length_max)), 1 << 15);
            }
        }
    }
}
