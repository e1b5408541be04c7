//! The bodies that were stored last, for lanes that keep up: they need not be read again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::settlement::BatchId;

/// Bodies of so many bytes are kept, whatever the number of meters: those of some 150,000 usual events.
const BYTES_MAX: usize = 2 << 20;

/// Some of the bodies that are in the store, each once.
#[derive(Debug, Default)]
pub struct Fresh(Mutex<Bodies>);

#[derive(Debug, Default)]
struct Bodies {
    by_batch: BTreeMap<BatchId, Bytes>,
    bytes: usize,
}

impl Fresh {
    /// Keeps the body of a batch that is durable. The oldest bodies make room for it.
    pub(super) fn add(&self, batch: BatchId, body: Bytes) {
        let mut bodies = self.bodies();
        bodies.bytes += body.len();
        bodies.by_batch.insert(batch, body);
        while bodies.bytes > BYTES_MAX
            && let Some((_, oldest)) = bodies.by_batch.pop_first()
        {
            bodies.bytes -= oldest.len();
        }
    }

    /// The body of `batch`, when it is here. It is not any more then.
    pub(super) fn take(&self, batch: BatchId) -> Option<Bytes> {
        let mut bodies = self.bodies();
        let body = bodies.by_batch.remove(&batch)?;
        bodies.bytes -= body.len();
        Some(body)
    }

    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_bodies_are_kept_and_each_is_given_once() {
        let fresh = Fresh::default();
        let body = |byte| Bytes::from(vec![byte; BYTES_MAX / 4]);
        (1..=5).for_each(|number| fresh.add(BatchId(number.into()), body(number)));
        assert_eq!(fresh.take(BatchId(1)), None);
        assert_eq!(fresh.take(BatchId(3)), Some(body(3)));
        assert_eq!(fresh.take(BatchId(3)), None);
        // The room that it has left is used.
        fresh.add(BatchId(6), body(6));
        assert_eq!(fresh.take(BatchId(2)), Some(body(2)));
    }

    #[test]
    fn a_body_of_more_than_there_is_room_for_is_read_from_the_store() {
        let fresh = Fresh::default();
        fresh.add(BatchId(1), Bytes::from(vec![1; BYTES_MAX + 1]));
        assert_eq!(fresh.take(BatchId(1)), None);
        assert_eq!(fresh.bodies().bytes, 0);
    }
}
