//! One event a line over a connection, whatever carries it.
//!
//! Without acknowledgements nothing is ever written. A full intake stops the reading, and the
//! window or buffer of the connection makes the sender wait. Who says nothing holds no buffer; at
//! most sixteen connections hold one at a time and take turns in the order in which they asked, so
//! that memory does not grow with their number and nobody who is fast holds up the others.
//! The start of a line that is cut off by a disconnect, a time-out or a stop is a dead letter.

mod acknowledgements;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use self::acknowledgements::Acknowledgements;
use crate::chunk::{Buffer, CHUNK_BYTES};
use crate::intake::Closed;
use crate::source::Context;
use crate::source::listen::Socket;
use crate::source::stream::{Assembler, LastLine};

/// Connections that may hold a buffer of 256 KiB at one time, those that wait for room in the
/// intake included.
const READERS_MAX: usize = 16;

/// The settings of connections that carry lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A connection that completes no line for so long is closed.
    pub idle_timeout: Duration,
    /// A new connection that sends nothing for so long is closed.
    pub first_byte_timeout: Duration,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
    /// Whether the peer is told how many lines are durable.
    pub ack: bool,
}

/// What all connections of a source share.
pub(super) struct Server {
    settings: Settings,
    context: Context,
    readers: Semaphore,
}

/// Whether reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The peer may send more.
    Open,
    /// The peer closed, or the connection failed.
    Ended,
}

/// What one turn of reading came to.
struct Turn {
    state: State,
    /// Bytes that were read.
    bytes: usize,
    /// Whether a line was completed.
    has_lines: bool,
}

impl Server {
    /// For connections with `settings`.
    pub(super) fn new(settings: Settings, context: Context) -> Arc<Self> {
        Arc::new(Self { settings, context, readers: Semaphore::new(READERS_MAX) })
    }

    /// Attends `socket` until its end.
    pub(super) async fn attend(self: Arc<Self>, socket: Socket, peer: Arc<str>) {
        let mut assembler =
            Assembler::new(&self.context, peer.to_string(), self.settings.line_bytes_max);
        let acks = self.settings.ack.then(|| Acknowledgements::new(assembler.notify()));
        let connection = Connection { server: &self, socket, assembler, acks };
        if connection.serve().await == Err(Closed) {
            tracing::error!(%peer, "stopped before all that was received was stored");
        }
    }
}

struct Connection<'a> {
    server: &'a Server,
    socket: Socket,
    assembler: Assembler,
    acks: Option<Acknowledgements>,
}

impl<'a> Connection<'a> {
    /// Reads until the peer closes, says nothing for too long, or the agent stops.
    async fn serve(mut self) -> Result<(), Closed> {
        let stop = &self.server.context.stop;
        let settings = &self.server.settings;
        let mut deadline = Instant::now() + settings.first_byte_timeout;
        let mut has_begun = false;
        loop {
            tokio::select! {
                // A stop is looked at first, or a sender that never pauses would hide it.
                biased;
                () = stop.drain.cancelled() => {
                    self.drain().await?;
                    break;
                }
                // Before the reading, or a sender that never pauses would never hear.
                () = acknowledgements::due(&mut self.acks, &self.socket) => {
                    acknowledgements::write(&mut self.acks, &mut self.socket);
                    continue;
                }
                _ = self.socket.readable() => {}
                () = sleep_until(deadline) => break,
            }
            let turn = self.read().await?;
            if turn.state == State::Ended {
                break;
            }
            // Bytes alone keep nobody: a line that never ends would hold its place for ever.
            if turn.has_lines || (turn.bytes > 0 && !has_begun) {
                has_begun = true;
                deadline = Instant::now() + settings.idle_timeout;
            }
        }
        if let Some(ready) = self.assembler.finish(LastLine::Refuse) {
            ready.send(&self.server.context).await?;
        }
        let Self { server, mut socket, assembler, acks } = self;
        // Dropped, so that the notices under way are the only ones that can still speak.
        let lines = assembler.lines_ready();
        drop(assembler);
        if let Some(acks) = acks {
            let until = Instant::now() + server.settings.idle_timeout;
            acks.finish(&mut socket, lines, until, &server.context.stop.abandon).await;
        }
        socket.close().await;
        Ok(())
    }

    /// Reads what has come, up to a full buffer, and hands its whole lines over.
    async fn read(&mut self) -> Result<Turn, Closed> {
        let context = &self.server.context;
        let _reader = self.reader().await?;
        // Dropped before the next wait: that would be no work.
        let beat = context.pulse.beat();
        let mut buffer = self.assembler.begin(&context.intake);
        let before = buffer.len();
        let mut state = State::Open;
        // The start of a line may be as long as the buffers of others get: it is read on all the same.
        while state == State::Open && (buffer.len() == before || has_room(&buffer)) {
            match self.socket.receive(&mut buffer) {
                Ok(0) => state = State::Ended,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => state = State::Ended,
            }
        }
        drop(beat);
        let bytes = buffer.len() - before;
        let has_lines = self.hand_over(&mut buffer).await?;
        Ok(Turn { state, bytes, has_lines })
    }

    /// Reads what lies in the socket buffer now, and no more.
    async fn drain(&mut self) -> Result<(), Closed> {
        let mut left = self.socket.bytes_waiting();
        while left > 0 {
            let _reader = self.reader().await?;
            let mut buffer = self.assembler.begin(&self.server.context.intake);
            let read = self.socket.receive_waiting(&mut buffer).await.unwrap_or(0);
            self.hand_over(&mut buffer).await?;
            left = if read == 0 { 0 } else { left.saturating_sub(read as u64) };
        }
        Ok(())
    }

    /// The right to hold a buffer; given back when dropped.
    async fn reader(&self) -> Result<SemaphorePermit<'a>, Closed> {
        let server = self.server;
        tokio::select! {
            biased;
            permit = server.readers.acquire() => permit.map_err(|_| Closed),
            // Readers may wait for an intake that never has room again.
            () = server.context.stop.abandon.cancelled() => Err(Closed),
        }
    }

    /// Tells whether there was a whole line.
    async fn hand_over(&mut self, buffer: &mut Buffer) -> Result<bool, Closed> {
        let context = &self.server.context;
        let mut has_lines = false;
        while let Some(ready) = self.assembler.next_of(buffer, context) {
            ready.send(context).await?;
            has_lines = true;
        }
        self.assembler.end(buffer);
        Ok(has_lines)
    }
}

/// Whether another read is worth its call before the lines are handed over.
fn has_room(buffer: &Buffer) -> bool {
    buffer.len() < CHUNK_BYTES.min(buffer.capacity())
}
