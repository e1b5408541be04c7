//! The simulator's books: who may have what, how often, and which answers were sent.
//!
//! Two locks, always taken in the order events, tally, so that a snapshot agrees with itself.
//! The ids of a large request are counted under the first lock alone: requests that only come
//! and go are not kept waiting. Memory grows with the ids and the track ids until a reset.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::lock;
use super::stats::{MeterStats, Repeat, Stats};
use crate::clock::Timestamp;

/// The books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    events: Mutex<HashMap<String, MeterEvents>>,
    tally: Mutex<Tally>,
}

/// What one meter has.
#[derive(Debug, Default)]
struct MeterEvents {
    stats: MeterStats,
    counts: HashMap<String, u64>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Everything but what is derived from the other books.
    stats: Stats,
    in_flight: u64,
    tracks: HashMap<String, Track>,
}

/// The requests that came under one track id.
#[derive(Debug, Default)]
struct Track {
    requests: u64,
    bodies: Vec<Body>,
}

#[derive(Debug)]
struct Body {
    sha256: [u8; 32],
    accepted: u64,
    answered: u64,
}

/// Names one request's body in the books.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    track_id: Option<String>,
    sha256: [u8; 32],
}

impl Mark {
    /// The mark of a body as it came. Without a track id, repeats cannot be told.
    pub(super) fn new(track_id: Option<String>, wire: &[u8]) -> Self {
        Self { track_id, sha256: Sha256::digest(wire).into() }
    }
}

/// What an accepted request brought.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Events.
    pub(super) events: u64,
    /// The ids of those that have one.
    pub(super) ids: Vec<String>,
    /// Whether ids were looked for.
    pub(super) has_ids: bool,
    /// Bytes before compression.
    pub(super) payload_bytes: u64,
    /// Bytes as they came.
    pub(super) wire_bytes: u64,
}

/// A request under way; dropped without [`InFlight::finish`], it had no answer.
#[derive(Debug)]
pub(super) struct InFlight {
    ledger: Arc<Ledger>,
    status: Option<u16>,
}

impl InFlight {
    /// The request got an answer of this status; none: its connection is closed instead.
    pub(super) fn finish(mut self, status: Option<u16>) {
        self.status = status;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut tally = lock(&self.ledger.tally);
        tally.in_flight = tally.in_flight.saturating_sub(1);
        let stats = &mut tally.stats;
        if let Some(status) = self.status {
            *stats.requests_by_status.entry(status).or_default() += 1;
            stats.last_answer_at = Some(Timestamp::now());
        } else {
            stats.requests_without_answer += 1;
        }
    }
}

impl Ledger {
    /// A request came.
    pub(super) fn arrive(self: &Arc<Self>) -> InFlight {
        let now = Timestamp::now();
        let mut tally = lock(&self.tally);
        tally.in_flight += 1;
        let in_flight = tally.in_flight;
        let stats = &mut tally.stats;
        stats.requests += 1;
        stats.in_flight_max = stats.in_flight_max.max(in_flight);
        stats.first_request_at.get_or_insert(now);
        stats.last_request_at = Some(now);
        InFlight { ledger: Arc::clone(self), status: None }
    }

    /// A request's body was read.
    pub(super) fn see_body(&self, mark: &Mark) {
        let Some(track_id) = &mark.track_id else { return };
        let mut tally = lock(&self.tally);
        let tally = &mut *tally;
        let track = tally.tracks.entry(track_id.clone()).or_default();
        track.requests += 1;
        if let Some(body) = track.bodies.iter().find(|body| body.sha256 == mark.sha256) {
            tally.stats.repeats_unexplained += u64::from(body.answered > 0);
        } else {
            tally.stats.repeats_altered += u64::from(!track.bodies.is_empty());
            track.bodies.push(Body { sha256: mark.sha256, accepted: 0, answered: 0 });
        }
    }

    /// A request was accepted. Its answer is not sent yet.
    pub(super) fn accept(&self, meter: &str, mark: &Mark, delivery: Delivery) {
        let mut events = lock(&self.events);
        if !events.contains_key(meter) {
            events.insert(meter.to_owned(), MeterEvents::default());
        }
        if let Some(books) = events.get_mut(meter) {
            books.stats.events_accepted += delivery.events;
            if delivery.has_ids {
                books.stats.without_id += delivery.events - delivery.ids.len() as u64;
            }
            for id in delivery.ids {
                let count = books.counts.entry(id).or_default();
                *count += 1;
                match count {
                    1 => books.stats.distinct_ids += 1,
                    2 => books.stats.duplicated_ids += 1,
                    _ => {}
                }
            }
        }
        let mut tally = lock(&self.tally);
        tally.stats.requests_accepted += 1;
        tally.stats.payload_bytes += delivery.payload_bytes;
        tally.stats.wire_bytes += delivery.wire_bytes;
        if let Some(body) = tally.body(mark) {
            body.accepted += 1;
        }
    }

    /// The answer to an accepted request was sent to its end.
    pub(super) fn answer_sent(&self, mark: &Mark) {
        let mut tally = lock(&self.tally);
        tally.stats.answered += 1;
        if let Some(body) = tally.body(mark) {
            body.answered += 1;
        }
    }

