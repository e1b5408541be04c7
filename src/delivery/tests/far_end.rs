//! A far end that fails in every way it can, as a seed says, and knows what it has taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::time::Instant;

use crate::tenant::outcome::Answer;
use crate::tenant::transport::{Exchange, Failure};

/// What the lanes obey of what they are asked, in seconds.
const RETRY_AFTER_MAX: u64 = 900;

const WRONG_EVENTS: &str = "{\"errors\":[{\"code\":\"70000000\",\"message\":\"wrong\"}]}";

/// The number of the event in `text`, which [`event`] has made.
pub(super) fn number(text: &str) -> Option<u64> {
    text.strip_prefix("{\"n\":")?.strip_suffix("}")?.parse().ok()
}

pub(super) fn event(number: u64) -> String {
    format!("{{\"n\":{number}}}")
}

/// The numbers of the events in a body.
fn numbers(body: &Bytes) -> Vec<u64> {
    let mut text = String::new();
    let read = flate2::read::GzDecoder::new(body.as_ref()).read_to_string(&mut text);
    assert!(read.is_ok(), "a body is no gzip");
    let inside = text.trim_start_matches('[').trim_end_matches(']');
    inside.split(',').filter_map(number).collect()
}

pub(super) struct FarEnd {
    pub(super) random: Rng,
    /// How often each event was taken.
    pub(super) taken: BTreeMap<u64, u32>,
    /// Events that are refused for ever.
    pub(super) wrong: BTreeSet<u64>,
    /// Requests without an answer.
    pub(super) under_way: Vec<Exchange>,
    /// The events of each request, by its name.
    pub(super) known: HashMap<String, Vec<u64>>,
    bodies: HashMap<String, Bytes>,
    /// When each meter was told to wait, and until when.
    waits: HashMap<String, (Instant, Instant)>,
    /// Failures that are still to come.
    pub(super) faults: u32,
    /// Requests that came.
    pub(super) requests: u64,
}

impl FarEnd {
    pub(super) fn new(random: Rng, faults: u32) -> Self {
        Self {
            random,
            taken: BTreeMap::new(),
            wrong: BTreeSet::new(),
            under_way: Vec::new(),
            known: HashMap::new(),
            bodies: HashMap::new(),
            waits: HashMap::new(),
            faults,
            requests: 0,
        }
    }

    /// A request comes.
    pub(super) fn take_in(&mut self, exchange: Exchange) {
        self.requests += 1;
        let Exchange { url, track_id, body, .. } = &exchange;
        let is_twice = self.under_way.iter().any(|other| other.track_id == *track_id);
        assert!(!is_twice, "{track_id} is under way twice");
        let now = Instant::now();
        // What comes at the instant of the answer left before it was heard.
        let may_come = |&(told, until): &(Instant, Instant)| now == told || now >= until;
        assert!(self.waits.get(url).is_none_or(may_come), "{track_id} comes too early");
        let before = self.bodies.entry(track_id.clone()).or_insert_with(|| body.clone());
        assert_eq!(before, body, "{track_id} has other bytes than before");
        let events = numbers(body);
        assert!(!events.is_empty(), "{track_id} has no events");
        self.known.insert(track_id.clone(), events);
        self.under_way.push(exchange);
    }

    /// Answers one of the requests under way, or leaves it without an answer.
    pub(super) fn answer_one(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let nth = self.random.usize(..self.under_way.len());
        let exchange = self.under_way.swap_remove(nth);
        if let Some(answer) = self.judge(&exchange) {
            let _ = exchange.reply.send(answer);
        }
    }

    /// The agent is gone: what it sent has come, or has not.
    pub(super) fn hang_up(&mut self) {
        for exchange in std::mem::take(&mut self.under_way) {
            if self.random.bool() {
                self.accept(&exchange);
            }
        }
        // Who was told to wait is another one now; what it has on record is in whole milliseconds.
        self.waits.clear();
    }

    /// None: there is no answer.
    fn judge(&mut self, exchange: &Exchange) -> Option<Result<Answer, Failure>> {
        let answer = |status: u16, body: &str| {
            Some(Ok(Answer { status, body: body.into(), ..Answer::default() }))
        };
        if self.faults == 0 || self.random.u8(..) < 90 {
            return if self.accept(exchange) { answer(200, "") } else { answer(400, WRONG_EVENTS) };
        }
        self.faults -= 1;
        match self.random.u8(..16) {
            0 => None,
            1 | 2 => {
                self.accept(exchange);
                None
            }
            3 => Some(Err(Failure::NotSent("nobody listens".to_owned()))),
            4 => Some(Ok(self.ask_to_wait(exchange, 429))),
            5 => Some(Ok(self.ask_to_wait(exchange, 503))),
            6 => answer(500, "{\"reasons\":[{\"code\":\"1\",\"message\":\"x\"}]}"),
            7 => answer(404, "<html>"),
            8 => answer(401, "{\"message\":\"no\"}"),
            9 => answer(413, ""),
            10 => answer(400, "{\"errors\":[{\"code\":\"70002103\",\"message\":\"no meter\"}]}"),
            11 => answer(200, "{\"success\":false,\"message\":\"no\"}"),
            12 => answer(302, "\u{0}\u{1}"),
            13 => answer(408, "["),
            14 if self.has_taken(exchange) => {
                answer(409, "{\"error\":{\"code\":70001204,\"message\":\"again\"}}")
            }
            _ => {
                if self.accept(exchange) {
                    answer(202, "<html>\u{7f}")
                } else {
                    answer(400, "{")
                }
            }
        }
    }

    fn ask_to_wait(&mut self, exchange: &Exchange, status: u16) -> Answer {
        let seconds = [0, 1, 30, 2000][self.random.usize(..4)];
        // What leaves at this very instant may have been on its way.
        let now = Instant::now();
        let until = now + Duration::from_secs(seconds.min(RETRY_AFTER_MAX));
        let wait = self.waits.entry(exchange.url.clone()).or_insert((now, until));
        *wait = (now, wait.1.max(until));
        let retry_after = Some(seconds.to_string());
        Answer { status, retry_after, ..Answer::default() }
    }

    /// Whether none of its events is wrong: then they are taken.
    fn accept(&mut self, exchange: &Exchange) -> bool {
        let events = &self.known[&exchange.track_id];
        let is_right = events.iter().all(|event| !self.wrong.contains(event));
        if is_right {
            for event in events {
                *self.taken.entry(*event).or_default() += 1;
            }
        }
        is_right
    }

    fn has_taken(&self, exchange: &Exchange) -> bool {
        self.knows_all(&self.known[&exchange.track_id])
    }

    /// Whether all of `events` were taken.
    pub(super) fn knows_all(&self, events: &[u64]) -> bool {
        events.iter().all(|event| self.taken.contains_key(event))
    }
}
