//! What is in an open file: its bytes, or those that it was compressed from.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::source::file::archive::{Archive, End};
use crate::source::file::bytes::ReadAt;

/// An open file. Offsets count bytes that are not compressed.
pub(in crate::source) enum FileContent {
    Plain(File),
    Packed(Box<Archive>),
}

impl FileContent {
    /// Opens the file at `path`.
    pub(in crate::source) fn open(path: &Path) -> io::Result<Self> {
        Self::of(open(path)?)
    }

    /// Takes an open regular file.
    pub(in crate::source) fn of(file: File) -> io::Result<Self> {
        Ok(match Archive::of(file)? {
            Ok(archive) => Self::Packed(Box::new(archive)),
            Err(file) => Self::Plain(file),
        })
    }

    /// What the file system says of it.
    pub(in crate::source) fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Self::Plain(file) => file.metadata(),
            Self::Packed(archive) => archive.file().metadata(),
        }
    }

    /// Whether it is compressed.
    pub(in crate::source) fn is_packed(&self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// Bytes on the disk behind which `offset` was reached.
    pub(in crate::source) fn bytes_taken(&self, offset: u64) -> u64 {
        match self {
            Self::Plain(_) => offset,
            Self::Packed(archive) => archive.bytes_taken(),
        }
    }

    /// Why a compressed file has no more bytes; none while it may have, and of plain files.
    pub(in crate::source) fn end(&self) -> Option<End> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(archive) => archive.end(),
        }
    }
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(if self.is_packed() { "Packed" } else { "Plain" })
    }
}

impl ReadAt for FileContent {
    fn append_at(&self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.append_at(offset, buffer),
            Self::Packed(archive) => archive.append_at(offset, buffer),
        }
    }
}

/// Opens a file for reading; does not wait should there be a pipe of that name.
pub(in crate::source) fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
