//! Knows a request again that is repeated because its outcome was not known to the client.
//!
//! One that is still under way is joined: both clients hear its verdict. One that is committed is in
//! the store, from the same commit on as its lines, so that no crash lies between them. The order
//! matters: a request is noted as under way before the store is asked, and leaves that note only
//! when its verdict is there, so that none of two that come at one time is missed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::notice::Verdict;
use crate::store::{self, reader::Reader};

/// Where the verdict of a request is seen.
pub(super) type Seen = watch::Receiver<Option<Verdict>>;

/// From how many on those that have their verdict are looked for.
const NOTED_MIN: usize = 64;

/// What is known of a request that has come.
#[derive(Debug)]
pub(super) enum Standing {
    /// It has not been here, or was refused.
    New,
    /// It is under way.
    UnderWay(Seen),
    /// It is committed.
    Committed,
}

/// The requests under way, and a look at those that are committed.
#[derive(Debug)]
pub(super) struct Repeats {
    under_way: Mutex<Noted>,
    store: Arc<Mutex<Reader>>,
}

#[derive(Debug)]
struct Noted {
    requests: HashMap<[u8; 32], Seen>,
    /// With so many, those that have their verdict are forgotten.
    limit: usize,
}

impl Repeats {
    pub(super) fn new(directory: &Path) -> Result<Self, store::Error> {
        let noted = Noted { requests: HashMap::new(), limit: NOTED_MIN };
        let reader = Reader::open(directory)?;
        Ok(Self { under_way: Mutex::new(noted), store: Arc::new(Mutex::new(reader)) })
    }

    /// What is known of the request with `hash`, whose verdict would be seen by `seen`.
    pub(super) async fn look(&self, hash: [u8; 32], seen: Seen) -> Result<Standing, store::Error> {
        if let Some(other) = self.note(hash, seen) {
            return Ok(Standing::UnderWay(other));
        }
        let store = Arc::clone(&self.store);
        // The runtime never waits for a disk.
        let asked = tokio::task::spawn_blocking(move || {
            // A reader changes nothing: what a panic left behind is good.
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.has_request(&hash, Timestamp::now())
        });
        match asked.await {
            Ok(Ok(true)) => Ok(Standing::Committed),
            Ok(Ok(false)) => Ok(Standing::New),
            Ok(Err(error)) => Err(error),
            // Whoever repeats it is told once more.
            Err(_) => Ok(Standing::UnderWay(watch::channel(None).1)),
        }
    }

    /// Notes a request as under way, or gives the other that is.
    fn note(&self, hash: [u8; 32], seen: Seen) -> Option<Seen> {
        let mut noted = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = noted.requests.get(&hash)
            && is_worth_waiting_for(other)
        {
            return Some(other.clone());
        }
        if noted.requests.len() >= noted.limit {
            noted.requests.retain(|_, seen| is_worth_waiting_for(seen));
            noted.limit = NOTED_MIN.max(2 * noted.requests.len());
        }
        noted.requests.insert(hash, seen);
        None
    }
}

/// Whether a repeat hears something from this one: it has no verdict yet and can still get it.
/// What is committed is in the store; what was refused or dropped is nowhere.
fn is_worth_waiting_for(seen: &Seen) -> bool {
    seen.has_changed().is_ok() && seen.borrow().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::{BadLine, Notice, Request};
    use crate::store::{Settings, Store};
    use std::time::Duration;

    #[test]
    fn a_request_is_new_until_another_like_it_is_under_way() -> Result<(), store::Error> {
        let directory = tempfile::tempdir().expect("a directory");
        let receipts_keep = Duration::from_secs(1);
        let settings =
            Settings { directory: directory.path().into(), bytes_max: 1 << 30, receipts_keep };
        let _store = Store::open(&settings, "agent")?;
        let repeats = Repeats::new(directory.path())?;
        let request = || Request::new(None, Duration::ZERO);
        let (first, seen) = request();
        assert!(repeats.note([1; 32], seen).is_none());
        assert!(repeats.note([2; 32], request().1).is_none());
        let joined = repeats.note([1; 32], request().1).expect("the first");
        Notice::Request(Arc::new(first)).committed();
        assert_eq!(*joined.borrow(), Some(Verdict::Committed));
        // From here on the store knows.
        let (again, seen) = request();
        assert!(repeats.note([1; 32], seen).is_none());
        let reason = crate::dead_letter::Reason::WrongType;
        again.refuse(vec![BadLine { index: 0, reason, field: None, detail: String::new() }]);
        assert!(repeats.note([1; 32], request().1).is_none());
        for number in 3..200_u8 {
            assert!(repeats.note([number; 32], request().1).is_none());
        }
        let noted = repeats.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(noted.requests.len() <= NOTED_MIN, "{}", noted.requests.len());
        Ok(())
    }
}
