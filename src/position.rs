//! Where a line stands in its stream, and what the store remembers of a file.

use std::fmt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// How many of the first bytes of a file are hashed to know it again.
pub const PREFIX_BYTES_MAX: usize = 1024;

/// How many bytes just before a cursor are hashed to know that the file is still the same one.
pub const TAIL_BYTES_MAX: usize = 64;

/// The first 64 bits of the SHA-256 of `parts`, each preceded by its length so that no two
/// lists of parts hash alike.
pub fn hash64(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

/// Names one stream of lines in a fleet: the constant part of its event ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(pub u64);

impl fmt::Display for Origin {
    /// 16 hexadecimal digits.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// The id of the line at `position` as text.
pub fn event_id(origin: Origin, position: u64) -> String {
    format!("{origin}-{position}")
}

/// The stream and the position of an id that [`event_id`] has written; none of any other id.
pub fn parse_event_id(id: &str) -> Option<(Origin, u64)> {
    let (origin, position) = id.split_once('-')?;
    let parsed = (Origin(u64::from_str_radix(origin, 16).ok()?), position.parse().ok()?);
    (event_id(parsed.0, parsed.1) == id).then_some(parsed)
}

/// What the positions of a stream count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// A line's position is the offset of its first byte.
    ByteOffset,
    /// A line's position is its number, from 0.
    LineNumber,
}

/// What the file system says of a file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The device number. It may change when the machine restarts.
    pub device: u64,
    /// The inode number. It may be used again for another file.
    pub inode: u64,
    /// Birth time in nanoseconds since the epoch, where the file system keeps it.
    pub born_nanos: Option<i64>,
}

/// A hash over some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BytesHash {
    /// How many bytes were hashed.
    pub len: u32,
    /// [`hash64`] over them.
    pub hash: u64,
}

impl BytesHash {
    /// Hashes `bytes`, of which there are less than 4 GiB.
    pub fn of(bytes: &[u8]) -> Self {
        Self { len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), hash: hash64(&[bytes]) }
    }

    /// Whether `bytes` begin with what was hashed.
    pub fn is_start_of(self, bytes: &[u8]) -> bool {
        bytes.get(..self.len as usize).is_some_and(|start| Self::of(start) == self)
    }
}

/// A file as a chunk of its lines carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMark {
    /// Which file.
    pub identity: FileIdentity,
    /// Counts the truncations seen: content before and after one has nothing in common.
    pub generation: u32,
    /// Where it was when the chunk was read.
    pub path: PathBuf,
    /// Its first bytes, at most [`PREFIX_BYTES_MAX`], all of them before the end of the chunk.
    pub prefix: BytesHash,
    /// It is gone for good: its cursor is to be deleted.
    pub is_forgotten: bool,
    /// The bytes just before the end of the chunk, at most [`TAIL_BYTES_MAX`].
    pub tail: BytesHash,
    /// When it was last written to, as far as was seen.
    pub written_at: Timestamp,
    /// Of a compressed file: its size when it was read to its end, 0 before. None: it is plain.
    pub packed_bytes: Option<u64>,
}

/// How far a file has been read *and committed*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Which file, in which generation.
    pub file: FileMark,
    /// The constant part of the event ids of its lines.
    pub origin: Origin,
    /// The offset of the first byte that is not committed.
    pub offset: u64,
    /// The bytes just before `offset`, at most [`TAIL_BYTES_MAX`].
    pub tail: BytesHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_are_not_taken_apart() {
        for id in ["", "-", "C-1", "1-2", "00000000000000FE-120", "00000000000000fe-+1", "é-1"] {
            assert_eq!(parse_event_id(id), None, "{id}");
        }
    }

    #[test]
    fn the_border_between_parts_matters() {
        assert_ne!(hash64(&[b"ab", b"c"]), hash64(&[b"a", b"bc"]));
    }

    #[test]
    fn an_origin_has_sixteen_digits() {
        assert_eq!(Origin(0xab).to_string(), "00000000000000ab");
    }

    #[test]
    fn a_hash_knows_its_start_again() {
        let hash = BytesHash::of(b"abc");
        assert!(hash.is_start_of(b"abcdef"));
        assert!(!hash.is_start_of(b"ab"));
        assert!(!hash.is_start_of(b"abd"));
    }
}
