//! Reads a gzip file as the bytes that it was made of. A file may hold several gzip members.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::chunk::{Buffer, CHUNK_BYTES};
use crate::position::{BytesHash, PREFIX_BYTES_MAX};
use crate::source::file::identity::origin_of;
use crate::source::file::place::Place;
use crate::source::once::{Failure, Run, stream_of};
use crate::source::ready::Ready;
use crate::source::stream::{Assembler, LastLine};

/// Decompressed bytes in order, the first of which are remembered.
struct Content<'a> {
    decoder: MultiGzDecoder<BufReader<&'a File>>,
    head: Vec<u8>,
    /// Its first line, as far as it was read.
    first_line: Vec<u8>,
    line_bytes_max: usize,
}

impl<'a> Content<'a> {
    fn of(mut file: &'a File, line_bytes_max: usize) -> io::Result<Self> {
        file.rewind()?;
        let decoder = MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES / 4, file));
        Ok(Self { decoder, head: Vec::new(), first_line: Vec::new(), line_bytes_max })
    }

    /// Appends up to `bytes_max` bytes to `buffer`; fewer only at the end.
    fn read(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> io::Result<usize> {
        let before = buffer.len();
        self.decoder.by_ref().take(bytes_max as u64).read_to_end(buffer)?;
        let read = buffer.get(before..).unwrap_or_default();
        let room = PREFIX_BYTES_MAX - self.head.len();
        self.head.extend(read.iter().take(room));
        if self.first_line.len() <= self.line_bytes_max && !self.first_line.ends_with(b"\n") {
            let end = memchr::memchr(b'\n', read).map_or(read.len(), |end| end + 1);
            self.first_line.extend_from_slice(read.get(..end).unwrap_or_default());
        }
        Ok(read.len())
    }

    /// Reads up to `place` and fills `buffer` with what follows. False when this is not the
    /// content that `place` was read of.
    fn resume(&mut self, place: &mut Place, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let wanted = place.bytes_before();
        let mut before = Vec::with_capacity(CHUNK_BYTES);
        let mut left = place.offset;
        while left > 0 {
            // The bytes just before the place may come from two reads.
            before.drain(..before.len().saturating_sub(wanted));
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES / 2);
            let read = self.read(&mut before, most)?;
            if read == 0 {
                return Ok(false);
            }
            left -= read as u64;
        }
        self.read(buffer, CHUNK_BYTES)?;
        let before = before.get(before.len().saturating_sub(wanted)..).unwrap_or_default();
        Ok(place.tail_is(before) && place.prefix.is_start_of(&self.head))
    }
}

impl Run<'_> {
    /// Reads the gzip file at `path` from `place` to its end.
    pub(super) fn decompress(
        &mut self,
        path: &Path,
        file: &File,
        place: &mut Place,
    ) -> Result<(), Failure> {
        let intake = &self.context.intake;
        let mut buffer = intake.buffer();
        let mut content = Content::of(file, self.line_bytes_max)?;
        if !content.resume(place, &mut buffer)? {
            *place = place.next_generation();
            content = Content::of(file, self.line_bytes_max)?;
            buffer.clear();
            content.read(&mut buffer, CHUNK_BYTES)?;
        }
        let (identity, generation) = (place.identity, place.generation);
        let origin = || origin_of(self.context, identity, generation, &content.head);
        place.origin.get_or_insert_with(origin);
        let stream = stream_of(place, path, self.context);
        let is_short = content.first_line.len() <= self.line_bytes_max + 1;
        if stream.has_header() && place.offset > 0 && is_short {
            stream.learn_header(&content.first_line);
        }
        let mut assembler = Assembler::at(place.offset, stream, self.line_bytes_max);
        loop {
            self.hand_over(path, place, &content, &mut assembler, &mut buffer)?;
            buffer = assembler.begin(intake);
            let room = buffer.capacity() - buffer.len();
            if content.read(&mut buffer, room)? == 0 {
                break;
            }
        }
        assembler.end(&buffer);
        match assembler.finish(LastLine::Keep) {
            Some(ready) => self.send_ready(path, place, &content, ready),
            None => Ok(()),
        }
    }

    fn hand_over(
        &mut self,
        path: &Path,
        place: &mut Place,
        content: &Content<'_>,
        assembler: &mut Assembler,
        buffer: &mut Buffer,
    ) -> Result<(), Failure> {
        while let Some(ready) = assembler.next(buffer, &self.context.intake) {
            self.send_ready(path, place, content, ready)?;
        }
        assembler.end(buffer);
        Ok(())
    }

    fn send_ready(
        &mut self,
        path: &Path,
        place: &mut Place,
        content: &Content<'_>,
        mut ready: Ready,
    ) -> Result<(), Failure> {
        let end = usize::try_from(ready.chunk.end).unwrap_or(usize::MAX);
        let head = content.head.get(..end).unwrap_or(&content.head);
        if head.len() > place.prefix.len as usize {
            place.prefix = BytesHash::of(head);
        }
        (place.offset, place.tail) = (ready.chunk.end, ready.chunk.tail_at(ready.chunk.end));
        ready.chunk.file = Some(place.mark(path.to_owned()));
        let (lines, bytes) = (ready.lines, ready.bytes);
        ready.send_blocking(self.context, &self.context.stop.drain)?;
        self.count(lines, bytes);
        if self.context.stop.is_draining() { Err(Failure::Closed) } else { Ok(()) }
    }
}
