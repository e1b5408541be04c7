//! Why the store cannot be used, and whether a person has to see to it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be made or used.
    #[error("state directory {path}: {source}")]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes to the store.
    #[error("store {path} is in use by another meterd{holder}")]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// ` (process N)` when known.
        holder: String,
    },
    /// There is no store to read.
    #[error("there is no store at {path}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is another program's, or was written by a later version.
    #[error("store {path} is not one that this version understands: {found}")]
    NotUnderstood {
        /// The database.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// An earlier version wrote it.
    #[error("store {path} has tables of version {version}: `meterd run` brings them up to date")]
    Older {
        /// The database.
        path: PathBuf,
        /// The version of its tables.
        version: usize,
    },
    /// The log of the store lost commits that were acknowledged.
    #[error(
        "the log {path} is damaged {place}, {commits} commits and more are not readable: \
         `meterd store salvage` takes what is left to a new store"
    )]
    LogDamaged {
        /// The log.
        path: PathBuf,
        /// Where.
        place: String,
        /// Complete commits behind the damage.
        commits: u64,
    },
    /// The store has fewer commits than were acknowledged.
    #[error(
        "store {path} has {commits} commits and {acknowledged} were acknowledged: it or its log was \
         cut off, or it is an older copy; `meterd store salvage` takes what is there to a new store"
    )]
    Behind {
        /// The database.
        path: PathBuf,
        /// How many it has.
        commits: i64,
        /// How many its writer has seen.
        acknowledged: i64,
    },
    /// The database is not there, and what stands beside it is.
    #[error(
        "store {path} is missing or empty, and {witness} knows {commits} commits of it: put the store \
         back; if a new one is meant, take {witness} away"
    )]
    Gone {
        /// The database.
        path: PathBuf,
        /// The lock or the log.
        witness: PathBuf,
        /// How many.
        commits: i64,
    },
    /// There is a store where a new one was to be made.
    #[error("there is a store at {path} already")]
    Present {
        /// The database.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("store: {0}{advice}", advice = advice(.0))]
    Sqlite(#[from] rusqlite::Error),
}

impl Error {
    /// Whether the store is damaged: trying again changes nothing, a person is needed.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::LogDamaged { .. } | Self::Behind { .. } | Self::Gone { .. } => true,
            Self::Sqlite(error) => is_damage(error),
            _ => false,
        }
    }
}

/// Every statement is one of ours: what a sound store would have taken or given is the store's fault.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        E::QueryReturnedNoRows
        | E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..)
        | E::SqlInputError { .. } => true,
        error => matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ConstraintViolation
                    | ErrorCode::Unknown
            )
        ),
    }
}

/// What to do about a store that is damaged.
fn advice(error: &rusqlite::Error) -> &'static str {
    if is_damage(error) {
        "; `meterd store check` tells what is damaged, `meterd store salvage` takes out the rest"
    } else {
        ""
    }
}
