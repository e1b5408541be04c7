//! The durable store.

/// The settings of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the store's file and its lock.
    pub directory: std::path::PathBuf,
    /// When the store holds so many bytes, sources wait.
    pub bytes_max: u64,
    /// How long receipts are kept.
    pub receipts_keep: std::time::Duration,
}
