//! Reads standard input to its end.
//!
//! Lines are handed over as soon as no more input is ready, so a slow writer's line is never
//! held back, and 256 KiB at a time when it comes fast. A full intake leaves the input in the
//! pipe: the writer waits. A last line without an end is a line when the input has ended, and
//! a dead letter when a stop cut it off.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, retry_on_intr};

use crate::chunk::{Buffer, CHUNK_BYTES};
use crate::intake::Closed;
use crate::source::Context;
use crate::source::stream::{Assembler, LastLine, bytes_waiting};

/// What a poll that must not wait is given.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The settings of the standard input source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
}

/// Why standard input could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to wait for input.
    #[error("cannot wait for standard input")]
    Wait(#[source] io::Error),
    /// The system refused to read.
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    /// The stages behind the source ended before it did.
    #[error("the intake closed before standard input ended")]
    Closed,
}

/// Reads standard input until it ends or the agent stops. Blocks: call it on a thread.
pub fn run(settings: &Settings, context: &Context) -> Result<(), Error> {
    read_stream(rustix::stdio::stdin(), "stdin", settings, context)
}

/// [`run`] for any file descriptor.
pub fn read_stream(
    input: impl AsFd,
    label: &str,
    settings: &Settings,
    context: &Context,
) -> Result<(), Error> {
    let assembler = Assembler::new(context, label.to_owned(), settings.line_bytes_max);
    let mut reader = Reader { input: input.as_fd(), context, assembler };
    match reader.run() {
        Ok(last) => reader.finish(last),
        Err(Failure::Error(error)) => {
            // What was read is an event or a dead letter even when the rest cannot be had.
            reader.finish(LastLine::Refuse)?;
            Err(error)
        }
        Err(Failure::Closed) => reader.closed(),
    }
}

struct Reader<'a> {
    input: BorrowedFd<'a>,
    context: &'a Context,
    assembler: Assembler,
}

enum Failure {
    Error(Error),
    Closed,
}

impl From<Closed> for Failure {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Reader<'_> {
    /// Reads until the end of the input or a stop.
    fn run(&mut self) -> Result<LastLine, Failure> {
        while self.wait()? {
            let _beat = self.context.pulse.beat();
            if !self.fill(u64::MAX)?.1 {
                return Ok(LastLine::Keep);
            }
        }
        let mut left = bytes_waiting(self.input);
        while left > 0 && self.is_ready()? {
            let (bytes, open) = self.fill(left)?;
            if !open {
                return Ok(LastLine::Keep);
            }
            left = left.saturating_sub(bytes);
        }
        Ok(LastLine::Refuse)
    }

