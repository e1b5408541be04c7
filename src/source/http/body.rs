//! Takes bodies and makes lines of them, within a budget of bytes that all requests share.
//!
//! A body is read as it comes, decompressed to a bound and split on a thread outside the runtime;
//! two at a time, so that no flood of gzip bombs costs more than two bounds. A body that is refused
//! is read to its end and thrown away, to a bound: who is cut off while sending sees no answer.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::answer::Refusal;
use super::split::{self, Limit, Malformed};
use crate::telemetry::Pulse;

/// Bodies that are decompressed and split at one time.
const DECODERS_MAX: usize = 2;

/// Full bodies that may be under way at one time; many more that are small.
const FULL_BODIES_MAX: usize = 4;

/// The least that the budget is.
const BUDGET_BYTES_MIN: usize = 16 << 20;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) is_gzip: bool,
    /// One event a line, instead of an event or an array of events.
    pub(super) has_lines: bool,
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Before and after decompression.
    pub(super) body_bytes_max: usize,
    /// One event.
    pub(super) line_bytes_max: usize,
    /// How long it may take to come.
    pub(super) timeout: Duration,
}

/// Events, one a line.
#[derive(Debug)]
pub(super) struct Events {
    /// Every line has its end.
    pub(super) lines: Vec<u8>,
    /// Lines that are not blank.
    pub(super) count: u64,
    /// SHA-256 over what was hashed before the body, and the body without its gzip.
    pub(super) hash: [u8; 32],
    /// The share of the budget, to be held while the lines are.
    pub(super) share: OwnedSemaphorePermit,
}

/// Why a body is not taken.
#[derive(Debug)]
pub(super) enum Error {
    /// Before it was looked at.
    Refused(Refusal),
    /// It cannot be read.
    Unreadable(&'static str),
    /// It is no sequence of events.
    Malformed(Malformed),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What all bodies of a source share.
pub(super) struct Bodies {
    limits: Limits,
    pulse: Arc<Pulse>,
    budget: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
}

impl Bodies {
    pub(super) fn new(limits: Limits, pulse: Arc<Pulse>) -> Self {
        let budget = (limits.body_bytes_max * FULL_BODIES_MAX).max(BUDGET_BYTES_MIN);
        Self {
            limits,
            pulse,
            budget: Arc::new(Semaphore::new(budget)),
            decoders: Arc::new(Semaphore::new(DECODERS_MAX)),
        }
    }

    /// The events of `body`. `hasher` has seen what else makes two requests the same.
    pub(super) async fn take(
        &self,
        body: Incoming,
        form: Form,
        hasher: Sha256,
    ) -> Result<Events, Error> {
        let (wire, mut share) = self.receive(body).await?;
        // Neither semaphore is ever closed.
        let decoder = Arc::clone(&self.decoders).acquire_owned().await;
        let (limits, pulse) = (self.limits, Arc::clone(&self.pulse));
        let decode = move || {
            let _beat = pulse.beat();
            let decoded = decode(wire, form, limits, hasher);
            drop(decoder);
            decoded
        };
        // A panic in it is a defect that costs this request.
        let decoded = tokio::task::spawn_blocking(decode).await;
        let Decoded { lines, count, hash } =
            decoded.map_err(|_| Error::Unreadable("the body could not be read"))??;
        let more = lines.len().saturating_sub(share.num_permits());
        share.merge(self.share(more)?);
        Ok(Events { lines, count, hash, share })
    }

    /// Reads `body` to its end and keeps nothing.
    pub(super) async fn discard(&self, body: Incoming) {
        let until = Instant::now() + self.limits.timeout;
        self.discard_rest(body, 0, until).await;
    }

    async fn receive(&self, mut body: Incoming) -> Result<(Vec<u8>, OwnedSemaphorePermit), Error> {
        let until = Instant::now() + self.limits.timeout;
        let mut wire = Vec::new();
        let mut share = self.share(0)?;
        loop {
            let frame = timeout_at(until, body.frame()).await.map_err(|_| Refusal::TooSlow)?;
            let Some(frame) = frame else { return Ok((wire, share)) };
            let frame = frame.map_err(|_| Error::Unreadable("the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            let is_too_large = wire.len() + data.len() > self.limits.body_bytes_max;
            let refusal = match self.share(data.len()) {
                _ if is_too_large => Refusal::TooLarge,
                Ok(more) => {
                    share.merge(more);
                    wire.extend_from_slice(&data);
                    continue;
                }
                Err(refusal) => refusal,
            };
            let taken = wire.len();
            drop((wire, share));
            self.discard_rest(body, taken, until).await;
            return Err(refusal.into());
        }
    }

    async fn discard_rest(&self, mut body: Incoming, taken: usize, until: Instant) {
        let mut left = (2 * self.limits.body_bytes_max).saturating_sub(taken);
        while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
            let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
            if bytes >= left {
                return;
            }
            left -= bytes;
        }
    }

    fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::TooLarge)?;
        Arc::clone(&self.budget).try_acquire_many_owned(bytes).map_err(|_| Refusal::Busy)
    }
}

struct Decoded {
    lines: Vec<u8>,
    count: u64,
    hash: [u8; 32],
}

fn decode(wire: Vec<u8>, form: Form, limits: Limits, mut hasher: Sha256) -> Result<Decoded, Error> {
    let mut lines = if form.is_gzip { inflate(&wire, limits.body_bytes_max)? } else { wire };
    hasher.update(&lines);
    let limit = Limit(limits.line_bytes_max);
    let split = if form.has_lines { split::lines } else { split::document };
    let count = split(&mut lines, limit).map_err(Error::Malformed)?;
    Ok(Decoded { lines, count, hash: hasher.finalize().into() })
}

fn inflate(wire: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut payload = Vec::new();
    let mut decoder = MultiGzDecoder::new(wire).take(bytes_max as u64 + 1);
    decoder.read_to_end(&mut payload).map_err(|_| Error::Unreadable("the body is not gzip"))?;
    if payload.len() > bytes_max {
        return Err(Refusal::TooLarge.into());
    }
    Ok(payload)
}
