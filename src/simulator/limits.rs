//! What a tenant may send, and the window that counts its calls.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which calls are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// The limits of streaming ingestion, as Zuora documents them for each type of tenant in
/// "Configure a Streaming API as a source", table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events in one request.
    pub rows_max: u32,
    /// Bytes of one body before compression; "4M" is read as 4,000,000.
    pub payload_bytes_max: usize,
    /// Requests within 60 seconds.
    pub calls_per_minute: u32,
}

impl Limits {
    /// Of production and the central sandbox.
    pub const PRODUCTION: Self =
        Self { rows_max: 10_000, payload_bytes_max: 4_000_000, calls_per_minute: 50_000 };

    /// The names that [`Limits::for_tenant`] knows.
    pub const TENANTS: [&str; 4] =
        ["production", "central-sandbox", "developer-sandbox", "api-sandbox"];

    /// The limits of a type of tenant, one of [`Limits::TENANTS`].
    pub fn for_tenant(name: &str) -> Option<Self> {
        Some(match name {
            "production" | "central-sandbox" => Self::PRODUCTION,
            "developer-sandbox" => {
                Self { rows_max: 5_000, payload_bytes_max: 2_000_000, calls_per_minute: 5_000 }
            }
            "api-sandbox" => {
                Self { rows_max: 1_000, payload_bytes_max: 1_000_000, calls_per_minute: 600 }
            }
            _ => return None,
        })
    }
}

/// The calls of the last minute; holds at most `calls_max` instants.
#[derive(Debug)]
pub(super) struct Window {
    calls_max: usize,
    calls: VecDeque<Instant>,
}

/// What the window says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    /// Whether the call is within the limit.
    pub(super) is_admitted: bool,
    /// How many more calls may come now.
    pub(super) remaining: usize,
    /// Until one more call may come than now.
    pub(super) reset: Duration,
}

impl Window {
    /// An empty window.
    pub(super) fn new(calls_per_minute: u32) -> Self {
        let calls_max = usize::try_from(calls_per_minute).unwrap_or(usize::MAX);
        Self { calls_max, calls: VecDeque::new() }
    }

    /// Counts a call at `now`. A call that is not admitted takes no place in the window.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        while self.calls.front().is_some_and(|call| now.duration_since(*call) >= WINDOW) {
            self.calls.pop_front();
        }
        let is_admitted = self.calls.len() < self.calls_max;
        if is_admitted {
            self.calls.push_back(now);
        }
        let reset = self.calls.front().map_or(WINDOW, |call| *call + WINDOW - now);
        Admission { is_admitted, remaining: self.calls_max - self.calls.len(), reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(2);
        let admission = |is_admitted, remaining, reset| Admission {
            is_admitted,
            remaining,
            reset: Duration::from_secs(reset),
        };
        assert_eq!(window.admit(at(0)), admission(true, 1, 60));
        assert_eq!(window.admit(at(20)), admission(true, 0, 40));
        assert_eq!(window.admit(at(59)), admission(false, 0, 1));
        assert_eq!(window.admit(at(60)), admission(true, 0, 20));
        assert_eq!(window.admit(at(61)), admission(false, 0, 19));
        assert_eq!(window.admit(at(200)), admission(true, 1, 60));
    }

    #[test]
    fn a_limit_of_zero_admits_nothing() {
        let admission = Window::new(0).admit(Instant::now());
        assert!(!admission.is_admitted && admission.reset == WINDOW);
    }

    #[test]
    fn every_tenant_that_is_listed_has_limits() {
        for tenant in Limits::TENANTS {
            assert!(Limits::for_tenant(tenant).is_some(), "{tenant}");
        }
        assert_eq!(Limits::for_tenant("Production"), None);
    }
}
