//! Tells a source what became of its lines: the handle travels with them, and only the stages
//! behind the intake speak.
//!
//! Promises: nothing is said to be durable before the commit that holds it. A handle that is dropped
//! has said nothing: when the last one is gone, whoever listens knows that the rest is not stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::dead_letter::Reason;

/// Travels with a chunk, and from its last line on with the group that holds that line: groups
/// commit in order, so the commit of that group is the commit of everything before it.
#[derive(Debug, Clone)]
pub enum Notice {
    /// For the peer of a stream.
    Lines(LinesNotice),
    /// For a client that waits for the answer to its request.
    Request(Arc<Request>),
}

/// Says how many lines of a stream are durable.
#[derive(Debug, Clone)]
pub struct LinesNotice {
    durable: Arc<watch::Sender<u64>>,
    /// Those up to the end of the chunk.
    lines: u64,
}

/// Makes the notices of one stream.
#[derive(Debug)]
pub struct Notifier(Arc<watch::Sender<u64>>);

/// Lines of which all are stored, in one commit, or none: not even as dead letters.
#[derive(Debug)]
pub struct Request {
    /// By what a repeat is known; committed with the lines.
    pub key: Option<RequestKey>,
    /// How long the lines wait for company.
    pub linger_max: Duration,
    verdict: watch::Sender<Option<Verdict>>,
}

/// By what a repeat of a request is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey {
    /// A hash over what makes two requests the same.
    pub hash: [u8; 32],
    /// Until when it is remembered.
    pub expires_at: Timestamp,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every line is durable.
    Committed,
    /// Nothing of it is stored, because of these lines; at least one.
    Refused(Arc<[BadLine]>),
}

/// A line that is no event of its meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its place in the request, from 0.
    pub index: u64,
    /// The class of the mistake.
    pub reason: Reason,
    /// The field that is wrong, when it is one field.
    pub field: Option<String>,
    /// What was found and what would be right.
    pub detail: String,
}

impl Notifier {
    /// A notifier, and where it is seen how many lines of its stream are durable.
    pub fn new() -> (Self, watch::Receiver<u64>) {
        let (durable, seen) = watch::channel(0);
        (Self(Arc::new(durable)), seen)
    }

    /// A notice for the first `lines` lines.
    pub fn notice(&self, lines: u64) -> Notice {
        Notice::Lines(LinesNotice { durable: Arc::clone(&self.0), lines })
    }
}

impl Request {
    /// A request, and where its verdict is seen.
    pub fn new(
        key: Option<RequestKey>,
        linger_max: Duration,
    ) -> (Self, watch::Receiver<Option<Verdict>>) {
        let (verdict, seen) = watch::channel(None);
        (Self { key, linger_max, verdict }, seen)
    }

    /// Says that it is not stored because of `lines`, of which there is at least one.
    pub fn refuse(&self, lines: Vec<BadLine>) {
        self.verdict.send_replace(Some(Verdict::Refused(lines.into())));
    }

    /// Whether it was refused.
    pub fn is_refused(&self) -> bool {
        matches!(&*self.verdict.borrow(), Some(Verdict::Refused(_)))
    }
}

impl Notice {
    /// To be called after the commit, and never else.
    pub fn committed(&self) {
        match self {
            Self::Lines(LinesNotice { durable, lines }) => {
                durable.send_if_modified(|durable| {
                    let is_further = lines > durable;
                    *durable = (*durable).max(*lines);
                    is_further
                });
            }
            Self::Request(request) => {
                request.verdict.send_replace(Some(Verdict::Committed));
            }
        }
    }

    /// What the commit has to remember of the request.
    pub fn key(&self) -> Option<RequestKey> {
        match self {
            Self::Lines(_) => None,
            Self::Request(request) => request.key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_was_not_told() {
        let (notifier, mut seen) = Notifier::new();
        let (first, second) = (notifier.notice(3), notifier.notice(5));
        first.committed();
        drop((notifier, first));
        assert_eq!(*seen.borrow_and_update(), 3);
        assert_eq!(seen.has_changed().ok(), Some(false));
        drop(second);
        assert!(seen.has_changed().is_err());
        assert_eq!(*seen.borrow(), 3);
    }

    #[test]
    fn what_is_durable_never_shrinks() {
        let (notifier, seen) = Notifier::new();
        notifier.notice(5).committed();
        notifier.notice(3).committed();
        assert_eq!(*seen.borrow(), 5);
    }

    #[test]
    fn a_request_hears_its_verdict_or_that_there_will_be_none() {
        let (request, seen) = Request::new(None, Duration::ZERO);
        let notice = Notice::Request(Arc::new(request));
        let copy = notice.clone();
        assert_eq!(*seen.borrow(), None);
        drop(notice);
        copy.committed();
        assert_eq!(*seen.borrow(), Some(Verdict::Committed));
        let (request, seen) = Request::new(None, Duration::ZERO);
        drop(Notice::Request(Arc::new(request)));
        assert!(seen.has_changed().is_err() && seen.borrow().is_none());
    }
}