    /// Waits for input; false when a stop came first.
    fn wait(&self) -> Result<bool, Error> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.input, PollFlags::IN),
            PollFd::from_borrowed_fd(self.context.stop.wake_fd(), PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut fds, None)).map_err(|error| Error::Wait(error.into()))?;
        Ok(!self.context.stop.is_draining())
    }

    fn is_ready(&self) -> Result<bool, Error> {
        let mut fds = [PollFd::from_borrowed_fd(self.input, PollFlags::IN)];
        let ready = retry_on_intr(|| poll(&mut fds, Some(&AT_ONCE)));
        ready.map(|ready| ready > 0).map_err(|error| Error::Wait(error.into()))
    }

    /// Reads while input is ready, until the buffer is full or `bytes_max` were read, and hands
    /// the whole lines over. Tells how many bytes it read and whether the input is still open.
    fn fill(&mut self, bytes_max: u64) -> Result<(u64, bool), Failure> {
        let mut buffer = self.assembler.begin(&self.context.intake);
        let (mut bytes, mut open) = (0, true);
        let mut failure = None;
        loop {
            match retry_on_intr(|| read(self.input, spare_capacity(&mut buffer))) {
                Ok(0) => open = false,
                Ok(read) => bytes += read as u64,
                Err(Errno::AGAIN) => {}
                Err(errno) => failure = Some(Error::Read(errno.into())),
            }
            let full = buffer.len() >= CHUNK_BYTES.min(buffer.capacity());
            if !open || full || bytes >= bytes_max || failure.is_some() {
                break;
            }
            // Whatever is wrong with waiting shows when there is nothing else to do.
            if !self.is_ready().unwrap_or(false) {
                break;
            }
        }
        self.hand_over(&mut buffer)?;
        failure.map_or(Ok((bytes, open)), |error| Err(error.into()))
    }

    fn hand_over(&mut self, buffer: &mut Buffer) -> Result<(), Closed> {
        while let Some(ready) = self.assembler.next(buffer, &self.context.intake) {
            ready.send_blocking(self.context, &self.context.stop.abandon)?;
        }
        self.assembler.end(buffer);
        Ok(())
    }

    fn finish(&mut self, last: LastLine) -> Result<(), Error> {
        let sent = self
            .assembler
            .finish(last)
            .map(|ready| ready.send_blocking(self.context, &self.context.stop.abandon));
        if sent == Some(Err(Closed)) { self.closed() } else { Ok(()) }
    }

    /// The intake took nothing more: in order only when the grace period is over.
    fn closed(&self) -> Result<(), Error> {
        if self.context.stop.abandon.is_cancelled() {
            tracing::error!(source = %self.context.tag.name, "stopped before all input was stored");
            return Ok(());
        }
        Err(Error::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::Reason;
    use crate::source::testing::{Bench, Event};
    use std::io::Write;
    use std::thread;

    const SETTINGS: Settings = Settings { line_bytes_max: 1 << 20 };

    fn next(bench: &Bench) -> Vec<Event> {
        let wait = std::time::Duration::from_secs(20);
        bench.outlet.chunks.recv_timeout(wait).map(|chunk| Event::of(&chunk)).expect("a chunk")
    }

    #[test]
    fn the_end_of_the_input_ends_the_last_line() -> io::Result<()> {
        let bench = Bench::new();
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"a\nb\nc")?;
        drop(writer);
        read_stream(reader, "stdin", &SETTINGS, &bench.context).expect("read");
        assert_eq!(next(&bench), [Event::line(0, "a"), Event::line(1, "b")]);
        assert_eq!(next(&bench), [Event::line(2, "c")]);
        assert_eq!(bench.context.tag.counters.lines_read.value(), 3);
        assert_eq!(bench.context.tag.counters.bytes_read.value(), 5);
        Ok(())
    }

    #[test]
    fn a_slow_writers_line_is_not_held_back() -> io::Result<()> {
        let bench = Bench::new();
        let (reader, mut writer) = io::pipe()?;
        let context = bench.context.clone();
        let source = thread::spawn(move || read_stream(reader, "stdin", &SETTINGS, &context));
        for number in 0..3 {
            writer.write_all(b"line\nhal")?;
            assert_eq!(next(&bench).len(), 1, "line {number}");
            writer.write_all(b"f\n")?;
            assert_eq!(next(&bench).len(), 1);
        }
        drop(writer);
        source.join().expect("no panic").expect("read");
        Ok(())
    }

    #[test]
    fn a_stop_reads_what_lies_in_the_pipe_and_refuses_half_a_line() -> io::Result<()> {
        let mut bench = Bench::new();
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"a\nb\nhal")?;
        bench.stopper.drain();
        read_stream(reader, "stdin", &SETTINGS, &bench.context).expect("read");
        assert_eq!(next(&bench), [Event::line(0, "a"), Event::line(1, "b")]);
        assert_eq!(next(&bench), [Event::fault(2, Reason::PartialLine, 3, "hal")]);
        Ok(())
    }

    #[test]
    fn a_lot_of_input_comes_in_large_chunks_and_whole() -> io::Result<()> {
        let bench = Bench::new();
        let (reader, mut writer) = io::pipe()?;
        let input = thread::spawn(move || {
            let long = "x".repeat(600_000);
            for number in 0..50_000 {
                writeln!(writer, "{number}").expect("written");
            }
            writeln!(writer, "{long}").expect("written");
            writeln!(writer, "{long}{long}").expect("written");
        });
        read_stream(reader, "stdin", &SETTINGS, &bench.context).expect("read");
        input.join().expect("no panic");
        let chunks: Vec<_> = bench.outlet.chunks.try_iter().collect();
        let events: Vec<Event> = chunks.iter().flat_map(Event::of).collect();
        assert_eq!(events.len(), 50_002);
        assert!(events.iter().take(50_000).all(|event| event.text == event.position.to_string()));
        assert_eq!(events[50_000].text.len(), 600_000);
        assert_eq!(events[50_001].fault, Some((Reason::LineTooLong, 1_200_000)));
        Ok(())
    }
}
