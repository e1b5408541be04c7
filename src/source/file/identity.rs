//! Which file is which, whatever its name, and the origin of its lines.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use crate::position::{FileIdentity, Origin, PREFIX_BYTES_MAX, hash64};
use crate::source::Context;

/// What the file system says of a file.
pub(in crate::source) fn identity_of(metadata: &Metadata) -> FileIdentity {
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        born_nanos: born.and_then(|born| i64::try_from(born.as_nanos()).ok()),
    }
}

/// What two looks at one file agree on.
///
/// Device numbers may change when the machine restarts, so they count only where there is no
/// birth time to tell a file from an earlier one of the same inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::source) struct Key {
    /// First, so that all entries of one inode stand together.
    inode: u64,
    born_nanos: Option<i64>,
    device: Option<u64>,
}

impl Key {
    /// The smallest key of `inode`, and the largest: all its keys lie between the two.
    pub(in crate::source) fn range_of(inode: u64) -> std::ops::RangeInclusive<Self> {
        let first = Self { inode, born_nanos: None, device: None };
        let last = Self { inode, born_nanos: Some(i64::MAX), device: Some(u64::MAX) };
        first..=last
    }
}

impl From<FileIdentity> for Key {
    fn from(file: FileIdentity) -> Self {
        let device = if file.born_nanos.is_some() { None } else { Some(file.device) };
        Self { inode: file.inode, born_nanos: file.born_nanos, device }
    }
}

/// The origin of one generation of a file: the same after a crash before its first commit,
/// and another for every other content. `head` are its first bytes; its first line counts.
pub(in crate::source) fn origin_of(
    context: &Context,
    file: FileIdentity,
    generation: u32,
    head: &[u8],
) -> Origin {
    let head = head.get(..PREFIX_BYTES_MAX).unwrap_or(head);
    let first_line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let device = if file.born_nanos.is_some() { 0 } else { file.device };
    Origin(hash64(&[
        context.agent.as_bytes(),
        context.tag.name.as_bytes(),
        &device.to_le_bytes(),
        &file.inode.to_le_bytes(),
        &file.born_nanos.unwrap_or_default().to_le_bytes(),
        &generation.to_le_bytes(),
        first_line,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Bench;

    const FILE: FileIdentity = FileIdentity { device: 1, inode: 2, born_nanos: Some(3) };

    #[test]
    fn the_device_counts_only_without_a_birth_time() {
        let moved = FileIdentity { device: 9, ..FILE };
        assert_eq!(Key::from(FILE), Key::from(moved));
        let unborn = |file| FileIdentity { born_nanos: None, ..file };
        assert_ne!(Key::from(unborn(FILE)), Key::from(unborn(moved)));
        assert_ne!(Key::from(FILE), Key::from(FileIdentity { born_nanos: Some(4), ..FILE }));
    }

    #[test]
    fn all_keys_of_an_inode_lie_in_its_range() {
        let range = Key::range_of(2);
        assert!(range.contains(&FILE.into()));
        assert!(range.contains(&FileIdentity { born_nanos: None, ..FILE }.into()));
        assert!(!range.contains(&FileIdentity { inode: 3, ..FILE }.into()));
    }

    #[test]
    fn an_origin_depends_on_the_first_line_and_the_generation_only_not_on_what_follows() {
        let bench = Bench::new();
        let origin = |generation, head: &[u8]| origin_of(&bench.context, FILE, generation, head);
        assert_eq!(origin(0, b"a\n"), origin(0, b"a\nb\n"));
        assert_ne!(origin(0, b"a\n"), origin(1, b"a\n"));
        assert_ne!(origin(0, b"a\n"), origin(0, b"b\n"));
    }
}
