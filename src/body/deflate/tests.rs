use super::*;
use proptest::prelude::*;
use std::io::Read;

/// `pieces` as a block each, as a writer of arrays has them.
fn compressed(deflate: &mut Deflate, pieces: &[Vec<u8>]) -> Vec<u8> {
    deflate.reset();
    let (mut buffer, mut output) = (Vec::new(), Vec::new());
    for (index, piece) in pieces.iter().enumerate() {
        let from = buffer.len();
        buffer.extend_from_slice(piece);
        let to = buffer.len();
        // What lies behind the block is of no account, whatever it is.
        buffer.extend_from_slice(&piece[..piece.len().min(PADDING_BYTES)]);
        buffer.resize(to + PADDING_BYTES, 0);
        deflate.append(&buffer, (from, to), index + 1 == pieces.len(), &mut output);
        buffer.truncate(to);
        let gone = to.saturating_sub(WINDOW_BYTES);
        buffer.drain(..gone);
        deflate.slide(gone);
    }
    output
}

fn check(pieces: &[Vec<u8>]) -> Result<usize, TestCaseError> {
    let mut deflate = Deflate::new();
    let output = compressed(&mut deflate, pieces);
    let mut read = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(output.as_slice());
    prop_assert!(reader.read_to_end(&mut read).is_ok());
    prop_assert!(read == pieces.concat());
    // All of it was needed, and a used one does the same.
    prop_assert_eq!(reader.total_in(), output.len() as u64);
    prop_assert!(compressed(&mut deflate, pieces) == output);
    Ok(output.len())
}

#[test]
fn edges_come_back() -> Result<(), TestCaseError> {
    let noise = |seed, count| -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| random.u8(..)).take(count).collect()
    };
    let window = noise(1, WINDOW_BYTES);
    for pieces in [
        vec![b"]".to_vec()],
        vec![vec![7; 4]],
        vec![vec![7; 300_000]],
        vec![b"ab".repeat(70_000), b"abc".repeat(50_000)],
        vec![(0..=255).collect(), Vec::new(), (0..=255).collect()],
        // The same bytes where the low bits of the position are the same.
        vec![b"once".to_vec(), noise(4, 65_528), b"more".to_vec(), b"once more".to_vec()],
        vec![noise(2, 200_000)],
        // The farthest that can be had, and one byte farther.
        vec![window.clone(), window.clone(), vec![0], window],
    ] {
        check(&pieces)?;
    }
    Ok(())
}

#[test]
fn a_piece_of_megabytes_takes_no_more_memory_than_a_block() {
    let mut random = fastrand::Rng::with_seed(5);
    let piece: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(3_000_000).collect();
    let mut deflate = Deflate::new();
    let output = compressed(&mut deflate, std::slice::from_ref(&piece));
    let mut read = Vec::new();
    let read_bytes = flate2::read::DeflateDecoder::new(output.as_slice()).read_to_end(&mut read);
    assert!(read_bytes.is_ok());
    assert!(read == piece);
    assert!(deflate.tokens.capacity() <= BLOCK_BYTES_MAX, "{}", deflate.tokens.capacity());
}

#[test]
fn each_length_and_each_distance_comes_back() -> Result<(), TestCaseError> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(40_000).collect();
    for length in 4..300 {
        let distance = random.usize(1..WINDOW_BYTES);
        let from = bytes.len() - distance;
        (0..length).for_each(|index| bytes.push(bytes[from + index]));
        bytes.push(random.u8(..));
    }
    for distance in (1..200).chain((200..=WINDOW_BYTES).step_by(61)) {
        let from = bytes.len() - distance;
        (0..8).for_each(|index| bytes.push(bytes[from + index]));
        bytes.push(random.u8(..));
    }
    check(&bytes.chunks(64 * 1024).map(<[u8]>::to_vec).collect::<Vec<_>>())?;
    Ok(())
}

proptest! {
    #[test]
    fn whatever_is_written_comes_back(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            prop::collection::vec(b'a'..b'd', 0..3000),
            (prop::collection::vec(any::<u8>(), 1..40), 1_usize..200).prop_map(
                |(unit, times)| unit.repeat(times)),
        ], 1..6),
    ) {
        check(&pieces)?;
    }

    #[test]
    fn events_come_back_and_become_small(seed: u64, count in 100_usize..3000) {
        let mut random = fastrand::Rng::with_seed(seed);
        let events: Vec<u8> = (0..count).flat_map(|index| {
            let (customer, quantity) = (random.u32(0..100_000), random.u32(1..1000));
            format!(
                "{{\"CustomerId\":\"C-{customer:06}\",\"UsageDate\":\"2026-11-21T10:{:02}:{:02}Z\",                     \"Quantity\":{quantity},\"EventId\":\"0123456789abcdef-{}\"}},",
                index / 60 % 60, index % 60, index * 130,
            ).into_bytes()
        }).collect();
        let size = check(&events.chunks(64 * 1024).map(<[u8]>::to_vec).collect::<Vec<_>>())?;
        prop_assert!(size < events.len() / 4, "{} of {}", size, events.len());
    }
}
