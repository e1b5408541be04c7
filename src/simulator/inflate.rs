//! Unpacks gzip bodies into a sink, block by block.
//!
//! Never holds more than one block, and stops at the limit: a bomb costs no memory and no more
//! time than an honest body of the largest size. The state of the decompressor is used again.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Bytes of one unpacked block: a core's second cache holds it while the sink reads it.
const BLOCK_BYTES: usize = 128 * 1024;

/// Why a body cannot be unpacked; `E` is what the sink said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error<E> {
    /// Not gzip, cut short, or damaged.
    #[error("the body is not gzip: {0}")]
    Damaged(&'static str),
    /// More bytes than the limit.
    #[error("the body unpacks to more than is allowed")]
    TooLarge,
    /// The sink wants no more.
    #[error("the unpacked body is refused")]
    Sink(E),
}

/// A decompressor and its block.
pub(super) struct Inflater {
    state: Decompress,
    block: Vec<u8>,
}

impl Inflater {
    /// A decompressor; about 170 KiB.
    pub(super) fn new() -> Self {
        Self { state: Decompress::new(false), block: vec![0; BLOCK_BYTES] }
    }

    /// Unpacks all members of `wire` into `sink`; returns the unpacked bytes, at most
    /// `payload_bytes_max`.
    pub(super) fn inflate<E>(
        &mut self,
        wire: &[u8],
        payload_bytes_max: usize,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, Error<E>> {
        let (mut rest, mut total) = (wire, 0);
        loop {
            rest = header(rest).ok_or(Error::Damaged("bad header"))?;
            rest = self.member(rest, &mut total, payload_bytes_max, &mut sink)?;
            if rest.is_empty() {
                return Ok(total);
            }
        }
    }

    /// Unpacks one member, its header already taken; returns what stands behind its trailer.
    fn member<'a, E>(
        &mut self,
        wire: &'a [u8],
        total: &mut usize,
        payload_bytes_max: usize,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<&'a [u8], Error<E>> {
        self.state.reset(false);
        let mut crc = Crc::new();
        let mut rest = wire;
        loop {
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(rest, &mut self.block, FlushDecompress::None)
                .map_err(|_| Error::Damaged("bad data"))?;
            let read = count(self.state.total_in() - read);
            let written = count(self.state.total_out() - written);
            rest = rest.get(read..).unwrap_or_default();
            let block = self.block.get(..written).unwrap_or_default();
            crc.update(block);
            *total += written;
            if *total > payload_bytes_max {
                return Err(Error::TooLarge);
            }
            sink(block).map_err(Error::Sink)?;
            match status {
                Status::StreamEnd => break,
                _ if read == 0 && written == 0 => return Err(Error::Damaged("cut short")),
                _ => {}
            }
        }
        let trailer = rest.split_first_chunk::<4>();
        let trailer = trailer.and_then(|(sum, rest)| Some((sum, rest.split_first_chunk::<4>()?)));
        let (sum, (length, behind)) = trailer.ok_or(Error::Damaged("no trailer"))?;
        if (u32::from_le_bytes(*sum), u32::from_le_bytes(*length)) != (crc.sum(), crc.amount()) {
            return Err(Error::Damaged("wrong checksum"));
        }
        Ok(behind)
    }
}

/// A difference of the decompressor's totals: at most the length of a slice.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Skips a member's header, RFC 1952 section 2.3.
fn header(wire: &[u8]) -> Option<&[u8]> {
    const CRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let (fixed, mut rest) = wire.split_first_chunk::<10>()?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return None };
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            rest = rest.get(memchr::memchr(0, rest)? + 1..)?;
        }
    }
    if flags & CRC != 0 { rest.get(2..) } else { Some(rest) }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};

    use super::*;

    fn gzip(payload: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(payload)?;
        encoder.finish()
    }

    fn inflate(wire: &[u8], payload_bytes_max: usize) -> Result<Vec<u8>, Error<()>> {
        let mut payload = Vec::new();
        let bytes = Inflater::new().inflate(wire, payload_bytes_max, |block| {
            payload.extend_from_slice(block);
            Ok(())
        })?;
        assert_eq!(bytes, payload.len());
        Ok(payload)
    }

    #[test]
    fn members_one_after_the_other_are_one_body() -> io::Result<()> {
        let payload = vec![b'x'; 3 * BLOCK_BYTES];
        let mut wire = gzip(&payload)?;
        wire.extend(gzip(b"end")?);
        let whole = inflate(&wire, 1 << 20);
        assert!(whole.is_ok_and(|whole| whole.len() == payload.len() + 3));
        Ok(())
    }

    #[test]
    fn a_header_with_every_optional_part_is_skipped() -> io::Result<()> {
        let builder = GzBuilder::new().filename("usage.json").comment("usage").extra(vec![1, 2]);
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(b"payload")?;
        assert_eq!(inflate(&encoder.finish()?, 7), Ok(b"payload".to_vec()));
        Ok(())
    }

    #[test]
    fn a_bomb_stops_at_the_limit() -> io::Result<()> {
        let wire = gzip(&vec![0; 8 << 20])?;
        let mut seen = 0;
        let stopped = Inflater::new().inflate(&wire, 1 << 20, |block| {
            seen += block.len();
            Ok::<(), ()>(())
        });
        assert_eq!(stopped, Err(Error::TooLarge));
        assert!(seen <= 1 << 20);
        Ok(())
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() -> io::Result<()> {
        let wire = gzip(b"some payload, some payload")?;
        for length in 0..wire.len() {
            assert!(matches!(inflate(&wire[..length], 100), Err(Error::Damaged(_))));
        }
        let mut flipped = wire.clone();
        if let Some(last) = flipped.last_mut() {
            *last ^= 1;
        }
        assert_eq!(inflate(&flipped, 100), Err(Error::Damaged("wrong checksum")));
        let mut trailing = wire;
        trailing.push(0);
        assert_eq!(inflate(&trailing, 100), Err(Error::Damaged("bad header")));
        Ok(())
    }
}
