//! Follows files for ever.

use std::time::Duration;

/// Where reading begins in a file that was never seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// At its first byte.
    #[default]
    Beginning,
    /// At its end: what was there before is not read.
    End,
}

/// The settings of a file source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Glob patterns of the files to follow.
    pub paths: Vec<String>,
    /// Glob patterns of files to leave out.
    pub exclude: Vec<String>,
    /// Where reading begins in files never seen before.
    pub read_from: ReadFrom,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
    /// How often files are looked at when the kernel says nothing.
    pub poll_interval: Duration,
    /// How many files are held open at most while nothing is written to them.
    pub open_files_max: usize,
}

/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
/// Placeholder.
pub fn run(_: &Settings, _: &super::Context, _: Vec<crate::position::Cursor>) -> Result<(), Error> {
    Ok(())
}
