//! x

/// x
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// x
    pub inputs: Vec<std::path::PathBuf>,
    /// x
    pub line_bytes_max: usize,
}

/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
/// Placeholder.
pub fn run(_: &Settings, _: &super::Context, _: Vec<crate::position::Cursor>) -> Result<(), Error> {
    Ok(())
}
