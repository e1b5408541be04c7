//! A meter as the stages see it: where its events go and what one request may hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::mediation::form::Id;
use crate::schema::Schema;
use crate::schema::edition::Current;
use crate::telemetry::MeterCounters;

/// The version of every meter: "currently, the only supported value is `0.0.1`".
pub const DEFAULT_VERSION: &str = "0.0.1";

/// The field of the documented schema that is billed by.
pub const DOCUMENTED_QUANTITY: &str = "Quantity";

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

/// The smallest payload that the far end refused for its size, halved; it rises again slowly.
#[derive(Debug)]
pub struct LearnedLimit(AtomicU64);

impl Default for LearnedLimit {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl LearnedLimit {
    /// A payload of twice `bytes` was refused.
    pub fn lower(&self, bytes: u64) {
        // Relaxed, as all here: a limit that is seen late costs one more refusal.
        self.0.fetch_min(bytes.max(1), Ordering::Relaxed);
    }

    /// A request was taken: the limit rises by a thousandth, until it is `max`.
    pub fn raise(&self, max: usize) {
        let limit = self.0.load(Ordering::Relaxed);
        if limit != u64::MAX {
            let raised = limit + limit / 1000 + 1;
            let raised = if raised >= max as u64 { u64::MAX } else { raised };
            self.0.store(raised, Ordering::Relaxed);
        }
    }

    /// `max`, or what was learned when that is less.
    pub fn within(&self, max: usize) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(usize::MAX).min(max)
    }
}

impl Limits {
    /// What Zuora documents for production tenants: 10,000 events and 4 MB in one request.
    pub const PRODUCTION: Self = Self {
        events_per_request_max: 10_000,
        payload_bytes_max: 4_000_000,
        compressed_bytes_max: 4_000_000,
    };
}

/// A meter that events are read for. Shared by all stages.
#[derive(Debug, Clone)]
pub struct Meter {
    /// The name in the configuration; part of track ids, metrics and the store.
    pub name: Arc<str>,
    /// The whole URL that its events are posted to.
    pub upload_url: String,
    /// Its id in the meter APIs; delivery does without.
    pub id: Option<Id>,
    /// Its version in the meter APIs.
    pub version: Arc<str>,
    /// What its events must look like.
    pub schema: Current,
    /// The field that carries the replay-stable event id; none: nothing is stamped.
    pub event_id_field: Option<Arc<str>>,
    /// The field whose values are summed; none: nothing is.
    pub quantity_field: Option<Arc<str>>,
    /// Whether nobody else sends events to it: then those with ids of any form are ours.
    pub is_sole_sender: bool,
    /// The operator in Mediation whose output is one for each event; none: the last one.
    pub output_operator: Option<Arc<str>>,
    /// What happens to fields outside the schema.
    pub unknown_fields: UnknownFields,
    /// What else an event may be refused for.
    pub guards: Guards,
    /// What one request may hold.
    pub limits: Limits,
    /// What the far end was found to take, below its documented limit.
    pub learned_limit: Arc<LearnedLimit>,
    /// What was done for it, counted since the start.
    pub counters: Arc<MeterCounters>,
    /// Rings when a batch of it was committed, or when its lane may end.
    pub backlog: Arc<Notify>,
}

impl Meter {
    /// Whether what became of its events can be asked for, and told from those of others.
    pub fn is_reconcilable(&self) -> bool {
        self.id.is_some() && self.event_id_field.is_some()
    }

    /// A meter as one is without further settings: the documented fields, the limits of
    /// production, no event id.
    pub fn new(name: &str, upload_url: String) -> Self {
        Self {
            name: name.into(),
            upload_url,
            id: None,
            version: DEFAULT_VERSION.into(),
            schema: Schema::documented().into(),
            event_id_field: None,
            quantity_field: Some(DOCUMENTED_QUANTITY.into()),
            is_sole_sender: false,
            output_operator: None,
            unknown_fields: UnknownFields::default(),
            guards: Guards::default(),
            limits: Limits::PRODUCTION,
            learned_limit: Arc::default(),
            counters: Arc::default(),
            backlog: Arc::default(),
        }
    }

    /// The same meter with other settings: it goes on with what `before` has counted and learned,
    /// and rings for whom `before` rings.
    #[must_use]
    pub fn succeeding(&self, before: &Self) -> Self {
        Self {
            learned_limit: Arc::clone(&before.learned_limit),
            counters: Arc::clone(&before.counters),
            backlog: Arc::clone(&before.backlog),
            schema: self.schema.beside(&before.schema),
            ..self.clone()
        }
    }

    /// Whether its schema comes with its export.
    pub fn is_exported(&self) -> bool {
        self.schema.refresh().is_some()
    }

    /// Whether both have the same settings, whatever they have counted and learned.
    pub fn is_set_as(&self, other: &Self) -> bool {
        let Self {
            name,
            upload_url,
            id,
            version,
            schema,
            event_id_field,
            quantity_field,
            is_sole_sender,
            output_operator,
            unknown_fields,
            guards,
            limits,
            learned_limit: _,
            counters: _,
            backlog: _,
        } = self;
        (name, upload_url, id, version)
            == (&other.name, &other.upload_url, &other.id, &other.version)
            && schema.is_set_as(&other.schema)
            && event_id_field == &other.event_id_field
            && (quantity_field, is_sole_sender, output_operator)
                == (&other.quantity_field, &other.is_sole_sender, &other.output_operator)
            && (unknown_fields, guards, limits)
                == (&other.unknown_fields, &other.guards, &other.limits)
    }
}

/// The configured meters as they are now. A line knows its meter as it was when its source began;
/// a reload of the configuration may have changed it since.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<HashMap<Arc<str>, Arc<Meter>>>);

impl Roster {
    /// Of `meters`, each of another name.
    pub fn new(meters: &[Arc<Meter>]) -> Self {
        let by_name = meters.iter().map(|meter| (Arc::clone(&meter.name), Arc::clone(meter)));
        Self(Arc::new(by_name.collect()))
    }

    /// `meter` as it is now; as it was, when it is not configured any more.
    pub fn current<'r>(&'r self, meter: &'r Arc<Meter>) -> &'r Arc<Meter> {
        self.0.get(&meter.name).unwrap_or(meter)
    }
}
