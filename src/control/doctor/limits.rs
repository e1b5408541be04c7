//! What one request may hold, and how many may go out.

use super::{Facts, Finding, Verdict};
use crate::meter::Limits;

/// Requests a minute that Zuora documents for production.
const REQUESTS_PER_MINUTE: u32 = 50_000;

/// The server gives up on a request after so many seconds.
const SERVER_TIMEOUT_SECONDS: u64 = 120;

/// The limits here against those that are documented; of what the tenant really has, nothing is said.
pub(super) fn examine(facts: &Facts<'_>) -> Finding {
    const CHECK: &str = "limits";
    let limits = facts.meter.limits;
    let found = format!(
        "{} events, {} bytes a request; {} requests a minute, {} at a time",
        limits.events_per_request_max,
        limits.payload_bytes_max,
        facts.requests_per_minute,
        facts.requests_in_flight_max
    );
    let is_above = limits.events_per_request_max > Limits::PRODUCTION.events_per_request_max
        || limits.payload_bytes_max > Limits::PRODUCTION.payload_bytes_max
        || facts.requests_per_minute > REQUESTS_PER_MINUTE;
    if is_above {
        let advice =
            "leave [mediation.limits] to mediation.tenant: this is above any documented limit";
        return Finding::new(CHECK, Verdict::Warning, found, advice);
    }
    if facts.request_timeout.as_secs() <= SERVER_TIMEOUT_SECONDS {
        let found = format!("a request may take {}", super::period(facts.request_timeout));
        let advice = "set mediation.request_timeout above the server's own 120s: a slow success becomes \
                      an unknown outcome";
        return Finding::new(CHECK, Verdict::Warning, found, advice);
    }
    Finding::ok(CHECK, found)
}
