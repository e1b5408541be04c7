//! An instant before which nothing goes out, because the far end asked for that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Open at first.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// Closes it for `time` from now on, or for longer when it is closed for longer.
    pub fn close_for(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = (*closed).max(Some(until));
    }

    /// When it opens; none when it is open.
    pub fn opens_at(&self) -> Option<Instant> {
        let closed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closed.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_first_is_not_shortened() {
        let gate = Gate::default();
        assert_eq!(gate.opens_at(), None);
        let begin = Instant::now();
        gate.close_for(Duration::from_secs(2));
        gate.close_for(Duration::from_secs(1));
        assert_eq!(gate.opens_at(), Some(begin + Duration::from_secs(2)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(gate.opens_at(), None);
    }
}
