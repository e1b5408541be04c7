//! Tells a peer how many of its lines are durable: `{"durable":1234}`, a JSON object a line.
//!
//! The number counts all lines since the connection began, dead letters and blank lines included,
//! and only rises. A peer that does not read misses numbers and is told the newest one when it
//! does: at most one line waits to be written, whatever the peer does.

use std::io;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::source::listen::Socket;

/// What one connection's peer was told, and what is to be told.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    durable: watch::Receiver<u64>,
    /// What has not been written of the last line.
    waiting: Vec<u8>,
    /// Nobody reads, or nobody speaks.
    has_ended: bool,
}

/// Waits until there is something to tell and room to write it; for ever without acknowledgements.
pub(super) async fn due(acks: &mut Option<Acknowledgements>, socket: &Socket) {
    match acks {
        Some(acks) if !acks.has_ended => acks.due(socket).await,
        _ => std::future::pending().await,
    }
}

/// Writes what [`due`] has announced.
pub(super) fn write(acks: &mut Option<Acknowledgements>, socket: &mut Socket) {
    if let Some(acks) = acks {
        acks.write(socket);
    }
}

impl Acknowledgements {
    pub(super) fn new(durable: watch::Receiver<u64>) -> Self {
        Self { durable, waiting: Vec::new(), has_ended: false }
    }

    async fn due(&mut self, socket: &Socket) {
        if self.waiting.is_empty() && !socket.has_unsent() {
            if self.durable.changed().await.is_err() {
                self.has_ended = true;
                return;
            }
            let durable = *self.durable.borrow_and_update();
            self.waiting = format!("{{\"durable\":{durable}}}\n").into_bytes();
        }
        // What is wrong with the socket shows in the write.
        let _ = socket.writable().await;
    }

    fn write(&mut self, socket: &mut Socket) {
        match socket.send(&self.waiting) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.has_ended = true,
        }
    }

    /// Tells of what is still under way when nothing more will be read: until all `lines` are
    /// durable and told, or cannot be any more, or the time is over.
    pub(super) async fn finish(
        mut self,
        socket: &mut Socket,
        lines: u64,
        until: Instant,
        abandon: &CancellationToken,
    ) {
        while !self.has_ended && (*self.durable.borrow() < lines || self.has_more(socket)) {
            tokio::select! {
                // A stop whose time is over waits for nobody.
                () = abandon.cancelled() => return,
                // A peer that does not read must not keep its place.
                () = sleep_until(until) => return,
                () = self.due(socket) => self.write(socket),
            }
        }
    }

    fn has_more(&self, socket: &Socket) -> bool {
        !self.waiting.is_empty()
            || socket.has_unsent()
            || self.durable.has_changed().unwrap_or(false)
    }
}
