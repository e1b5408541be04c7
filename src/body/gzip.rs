//! The gzip stream (RFC 1952) of a body: by our own deflate for the fast levels, by zlib-rs for the others.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::Error;
use super::deflate::{Deflate, PADDING_BYTES, WINDOW_BYTES};

/// The highest level that is ours.
const OWN_LEVEL_MAX: u32 = 2;

/// By how much the output grows when it is full.
const OUTPUT_STEP_BYTES: usize = 64 * 1024;

/// 15 bits: the largest window that gzip has.
const WINDOW_BITS: u8 = 15;

/// No name, no time; made for speed, on no system that anybody has to know.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Compresses one stream after the other.
pub(super) enum Gzip {
    Own { deflate: Box<Deflate>, checksum: crc32fast::Hasher, bytes: u32 },
    Zlib(Compress),
}

impl Gzip {
    /// At `level` 1 to 9.
    pub(super) fn new(level: u32) -> Self {
        if level > OWN_LEVEL_MAX {
            return Self::Zlib(Compress::new_gzip(Compression::new(level), WINDOW_BITS));
        }
        let deflate = Box::new(Deflate::new());
        Self::Own { deflate, checksum: crc32fast::Hasher::new(), bytes: 0 }
    }

    /// Begins a stream in `output`, which is empty.
    pub(super) fn begin(&mut self, output: &mut Vec<u8>) {
        match self {
            Self::Own { deflate, checksum, bytes } => {
                deflate.reset();
                checksum.reset();
                *bytes = 0;
                output.extend_from_slice(&HEAD);
            }
            Self::Zlib(compress) => compress.reset(),
        }
    }

    /// Appends what is behind the first `done` bytes of `buffer`, which are those that the last call left
    /// there. Leaves what later calls have to see.
    pub(super) fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        done: usize,
        is_last: bool,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Self::Own { deflate, checksum, bytes } => {
                let piece = buffer.get(done..).unwrap_or_default();
                checksum.update(piece);
                // The standard counts modulo 2^32.
                *bytes = bytes.wrapping_add((piece.len() as u64 & 0xffff_ffff) as u32);
                let end = buffer.len();
                buffer.resize(end + PADDING_BYTES, 0);
                deflate.append(buffer, (done, end), is_last, output);
                let gone = end.saturating_sub(WINDOW_BYTES);
                buffer.copy_within(gone..end, 0);
                buffer.truncate(end - gone);
                deflate.slide(gone);
                if is_last {
                    output.extend_from_slice(&checksum.clone().finalize().to_le_bytes());
                    output.extend_from_slice(&bytes.to_le_bytes());
                }
                Ok(())
            }
            Self::Zlib(compress) => {
                append_by_zlib(compress, buffer, output)?;
                buffer.clear();
                if is_last { finish_by_zlib(compress, output) } else { Ok(()) }
            }
        }
    }
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Own { .. } => "Gzip::Own",
            Self::Zlib(_) => "Gzip::Zlib",
        })
    }
}

fn append_by_zlib(
    compress: &mut Compress,
    mut rest: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    while !rest.is_empty() {
        if output.capacity() - output.len() < OUTPUT_STEP_BYTES / 4 {
            output.reserve(OUTPUT_STEP_BYTES);
        }
        let before = compress.total_in();
        compress.compress_vec(rest, output, FlushCompress::None)?;
        let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(())
}

fn finish_by_zlib(compress: &mut Compress, output: &mut Vec<u8>) -> Result<(), Error> {
    loop {
        output.reserve(OUTPUT_STEP_BYTES);
        if compress.compress_vec(&[], output, FlushCompress::Finish)? == Status::StreamEnd {
            return Ok(());
        }
    }
}
