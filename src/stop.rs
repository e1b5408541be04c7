//! The signals that end the sources or make them look again, seen by tasks and by threads that wait in the kernel.
//!
//! Only sources hear it. Everything behind them ends because its input closed.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A source's view of the stop signal.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Cancelled when no new file or connection may be opened: read what is there, then end.
    pub drain: CancellationToken,
    /// Cancelled when the grace period is used up: end now, whatever is left.
    pub abandon: CancellationToken,
    /// Changes when files that are read once, such as certificates, have to be read again.
    pub look_again: watch::Receiver<()>,
    wake: Arc<PipeReader>,
}

/// The agent's end of the signal.
#[derive(Debug)]
pub struct Stopper {
    stop: Stop,
    tell_look_again: watch::Sender<()>,
    // Never written to: closing it makes `wake` readable for every thread that polls it.
    hold_open: Option<PipeWriter>,
}

impl Stopper {
    /// A signal that has not been given.
    pub fn new() -> io::Result<Self> {
        let (wake, hold_open) = io::pipe()?;
        let (tell_look_again, look_again) = watch::channel(());
        let stop = Stop {
            drain: CancellationToken::new(),
            abandon: CancellationToken::new(),
            look_again,
            wake: Arc::new(wake),
        };
        Ok(Self { stop, tell_look_again, hold_open: Some(hold_open) })
    }

    /// What the sources get.
    pub fn signal(&self) -> Stop {
        self.stop.clone()
    }

    /// Asks every source to read its files again that it has read once.
    pub fn look_again(&self) {
        self.tell_look_again.send_replace(());
    }

    /// Asks every source to drain and end.
    pub fn drain(&mut self) {
        self.stop.drain.cancel();
        self.hold_open = None;
    }

    /// Asks every source to end now.
    pub fn abandon(&mut self) {
        self.drain();
        self.stop.abandon.cancel();
    }
}

impl Stop {
    /// Whether sources were asked to drain.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Becomes readable (hang-up) once sources were asked to drain; for `poll(2)`.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_awake(stop: &Stop) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(stop.wake_fd(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    #[test]
    fn draining_wakes_a_thread_that_polls() -> io::Result<()> {
        let mut stopper = Stopper::new()?;
        let stop = stopper.signal();
        assert!(!is_awake(&stop) && !stop.is_draining());
        stopper.drain();
        assert!(is_awake(&stop) && stop.is_draining() && !stop.abandon.is_cancelled());
        Ok(())
    }
}
