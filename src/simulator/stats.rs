//! What the simulator saw, as a document.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Timestamp;

/// What was seen since the start or the last reset. Counts of requests are counts of ingestion
/// requests, whatever became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests that came.
    pub requests: u64,
    /// Answers, by their HTTP status; those of the faults `half-answer` and `rubbish` too.
    pub requests_by_status: BTreeMap<u16, u64>,
    /// Requests that ended without an answer: closed by a fault, or given up by the client.
    pub requests_without_answer: u64,
    /// Requests at one time, at most.
    pub in_flight_max: u64,
    /// When the first request came.
    pub first_request_at: Option<Timestamp>,
    /// When the last request came.
    pub last_request_at: Option<Timestamp>,
    /// When the last answer was made.
    pub last_answer_at: Option<Timestamp>,
    /// Requests whose events were accepted.
    pub requests_accepted: u64,
    /// Accepted requests whose answer was sent to its end.
    pub answered: u64,
    /// Bytes of accepted bodies before compression.
    pub payload_bytes: u64,
    /// Bytes of accepted bodies as they came.
    pub wire_bytes: u64,
    /// Events in accepted requests, repeats included.
    pub events_accepted: u64,
    /// Different event ids; not counted in [`Mode::Count`](super::Mode::Count).
    pub distinct_ids: u64,
    /// Event ids that were accepted more than once.
    pub duplicated_ids: u64,
    /// Events without an id.
    pub without_id: u64,
    /// The last four, for each meter.
    pub meters: BTreeMap<String, MeterStats>,
    /// Requests for a token.
    pub token_calls: u64,
    /// Faults that struck, by kind.
    pub faults_played: BTreeMap<String, u64>,
    /// Every track id that came with more than one request whose body could be read.
    pub repeats: Vec<Repeat>,
    /// Requests whose body had been accepted before, under the same track id, with an answer
    /// that was sent to its end: repeats without excuse. An agent that is killed between the
    /// answer and its own commit causes one, too.
    pub repeats_unexplained: u64,
    /// Requests with the track id of an earlier request but another body.
    pub repeats_altered: u64,
}

/// What was accepted for one meter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MeterStats {
    /// Events, repeats included.
    pub events_accepted: u64,
    /// Different event ids.
    pub distinct_ids: u64,
    /// Event ids that were accepted more than once.
    pub duplicated_ids: u64,
    /// Events without an id.
    pub without_id: u64,
}

/// A track id that came more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repeat {
    /// `Zuora-Track-Id`.
    pub track_id: String,
    /// Requests with it.
    pub requests: u64,
    /// Those of them that were accepted.
    pub accepted: u64,
    /// Different bodies, by their SHA-256.
    pub bodies: u64,
    /// Requests that were accepted without a readable answer.
    pub unanswered: u64,
}
