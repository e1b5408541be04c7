//! Reads bodies: unpacks them, judges or counts their events, and enforces the limits.
//!
//! Buffers and decompressors are kept and used again. Work that takes long leaves the async
//! threads; what is small is done on the spot, because a hand-over costs more than it.

use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use super::count::{Malformed, Scanner};
use super::inflate::{self, Inflater};
use super::ledger::Delivery;
use super::validate::{self, Checks, DATA_CODE};
use super::{Mode, Settings, lock};

/// The largest body that is read on an async thread, as it came: a gzip body of 4 KiB unpacks
/// to 4 MB at most, which takes some milliseconds.
const INLINE_BYTES_MAX: usize = 4 * 1024;

/// What one body is read with.
struct Worker {
    inflater: Inflater,
    payload: Vec<u8>,
}

/// Workers that wait, and how many may be at work on threads of their own.
pub(super) struct Workers {
    idle: Mutex<Vec<Worker>>,
    busy: Arc<Semaphore>,
    idle_max: usize,
}

/// Why a request is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// More bytes before compression than allowed.
    TooLarge,
    /// The simulator failed, not the request.
    Failed,
    /// Anything wrong with what it says.
    Data {
        /// Mediation's code.
        code: &'static str,
        /// In words.
        message: String,
    },
}

impl Refused {
    /// Data that cannot be read.
    pub(super) fn data(message: impl Into<String>) -> Self {
        Self::Data { code: DATA_CODE, message: message.into() }
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::data(malformed.to_string())
    }
}

impl From<inflate::Error<Refused>> for Refused {
    fn from(error: inflate::Error<Self>) -> Self {
        match error {
            inflate::Error::TooLarge => Self::TooLarge,
            inflate::Error::Sink(refused) => refused,
            inflate::Error::Damaged(_) => Self::data(error.to_string()),
        }
    }
}

impl Workers {
    /// As many as there are processors.
    pub(super) fn new() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            idle: Mutex::new(Vec::new()),
            busy: Arc::new(Semaphore::new(processors)),
            idle_max: 2 * processors,
        }
    }

    /// Runs `job` for a body of `wire_bytes`, here or on a thread where it may take its time.
    /// None when the job panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        wire_bytes: usize,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if wire_bytes <= INLINE_BYTES_MAX {
            return Some(job());
        }
        // Bounds the memory: a job that waits holds its body only. The semaphore is never closed.
        let permit = Arc::clone(&self.busy).acquire_owned().await.ok()?;
        let job = move || {
            let done = job();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(job).await.ok()
    }

    /// Reads a body.
    pub(super) fn read(
        &self,
        settings: &Settings,
        wire: &[u8],
        is_gzip: bool,
    ) -> Result<Delivery, Refused> {
        let waiting = lock(&self.idle).pop();
        let mut worker =
            waiting.unwrap_or_else(|| Worker { inflater: Inflater::new(), payload: Vec::new() });
        let read = match settings.mode {
            Mode::Validate => worker.validate(settings, wire, is_gzip),
            Mode::Count => worker.count(settings, wire, is_gzip),
        };
        let mut idle = lock(&self.idle);
        if idle.len() < self.idle_max {
            idle.push(worker);
        }
        drop(idle);
        let mut delivery = read?;
        check_rows(delivery.events, settings.limits.rows_max)?;
        delivery.wire_bytes = wire.len() as u64;
        Ok(delivery)
    }
}

fn check_rows(events: u64, rows_max: u32) -> Result<(), Refused> {
    if events == 0 {
        return Err(Refused::data("the array holds no event"));
    }
    if events > u64::from(rows_max) {
        let message = format!("{events} events in one request, at most {rows_max} are allowed");
        return Err(Refused::data(message));
    }
    Ok(())
}

impl Worker {
    fn validate(
        &mut self,
        settings: &Settings,
        wire: &[u8],
        is_gzip: bool,
    ) -> Result<Delivery, Refused> {
        let payload_bytes_max = settings.limits.payload_bytes_max;
        let payload = if is_gzip {
            self.payload.clear();
            let payload = &mut self.payload;
            self.inflater.inflate(wire, payload_bytes_max, |block| {
                payload.extend_from_slice(block);
                Ok::<(), Refused>(())
            })?;
            self.payload.as_slice()
        } else if wire.len() > payload_bytes_max {
            return Err(Refused::TooLarge);
        } else {
            wire
        };
        let checks = Checks {
            event_id_field: settings.event_id_field.as_deref(),
            schema_check: settings.schema_check,
        };
        let content = validate::read(payload, checks)
            .map_err(|refusal| Refused::Data { code: refusal.code, message: refusal.message })?;
        Ok(Delivery {
            events: content.events,
            ids: content.ids,
            has_ids: true,
            payload_bytes: payload.len() as u64,
            wire_bytes: 0,
        })
    }

    fn count(
        &mut self,
        settings: &Settings,
        wire: &[u8],
        is_gzip: bool,
    ) -> Result<Delivery, Refused> {
        let payload_bytes_max = settings.limits.payload_bytes_max;
        let mut scanner = Scanner::new();
        let payload_bytes = if is_gzip {
            let sink = |block: &[u8]| scanner.feed(block).map_err(Refused::from);
            self.inflater.inflate(wire, payload_bytes_max, sink)?
        } else if wire.len() > payload_bytes_max {
            return Err(Refused::TooLarge);
        } else {
            scanner.feed(wire)?;
            wire.len()
        };
        let events = scanner.finish()?;
        let payload_bytes = payload_bytes as u64;
        Ok(Delivery { events, payload_bytes, ..Delivery::default() })
    }
}
