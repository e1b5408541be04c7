//! Reads of a file at given offsets, and the last bytes of things.

use std::fs::File;
use std::io;

use memchr::{memchr, memrchr};
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use crate::chunk::CHUNK_BYTES;
use crate::position::{PREFIX_BYTES_MAX, TAIL_BYTES_MAX};

/// Something with bytes at offsets.
pub(in crate::source) trait ReadAt {
    /// Appends bytes from `offset` on to `buffer`, as many as it has room for or come at once;
    /// gives their number, 0 at the end.
    fn append_at(&self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<usize>;
}

impl ReadAt for File {
    fn append_at(&self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        Ok(retry_on_intr(|| pread(self, spare_capacity(buffer), offset))?)
    }
}

/// The last bytes of `bytes`, as many as a cursor's tail has.
pub(in crate::source) fn last_bytes(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or(bytes)
}

/// The bytes of `file` just before `end`, as many as a cursor's tail has.
pub(super) fn read_before(file: &impl ReadAt, end: u64) -> io::Result<Vec<u8>> {
    let start = end.saturating_sub(TAIL_BYTES_MAX as u64);
    read_at(file, start, usize::try_from(end - start).unwrap_or(TAIL_BYTES_MAX))
}

/// At most `bytes_max` bytes of `file` from `offset` on; fewer only at its end.
pub(in crate::source) fn read_at(
    file: &impl ReadAt,
    offset: u64,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(bytes_max);
    while bytes.len() < bytes_max && file.append_at(offset + bytes.len() as u64, &mut bytes)? > 0 {}
    bytes.truncate(bytes_max);
    Ok(bytes)
}

/// The first line of `file` without its end; none when it is longer than `line_bytes_max`.
pub(super) fn first_line(file: &impl ReadAt, line_bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    // Nearly every header is short.
    for bytes_max in [PREFIX_BYTES_MAX, line_bytes_max.saturating_add(1)] {
        let mut start = read_at(file, 0, bytes_max)?;
        let end = memchr(b'\n', &start);
        if end.is_some() || start.len() < bytes_max {
            start.truncate(end.unwrap_or(start.len()));
            return Ok(Some(start).filter(|line| line.len() <= line_bytes_max));
        }
    }
    Ok(None)
}

/// The offset behind the last line end in `file`.
pub(super) fn end_of_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        let wanted = usize::try_from(end - start).unwrap_or(CHUNK_BYTES);
        if let Some(last) = memrchr(b'\n', &read_at(file, start, wanted)?) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_end_of_the_lines_is_found_however_long_the_last_one_is() -> io::Result<()> {
        let rows = [("", 0, 0), ("ab", 0, 0), ("a\n", 0, 2), ("a\n", 3 * CHUNK_BYTES + 7, 2)];
        for (lines, unfinished, expected) in rows {
            let mut file = tempfile::tempfile()?;
            file.write_all(lines.as_bytes())?;
            file.write_all(&vec![b'x'; unfinished])?;
            assert_eq!(end_of_lines(&file)?, expected);
        }
        Ok(())
    }

    #[test]
    fn the_first_line_is_found_unless_it_is_too_long() -> io::Result<()> {
        let rows = [("", Some(0)), ("ab", Some(2)), ("ab\r\nc", Some(3))];
        for (text, expected) in rows {
            let mut file = tempfile::tempfile()?;
            file.write_all(text.as_bytes())?;
            assert_eq!(first_line(&file, 10)?.map(|line| line.len()), expected, "{text}");
        }
        for (length, expected) in [(5000, Some(5000)), (5001, None), (9000, None)] {
            let mut file = tempfile::tempfile()?;
            file.write_all(&vec![b'x'; length])?;
            file.write_all(b"\ny")?;
            assert_eq!(first_line(&file, 5000)?.map(|line| line.len()), expected);
        }
        Ok(())
    }

    #[test]
    fn bytes_are_read_up_to_the_end_of_the_file() -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"0123456789")?;
        assert_eq!(read_at(&file, 8, 5)?, b"89");
        assert_eq!(read_at(&file, 20, 5)?, b"");
        assert_eq!(read_before(&file, 3)?, b"012");
        Ok(())
    }
}
