//! The one hand-over from sources to the stages behind them, bounded in bytes.
//!
//! A chunk's share is taken before it is sent and given back when its events are committed, so
//! the bound covers everything between a source and the store. A full intake makes the source
//! wait, and that is the whole back-pressure: a file is read later, a TCP window closes,
//! standard input blocks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::chunk::{Buffer, BufferPool, CHUNK_BYTES, Chunk, Content, Share};

/// What a chunk without lines costs, and what every chunk costs beside its bytes.
const CHUNK_OVERHEAD_BYTES: usize = 1024;

/// The chunk was not taken: sources have to end, or the stages behind the intake are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the intake is closed")]
pub struct Closed;

/// The sources' end. Cloned into every source; the stages end when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Intake {
    chunks: Sender<Chunk>,
    share: Arc<Semaphore>,
    bytes_max: Arc<AtomicU32>,
    pool: BufferPool,
    runtime: Handle,
    /// Where somebody waits for the end of what came in here: nothing is ever sent.
    trace: Option<mpsc::Sender<Infallible>>,
}

/// Sees the end of everything that one source hands over.
#[derive(Debug)]
pub struct Drained(mpsc::Receiver<Infallible>);

impl Drained {
    /// Returns when the source has ended, and all that it has handed over is committed or given up.
    pub async fn wait(mut self) {
        self.0.recv().await;
    }
}

/// The batcher's end.
#[derive(Debug)]
pub struct Outlet {
    /// Chunks in the order in which they were taken.
    pub chunks: Receiver<Chunk>,
    share: Arc<Semaphore>,
}

/// An intake that holds at most `bytes_max` bytes of chunks that are not committed.
///
/// `runtime` is where threads wait for room.
pub fn intake(bytes_max: u32, runtime: Handle) -> (Intake, Outlet) {
    // Unbounded in messages, because the shares bound it.
    let (chunks, outlet) = crossbeam_channel::unbounded();
    let share = Arc::new(Semaphore::new(bytes_max as usize));
    let pool = BufferPool::new(bytes_max as usize / CHUNK_BYTES + 1);
    let bytes_max = Arc::new(AtomicU32::new(bytes_max));
    let intake =
        Intake { chunks, share: Arc::clone(&share), bytes_max, pool, runtime, trace: None };
    (intake, Outlet { chunks: outlet, share })
}

impl Intake {
    /// The same intake for one source, and where the end of what comes from there is seen.
    pub fn traced(&self) -> (Self, Drained) {
        let (trace, drained) = mpsc::channel(1);
        (Self { trace: Some(trace), ..self.clone() }, Drained(drained))
    }

    /// Lets it hold `bytes_max` from now on. Less than before holds from the next start: what is
    /// larger than the whole intake could wait for ever.
    pub fn raise(&self, bytes_max: u32) {
        // Relaxed: who sees it late asks for less.
        let before = self.bytes_max.fetch_max(bytes_max, Ordering::Relaxed);
        self.share.add_permits(bytes_max.saturating_sub(before) as usize);
    }

    /// An empty buffer to read lines into.
    pub fn buffer(&self) -> Buffer {
        self.pool.take()
    }

    /// Hands `chunk` over; waits for room until `until` is cancelled.
    pub async fn send(&self, chunk: Chunk, until: &CancellationToken) -> Result<(), Closed> {
        let bytes = self.cost(&chunk);
        let permit = tokio::select! {
            // Room first: a chunk that fits is taken even while the agent is stopping.
            biased;
            permit = Arc::clone(&self.share).acquire_many_owned(bytes) => permit.map_err(|_| Closed)?,
            () = until.cancelled() => return Err(Closed),
        };
        let share = Share::new(permit, self.trace.clone());
        let chunk = Chunk { permit: Some(Arc::new(share)), ..chunk };
        self.chunks.send(chunk).map_err(|_| Closed)
    }

    /// Waits on the runtime as a thread outside of it.
    pub fn block_on<F: Future>(&self, waiting: F) -> F::Output {
        self.runtime.block_on(waiting)
    }

    /// The share that `chunk` takes; a chunk larger than the whole intake takes all of it.
    fn cost(&self, chunk: &Chunk) -> u32 {
        let bytes = match &chunk.content {
            Content::Lines(lines) => lines.len(),
            Content::Fault(fault) => fault.excerpt.len(),
        };
        u32::try_from(bytes + CHUNK_OVERHEAD_BYTES)
            .unwrap_or(u32::MAX)
            .min(self.bytes_max.load(Ordering::Relaxed))
    }
}

impl Outlet {
    /// Whether sources may be waiting for room: less than a full chunk is free.
    pub fn is_full(&self) -> bool {
        self.share.available_permits() < CHUNK_BYTES + CHUNK_OVERHEAD_BYTES
    }
}
