//! Reads standard input to its end.

/// The settings of the standard input source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
}
