//! What is fuzzed, each a function of bytes that asserts what has to be true of them.
//!
//! libFuzzer drives these functions (`fuzz/run`), and `tests/fuzz.rs` gives them every file of
//! `fuzz/seeds`, so that an input that was found once is a test for ever.

mod answers;
mod body;
mod configuration;
mod formats;
mod framing;
mod json;
mod oracle;
mod split;
mod times;

/// One of them, by its name.
pub(crate) type Target = fn(&[u8]);

/// All of them; the names are those of directories in `fuzz/seeds`.
pub(crate) const TARGETS: [(&str, Target); 8] = [
    ("answers", answers::run),
    ("body", body::run),
    ("configuration", configuration::run),
    ("formats", formats::run),
    ("framing", framing::run),
    ("json", json::run),
    ("split", split::run),
    ("times", times::run),
];
