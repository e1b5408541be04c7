//! The application of the demo: writes usage events to a log that it rotates, and a tenth of
//! them to a TCP connection. One line in ten thousand is wrong.

use std::fs::{File, rename};
use std::io::{self, BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crate::clock::Timestamp;
use crate::telemetry::Counter;

/// How often the log is rotated in the course of the demo.
const ROTATIONS: u64 = 5;

/// Every so many lines, one is no event.
const BAD_EVERY: u64 = 10_000;

/// An application at work.
#[derive(Debug)]
pub(super) struct Application {
    written: Arc<Written>,
    writers: Vec<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Written {
    good: Counter,
    bad: Counter,
    has_failed: AtomicBool,
}

impl Application {
    /// Writes `lines` lines: most to `usage.jsonl` in `directory`, the others to `address`.
    pub(super) fn start(directory: &Path, address: SocketAddr, lines: u64) -> io::Result<Self> {
        let over_network = lines / 10;
        let to_log = lines - over_network;
        let log = directory.join("usage.jsonl");
        let written = Arc::new(Written::default());
        let writers = vec![
            spawn("app-log", &written, move |written| write_log(&log, to_log, written))?,
            spawn("app-net", &written, move |written| {
                let mut connection = BufWriter::new(TcpStream::connect(address)?);
                (0..over_network)
                    .try_for_each(|number| write_line(&mut connection, number, written))?;
                connection.flush()
            })?,
        ];
        Ok(Self { written, writers })
    }

    /// Lines written so far.
    pub(super) fn generated(&self) -> u64 {
        self.written.good.value() + self.written.bad.value()
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn has_failed(&self) -> bool {
        // Relaxed: the error itself comes by joining the thread.
        self.written.has_failed.load(Ordering::Relaxed)
    }

    /// Waits for the writers; gives the good and the bad lines written.
    pub(super) fn finish(self) -> io::Result<(u64, u64)> {
        for writer in self.writers {
            writer.join().map_err(|_| io::Error::other("a writer panicked"))??;
        }
        Ok((self.written.good.value(), self.written.bad.value()))
    }
}

fn spawn(
    name: &str,
    written: &Arc<Written>,
    work: impl FnOnce(&Written) -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let written = Arc::clone(written);
    Builder::new().name(name.to_owned()).spawn(move || {
        let result = work(&written);
        written.has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    })
}

fn write_log(path: &Path, lines: u64, written: &Written) -> io::Result<()> {
    let mut log = BufWriter::new(File::create(path)?);
    let rotate_every = (lines / ROTATIONS).max(1);
    for number in 0..lines {
        write_line(&mut log, number, written)?;
        if number % rotate_every == rotate_every - 1 && number + 1 < lines {
            log.flush()?;
            let rotated = format!("{}.{}", path.display(), number / rotate_every + 1);
            rename(path, PathBuf::from(rotated))?;
            log = BufWriter::new(File::create(path)?);
        }
    }
    log.flush()
}

fn write_line(out: &mut impl Write, number: u64, written: &Written) -> io::Result<()> {
    if number % BAD_EVERY == BAD_EVERY / 2 {
        writeln!(out, "{{\"CustomerId\":\"CUST-1\",\"Quantity\":\"not a number\"}}")?;
        written.bad.add(1);
        return Ok(());
    }
    writeln!(
        out,
        "{{\"CustomerId\":\"CUST-{:05}\",\"UsageIdentifier\":\"api-calls\",\
         \"UsageDate\":\"{}\",\"Quantity\":{}.25}}",
        number % 5000,
        Timestamp::now(),
        number % 100 + 1,
    )?;
    written.good.add(1);
    Ok(())
}
