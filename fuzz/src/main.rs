//! libFuzzer and the target that `METERD_FUZZ_TARGET` names. `fuzz/run` builds and starts it.

#![no_main]

#[path = "../targets/targets.rs"]
mod targets;

use std::sync::OnceLock;

use targets::{TARGETS, Target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn choose() {
    let wanted = std::env::var("METERD_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let names = TARGETS.map(|(name, _)| name).join(", ");
    let (_, target) = found.unwrap_or_else(|| panic!("METERD_FUZZ_TARGET is one of {names}"));
    CHOSEN.get_or_init(|| *target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |input: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        target(input);
    }
});
