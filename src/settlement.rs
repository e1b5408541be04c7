//! What delivery and others want written: only the committer writes.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;
use crate::group::PackedBatch;
use crate::schema::edition::Hash;

/// The number of a batch in the store; rising in the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub i64);

/// What is known about a batch without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHead {
    /// Its number.
    pub id: BatchId,
    /// The `Zuora-Track-Id` of every request that carries it.
    pub track_id: String,
    /// Events in it.
    pub events: u32,
    /// Bytes of the JSON array.
    pub payload_bytes: u64,
    /// Requests that carried it so far, as far as recorded.
    pub attempts: u32,
    /// Those of them whose outcome is not known.
    pub outcome_unknown_attempts: u32,
    /// Those of these that a person has looked at.
    pub decided_attempts: u32,
    /// The edition of the meter's schema that its events were validated with.
    pub schema: Option<Hash>,
}

impl BatchHead {
    /// Whether Mediation may have it and nobody has decided what becomes of it.
    pub fn is_undecided(&self) -> bool {
        self.outcome_unknown_attempts > self.decided_attempts
    }
}

/// The state of a meter's lane, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// Sends, or has nothing to send.
    Running,
    /// Waits after a failure that passes by itself.
    Retrying,
    /// Needs a person; tries again slowly.
    Held,
}

impl LaneState {
    /// The name in the store and in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Held => "held",
        }
    }
}

/// The state of a source, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// Its lines are taken as they come.
    Reading,
    /// Too many of its lines were bad; goes on by itself when they are good again.
    Held,
}

impl SourceState {
    /// The name in the store and in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Held => "held",
        }
    }
}

/// Something that was learned and is to be committed.
#[derive(Debug)]
pub enum Settlement {
    /// Mediation has the batch: its receipt replaces it.
    Delivered {
        /// Which batch.
        batch: BatchId,
        /// Whose events.
        meter: Arc<str>,
        /// Requests that carried it, this one included.
        attempts: u32,
        /// The HTTP status of the answer.
        status: u16,
        /// Whether Mediation said that it had the events before.
        is_duplicate: bool,
        /// When the answer came.
        at: Timestamp,
    },
    /// A request failed. The batch stays.
    Attempted {
        /// Which batch.
        batch: BatchId,
        /// Whether Mediation may have it nevertheless.
        outcome_unknown: bool,
    },
    /// Mediation refused the batch for its size or for some of its events: its halves take its
    /// place.
    Split {
        /// Which batch.
        batch: BatchId,
        /// All of its events, in order.
        halves: Vec<PackedBatch>,
    },
    /// Mediation refused a batch of one event: a dead letter takes its place.
    Refused {
        /// Which batch.
        batch: BatchId,
        /// The event and what Mediation said. Its source is filled in from the batch.
        letter: DeadLetter,
        /// When the answer came.
        at: Timestamp,
    },
    /// The server said that nothing may be sent for a time.
    Wait {
        /// Of which meter.
        meter: Arc<str>,
        /// Whether nothing of any other meter either.
        is_tenants: bool,
        /// Not before this.
        until: Timestamp,
    },
    /// The export of a meter was fetched.
    Schema {
        /// Of which meter.
        meter: Arc<str>,
        /// What its schema is told from others by.
        hash: Hash,
        /// The schema in it, as JSON.
        document: Arc<str>,
        /// When it came.
        at: Timestamp,
    },
    /// A lane changed its state.
    Lane {
        /// Which meter's.
        meter: Arc<str>,
        /// The state now.
        state: LaneState,
        /// Why, in words; empty while running.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
    /// From now on each lane may have so many requests under way, which is more than before: on
    /// record before the first of them leaves.
    Window(u32),
    /// A source changed its state.
    Source {
        /// Which one.
        source: Arc<str>,
        /// The state now.
        state: SourceState,
        /// Why, in words; empty while reading.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
}

/// A settlement and who waits for its commit.
#[derive(Debug)]
pub struct Posting {
    /// What to write.
    pub settlement: Settlement,
    /// Told after the commit; dropped without a word when the committer ends first.
    pub committed: oneshot::Sender<()>,
}
