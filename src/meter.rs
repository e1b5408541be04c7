//! A meter as the stages see it: where its events go and what one request may hold.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::schema::Schema;
use crate::telemetry::MeterCounters;

/// What happens to fields that the schema does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// They go out as they came.
    #[default]
    Keep,
    /// They are cut out of the event.
    Drop,
    /// The event becomes a dead letter.
    Reject,
}

/// What happens to events with characters beyond U+FFFF, which take four bytes in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FourByteCharacters {
    /// They go out as they came.
    #[default]
    Keep,
    /// The event becomes a dead letter.
    Reject,
}

/// How many digits a number of the schema may have, zeros at its ends not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    /// Before the decimal point.
    pub integer_max: u32,
    /// Behind it.
    pub fraction_max: u32,
}

impl Default for Digits {
    /// What Zuora documents for the quantity of a usage record: 13 and 9.
    fn default() -> Self {
        Self { integer_max: 13, fraction_max: 9 }
    }
}

/// What an event of the right shape may be refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guards {
    /// How long ago the event's time may be.
    pub event_age_max: Option<Duration>,
    /// How far ahead the event's time may be.
    pub event_ahead_max: Option<Duration>,
    /// For fields of type number and integer.
    pub digits: Digits,
    /// Anywhere in the event.
    pub four_byte_characters: FourByteCharacters,
}

/// What one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events in one request, at least 1.
    pub events_per_request_max: u32,
    /// Bytes of the JSON array before compression.
    pub payload_bytes_max: usize,
    /// Bytes of the gzip body.
    pub compressed_bytes_max: usize,
}

/// A meter that events are read for. Shared by all stages.
#[derive(Debug)]
pub struct Meter {
    /// The name in the configuration; part of track ids, metrics and the store.
    pub name: Arc<str>,
    /// The whole URL that its events are posted to.
    pub upload_url: String,
    /// What its events must look like.
    pub schema: Schema,
    /// The field that carries the replay-stable event id; none: nothing is stamped.
    pub event_id_field: Option<Arc<str>>,
    /// What happens to fields outside the schema.
    pub unknown_fields: UnknownFields,
    /// What else an event may be refused for.
    pub guards: Guards,
    /// What one request may hold.
    pub limits: Limits,
    /// What was done for it, counted since the start.
    pub counters: MeterCounters,
    /// Rings when a batch of it was committed, or when its lane may end.
    pub backlog: Notify,
}
