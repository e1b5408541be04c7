//! The one way of a chunk out of a source: past the schema, which may not have come yet, and past the
//! breaker, then into the intake.

use tokio_util::sync::CancellationToken;

use crate::chunk::Chunk;
use crate::intake::Closed;
use crate::source::Context;

/// A chunk that is ready to be handed over.
#[derive(Debug)]
pub struct Ready {
    /// The chunk.
    pub chunk: Chunk,
    /// How many bytes were read for it.
    pub bytes: u64,
}

impl Ready {
    /// Hands the chunk over as an async source.
    pub(super) async fn send(self, context: &Context) -> Result<(), Closed> {
        self.send_until(context, &context.stop.abandon).await
    }

    /// Hands the chunk over as a source on a thread, which waits until `until`.
    pub(super) fn send_blocking(
        self,
        context: &Context,
        until: &CancellationToken,
    ) -> Result<(), Closed> {
        // A hold and a full intake are no fault of the source.
        let _rest = context.pulse.rest();
        context.intake.block_on(self.send_until(context, until))
    }

    async fn send_until(self, context: &Context, until: &CancellationToken) -> Result<(), Closed> {
        // The breaker first: what is held must not keep room that other sources wait for.
        tokio::select! {
            // What may pass passes, also while the agent is stopping.
            biased;
            () = self.admitted(context) => {}
            () = until.cancelled() => return Err(Closed),
            // It was read and cannot be read again: a dead letter, or an event that is judged before
            // it is sent, is better than nothing.
            () = context.stop.drain.cancelled() => {}
        }
        let lines = self.chunk.lines;
        context.intake.send(self.chunk, until).await?;
        context.tag.counters.lines_read.add(lines);
        context.tag.counters.bytes_read.add(self.bytes);
        Ok(())
    }

    /// Returns when what it holds can be validated, and its source is not held.
    async fn admitted(&self, context: &Context) {
        self.chunk.stream.source.destination.schemas_come().await;
        context.tag.breaker.admit(self.chunk.lines).await;
    }
}
