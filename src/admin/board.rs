//! What the page shows, read once for all who watch, and the stream that carries it to them.
//!
//! It looks once a second while somebody watches, every five seconds otherwise, and rests after a
//! look at least twenty times as long as that took: however large the store, watching it costs a
//! twentieth of a thread. Who watches and is slow misses what was told in between, and holds up nobody.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::View;
use super::history::{History, INTERVAL, Rates, Reading, Sample};
use super::verdict::{Trouble, troubles};
use crate::clock::Timestamp;
use crate::store;
use crate::store::dead_letters::LetterCount;
use crate::store::reader::Reader;
use crate::store::tallies::Status;

/// Who may watch at one time: a connection each, of those that the listener takes.
const WATCHERS_MAX: usize = 8;

/// From one look to the next while somebody watches.
const TICK: Duration = Duration::from_secs(1);

/// A look is followed by a rest that is so many times as long.
const REST: u32 = 20;

/// Samples that are told with each look: who was slow for a minute misses none.
const SAMPLES_TOLD: usize = 12;

/// What was seen, and those who want to know.
#[derive(Debug)]
pub(super) struct Board {
    view: watch::Receiver<View>,
    history: Mutex<History>,
    /// The last look as an event; empty before the first.
    tell: watch::Sender<Bytes>,
    seats: Arc<Semaphore>,
    arrived: Notify,
    until: CancellationToken,
}

/// What one look came to.
struct Look {
    status: Status,
    letters: Arc<[LetterCount]>,
}

/// Letters are counted anew when one came or went.
#[derive(Debug, Default, Clone)]
struct Counted {
    /// How many there were, and the number of the last.
    of: (i64, i64),
    letters: Arc<[LetterCount]>,
}

impl Board {
    pub(super) fn new(view: watch::Receiver<View>, until: CancellationToken) -> Self {
        Self {
            view,
            history: Mutex::default(),
            tell: watch::Sender::new(Bytes::new()),
            seats: Arc::new(Semaphore::new(WATCHERS_MAX)),
            arrived: Notify::new(),
            until,
        }
    }

    /// Looks and tells until the end.
    pub(super) async fn run(&self) {
        // Cut off at any wait: a look that is under way is short and changes nothing.
        self.until.run_until_cancelled(self.look_on()).await;
    }

    async fn look_on(&self) {
        let mut counted = Counted::default();
        loop {
            let begin = Instant::now();
            let view = self.view.borrow().clone();
            let is_watched = self.tell.receiver_count() > 0;
            let known = counted.clone();
            let looked = tokio::task::spawn_blocking(move || look(&view, is_watched, known)).await;
            // Cancelled: the runtime ends.
            let Ok(looked) = looked else { return };
            match looked {
                Ok((look, letters)) => {
                    counted = letters;
                    self.tell(&look, begin);
                }
                Err(error) => self.tell_failure(&error),
            }
            tokio::time::sleep(TICK.max(begin.elapsed() * REST)).await;
            if self.tell.receiver_count() == 0 {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL.saturating_sub(begin.elapsed())) => {}
                    // Without this arm who comes would see what is five seconds old.
                    () = self.arrived.notified() => {}
                }
            }
        }
    }

    fn tell(&self, look: &Look, instant: Instant) {
        let (status, at) = (&look.status, Timestamp::now());
        let mut history = self.history();
        let rates = history.add(Reading::new(status, instant, at));
        let samples = history.last(SAMPLES_TOLD);
        drop(history);
        let view = self.view.borrow().clone();
        let connections = view.sources.iter().map(|source| Connections {
            source: &source.name,
            open: source.counters.connections_open(),
        });
        self.publish(&Told {
            at: at.as_millis(),
            troubles: all_troubles(&view, status),
            rates,
            status,
            connections: connections.collect(),
            letters: &look.letters,
            samples,
        });
    }

    /// Only the trouble: everything else stays as it was.
    fn tell_failure(&self, error: &store::Error) {
        tracing::debug!(%error, "failed to read the status for the page");
        let what = format!("the store cannot be read: {error}");
        let trouble = Trouble::bad(what, "Look at the disk and its room.");
        let at = Timestamp::now().as_millis();
        self.publish(&Failed { at, troubles: [trouble] });
    }

    fn publish(&self, told: &impl Serialize) {
        match event("status", told) {
            Ok(event) => {
                self.tell.send_replace(event);
            }
            Err(error) => tracing::debug!(%error, "failed to write the status for the page"),
        }
    }

    /// A stream of all that is seen from now on; none: enough people watch.
    pub(super) fn watch(&self) -> Option<Events> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        let mut told = self.tell.subscribe();
        self.arrived.notify_one();
        // A document of numbers can be written.
        let mut first = event("hello", &self.hello()).unwrap_or_default().to_vec();
        first.extend_from_slice(&told.borrow_and_update());
        let (view, until) = (self.view.clone(), self.until.clone());
        let token = view.borrow().token.clone();
        let watcher = Watcher { first: Some(first.into()), told, view, token, until, _seat: seat };
        Some(Events(Some(Box::pin(watcher.next()))))
    }

    fn hello(&self) -> Hello {
        let view = self.view.borrow();
        Hello {
            agent: view.agent.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            can_replay: view.token.is_some(),
            interval_ms: INTERVAL.as_millis(),
            history: self.history().all(),
        }
    }

    /// A panic leaves at worst a reading less.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all_troubles(view: &View, status: &Status) -> Vec<Trouble> {
    let mut all = view.stuck();
    all.extend(troubles(status, view.facts()));
    all
}

