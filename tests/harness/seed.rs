//! What makes a random test play again.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Result;

/// Replays the course of a run, as far as time does.
const SEED_VARIABLE: &str = "METERD_IT_SEED";

/// How many events the long tests carry; more than they do by themselves is a longer run.
const EVENTS_VARIABLE: &str = "METERD_IT_EVENTS";

/// A seed, said so that a failure can be played again.
pub(crate) fn seed() -> Result<u64> {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    say(&format!("{SEED_VARIABLE}={seed}"));
    Ok(seed)
}

/// How many events a long test carries.
pub(crate) fn events(usual: u64) -> Result<u64> {
    std::env::var(EVENTS_VARIABLE).map_or(Ok(usual), |events| Ok(events.parse()?))
}

/// Whether the long profile is asked for.
pub(crate) fn is_full() -> bool {
    std::env::var_os("METERD_IT_FULL").is_some()
}

/// Shown when the test fails.
#[expect(clippy::print_stderr, reason = "seed and figures are needed to look at a failure")]
pub(crate) fn say(message: &str) {
    eprintln!("{message}");
}
