//! Wires the stages, starts and stops them.

use std::sync::Arc;
use std::time::Duration;

use crate::meter::Meter;
use crate::{delivery, pack, source, store};

/// Everything that an agent needs to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Part of event ids and track ids.
    pub name: Arc<str>,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
    /// Bytes read but not committed, over all sources.
    pub intake_bytes_max: u32,
    /// The store.
    pub store: store::Settings,
    /// Batching and packing.
    pub pack: pack::Settings,
    /// Sending.
    pub delivery: delivery::Settings,
    /// Every configured meter.
    pub meters: Vec<Arc<Meter>>,
    /// Every configured source, with its name and its meter.
    pub sources: Vec<Source>,
}

/// A configured source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The meter that its events are for.
    pub meter: Arc<Meter>,
    /// What it reads.
    pub settings: source::Settings,
}