    /// Somebody asked for a token.
    pub(super) fn call_token(&self) {
        lock(&self.tally).stats.token_calls += 1;
    }

    /// A fault of this kind struck.
    pub(super) fn play(&self, fault: &str) {
        let mut tally = lock(&self.tally);
        *tally.stats.faults_played.entry(fault.to_owned()).or_default() += 1;
    }

    /// Everything that was seen.
    pub(super) fn stats(&self) -> Stats {
        let events = lock(&self.events);
        let tally = lock(&self.tally);
        let mut stats = tally.stats.clone();
        for (meter, books) in &*events {
            stats.events_accepted += books.stats.events_accepted;
            stats.distinct_ids += books.stats.distinct_ids;
            stats.duplicated_ids += books.stats.duplicated_ids;
            stats.without_id += books.stats.without_id;
            stats.meters.insert(meter.clone(), books.stats);
        }
        let repeated = tally.tracks.iter().filter(|(_, track)| track.requests > 1);
        stats.repeats = repeated.map(|(track_id, track)| track.repeat(track_id)).collect();
        stats.repeats.sort_unstable_by(|one, other| one.track_id.cmp(&other.track_id));
        stats
    }

    /// Shows `look` how often each event id of `meter` was accepted, without a copy.
    pub(super) fn with_event_counts<T>(
        &self,
        meter: &str,
        look: impl FnOnce(&HashMap<String, u64>) -> T,
    ) -> T {
        match lock(&self.events).get(meter) {
            Some(books) => look(&books.counts),
            None => look(&HashMap::new()),
        }
    }

    /// Forgets everything but the requests under way.
    pub(super) fn reset(&self) {
        let mut events = lock(&self.events);
        let mut tally = lock(&self.tally);
        events.clear();
        *tally = Tally { in_flight: tally.in_flight, ..Tally::default() };
    }
}

impl Tally {
    fn body(&mut self, mark: &Mark) -> Option<&mut Body> {
        let track = self.tracks.get_mut(mark.track_id.as_ref()?)?;
        track.bodies.iter_mut().find(|body| body.sha256 == mark.sha256)
    }
}

impl Track {
    fn repeat(&self, track_id: &str) -> Repeat {
        let unanswered = self.bodies.iter().map(|body| body.accepted - body.answered).sum();
        Repeat {
            track_id: track_id.to_owned(),
            requests: self.requests,
            accepted: self.bodies.iter().map(|body| body.accepted).sum(),
            bodies: self.bodies.len() as u64,
            unanswered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(track_id: &str, wire: &[u8]) -> Mark {
        Mark::new(Some(track_id.to_owned()), wire)
    }

    fn deliver(ledger: &Ledger, mark: &Mark, ids: &[&str], is_answered: bool) {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let events = ids.len() as u64 + 1;
        ledger.see_body(mark);
        ledger.accept("m", mark, Delivery { events, ids, has_ids: true, ..Delivery::default() });
        if is_answered {
            ledger.answer_sent(mark);
        }
    }

    #[test]
    fn ids_are_counted_once_each_however_often_they_come() {
        let ledger = Ledger::default();
        deliver(&ledger, &mark("t1", b"1"), &["a", "b"], true);
        deliver(&ledger, &mark("t2", b"2"), &["b", "b", "c"], true);
        let stats = ledger.stats();
        let expected =
            MeterStats { events_accepted: 7, distinct_ids: 3, duplicated_ids: 1, without_id: 2 };
        assert_eq!(stats.meters.get("m"), Some(&expected));
        let count = ledger.with_event_counts("m", |counts| counts.get("b").copied());
        assert_eq!(count, Some(3));
        assert_eq!((stats.answered, stats.repeats.len()), (2, 0));
    }

    #[test]
    fn a_repeat_after_a_lost_answer_is_explained() {
        let ledger = Ledger::default();
        let body = mark("t", b"1");
        deliver(&ledger, &body, &["a"], false);
        deliver(&ledger, &body, &["a"], true);
        let stats = ledger.stats();
        let repeat =
            Repeat { track_id: "t".to_owned(), requests: 2, accepted: 2, bodies: 1, unanswered: 1 };
        assert_eq!(stats.repeats, [repeat]);
        assert_eq!((stats.repeats_unexplained, stats.repeats_altered), (0, 0));
    }

    #[test]
    fn a_repeat_after_an_answer_and_another_body_are_held_against_the_client() {
        let ledger = Ledger::default();
        deliver(&ledger, &mark("t", b"1"), &["a"], true);
        ledger.see_body(&mark("t", b"1"));
        ledger.see_body(&mark("t", b"2"));
        let stats = ledger.stats();
        assert_eq!((stats.repeats_unexplained, stats.repeats_altered), (1, 1));
    }

    #[test]
    fn a_reset_keeps_only_what_is_under_way() {
        let ledger = Arc::new(Ledger::default());
        let in_flight = ledger.arrive();
        deliver(&ledger, &mark("t", b"1"), &["a"], true);
        ledger.reset();
        assert_eq!(ledger.stats(), Stats::default());
        drop((ledger.arrive(), in_flight));
        let stats = ledger.stats();
        assert_eq!((stats.in_flight_max, stats.requests_without_answer), (2, 2));
    }
}