/// Reads the store: blocks.
fn look(view: &View, is_watched: bool, known: Counted) -> Result<(Look, Counted), store::Error> {
    let mut reader = Reader::open(&view.directory)?;
    let (now, bytes_max) = (Timestamp::now(), Some(view.bytes_max));
    // The history has no lag, for which every file would be looked at.
    let status = if is_watched {
        reader.status_with_lag(now, bytes_max, view.lag_bytes)?
    } else {
        reader.status(now, bytes_max)?
    };
    let of = (status.equation.dead_lettered, reader.last_dead_letter()?);
    let counted = if is_watched && known.of != of {
        Counted { of, letters: reader.dead_letter_counts()?.into() }
    } else {
        known
    };
    Ok((Look { status, letters: Arc::clone(&counted.letters) }, counted))
}

/// The first event of a stream.
#[derive(Serialize)]
struct Hello {
    agent: String,
    version: &'static str,
    /// Whether there is a token, without which nothing can be replayed.
    can_replay: bool,
    interval_ms: u128,
    history: Vec<Sample>,
}

/// Every further one.
#[derive(Serialize)]
struct Told<'t> {
    /// Milliseconds since 1970.
    at: i64,
    troubles: Vec<Trouble>,
    rates: Option<Rates>,
    status: &'t Status,
    connections: Vec<Connections<'t>>,
    letters: &'t [LetterCount],
    samples: Vec<Sample>,
}

/// Connections of a source that are open.
#[derive(Serialize)]
struct Connections<'t> {
    source: &'t str,
    open: u64,
}

/// Instead, when the store cannot be read.
#[derive(Serialize)]
struct Failed {
    at: i64,
    troubles: [Trouble; 1],
}

/// A server-sent event; JSON has no line ends.
fn event(name: &str, document: &impl Serialize) -> serde_json::Result<Bytes> {
    Ok(format!("event: {name}\ndata: {}\n\n", serde_json::to_string(document)?).into())
}

/// Somebody who watches.
struct Watcher {
    first: Option<Bytes>,
    told: watch::Receiver<Bytes>,
    view: watch::Receiver<View>,
    /// What it had to show.
    token: Option<SecretString>,
    until: CancellationToken,
    /// Given back when the connection ends, however it does.
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; none: the agent ends, or asks for another token.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(first) = self.first.take() {
            return Some((first, self));
        }
        // Without the end, open pages would hold up the stop.
        tokio::select! {
            // A token that is changed is one that somebody should not have any more.
            biased;
            _ = self.view.wait_for(|view| !is_same(view.token.as_ref(), self.token.as_ref())) => return None,
            told = self.until.run_until_cancelled(self.told.changed()) => told?.ok()?,
        }
        let event = self.told.borrow_and_update().clone();
        Some((event, self))
    }
}

fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) == other.map(ExposeSecret::expose_secret)
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Watcher)>> + Send>>;

/// The body of an answer that goes on: the latest event, whenever the client has room for it.
pub(super) struct Events(Option<Next>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = self.0.as_mut() else { return Poll::Ready(None) };
        match next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.0 = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((event, watcher))) => {
                self.0 = Some(Box::pin(watcher.next()));
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
        }
    }
}
