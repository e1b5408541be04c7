//! Reads the store while somebody else may write to it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::connection::keep_plans;
use super::dead_letters::{self, Filter, LetterCount, Shown, StoredLetter};
use super::decisions::{self, StoredBatch, Undecided};
use super::fresh::Fresh;
use super::lanes::{self, Waits};
use super::receipts::{self, Receipt};
use super::requests;
use super::schemas::{self, Kept};
use super::tallies::{self, Status, StoreStatus};
use super::{
    BUSY_TIMEOUT, Error, FILE_NAME, batches, check_there, cursors, footing, lock, migrations,
};
use crate::clock::Timestamp;
use crate::position::{Cursor, FileIdentity};
use crate::settlement::{BatchHead, BatchId};

/// A connection that never writes.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    /// Bodies that need not be read.
    fresh: Arc<Fresh>,
}

impl Reader {
    /// Opens the store in `directory`, which must be there.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        match path.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing { path });
            }
            Err(source) => return Err(Error::Directory { path, source }),
        }
        lock::check_files(directory)?;
        check_there(&path, None)?;
        // A reader of a WAL database writes to its index file, so it is opened for writing.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Who only looks must not put a log away that nobody has checked.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "query_only", true)?;
        keep_plans(&connection)?;
        connection.pragma_update(None, "cache_size", -1024)?;
        match migrations::check(&connection, &path)? {
            // Its writer was cut off before it could make the tables.
            0 => return Err(Error::Missing { path }),
            migrations::VERSION => {}
            version => return Err(Error::Older { path, version }),
        }
        Ok(Self { connection, fresh: Arc::default() })
    }

    /// The same, where the bodies of `fresh` are taken from there.
    #[must_use]
    pub fn with_fresh(self, fresh: Arc<Fresh>) -> Self {
        Self { fresh, ..self }
    }

    /// A number that changes whenever another connection has committed.
    pub fn version(&self) -> Result<i64, Error> {
        Ok(self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// Fails where rows wait that no index finds, so that nobody would ever send them. Takes time that
    /// grows with what waits: some hundred milliseconds for 100,000 batches.
    pub fn look(&self) -> Result<(), Error> {
        let transaction = self.connection.unchecked_transaction()?;
        Ok(footing::look(&transaction)?)
    }

    /// The oldest batch of `meter` behind `after`, with its body.
    pub fn next_batch(
        &self,
        meter: &str,
        after: BatchId,
    ) -> Result<Option<(BatchHead, Bytes)>, Error> {
        Ok(batches::next(&self.connection, meter, after, &self.fresh)?)
    }

    /// What is known of `batch`; none: it does not wait any more.
    pub fn batch(&self, batch: BatchId) -> Result<Option<BatchHead>, Error> {
        Ok(batches::head(&self.connection, batch)?)
    }

    /// The batches of `meter` that nobody has decided about; at most `named_max` of them by name.
    pub fn undecided(&self, meter: &str, named_max: u32) -> Result<Undecided, Error> {
        Ok(decisions::undecided(&self.connection, meter, named_max)?)
    }

    /// At most `limit` batches behind `after`, oldest first: those of `meter` where one is given,
    /// and those with an attempt of unknown outcome where only those are wanted.
    pub fn batches(
        &self,
        meter: Option<&str>,
        is_unknown: bool,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredBatch>, Error> {
        Ok(decisions::list(&self.connection, meter, is_unknown, after, limit)?)
    }

    /// The schema of `meter` that came last with its export.
    pub fn schema(&self, meter: &str) -> Result<Option<Kept>, Error> {
        Ok(schemas::kept(&self.connection, meter)?)
    }

    /// The waits that the server asked for.
    pub fn waits(&self) -> Result<Waits, Error> {
        Ok(lanes::waits(&self.connection)?)
    }

    /// Whether a request with this hash is committed and remembered at `now`.
    pub fn has_request(&self, hash: &[u8; 32], now: Timestamp) -> Result<bool, Error> {
        Ok(requests::exists(&self.connection, hash, now)?)
    }

    /// The tallies and the equation, in one snapshot.
    pub fn status(&mut self, now: Timestamp, bytes_max: Option<u64>) -> Result<Status, Error> {
        let transaction = self.connection.transaction()?;
        let store = StoreStatus { bytes: bytes_used(&transaction)?, bytes_max };
        Ok(tallies::status(&transaction, now, store)?)
    }

    /// The same, and for each source with files the bytes that `lag_bytes` says of their cursors.
    pub fn status_with_lag(
        &mut self,
        now: Timestamp,
        bytes_max: Option<u64>,
        lag_bytes: fn(&[Cursor]) -> u64,
    ) -> Result<Status, Error> {
        let mut status = self.status(now, bytes_max)?;
        for (name, source) in &mut status.sources {
            let cursors = self.cursors(name)?;
            source.lag_bytes = (!cursors.is_empty()).then(|| lag_bytes(&cursors));
        }
        Ok(status)
    }

    /// What is known of the files of `source`.
    pub fn cursors(&self, source: &str) -> Result<Vec<Cursor>, Error> {
        Ok(cursors::of_source(&self.connection, source)?)
    }

    /// Whether everything of a file of `source` up to `offset` is delivered or a dead letter, and
    /// none of its dead letters is left.
    pub fn is_delivered(
        &self,
        source: &str,
        file: FileIdentity,
        offset: u64,
    ) -> Result<bool, Error> {
        Ok(cursors::is_delivered(&self.connection, source, file, offset)?)
    }

    /// At most `limit` dead letters with numbers above `after`, oldest first; less when they are
    /// large, none behind the last.
    pub fn dead_letters(
        &self,
        filter: &Filter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredLetter>, Error> {
        Ok(dead_letters::list(&self.connection, filter, after, limit)?)
    }

    /// The dead letter with number `id`.
    pub fn dead_letter(&self, id: i64) -> Result<Option<StoredLetter>, Error> {
        Ok(dead_letters::one(&self.connection, id)?)
    }

    /// At most `limit` dead letters with numbers below `before`, newest first, with at most
    /// `excerpt_bytes` of their events.
    pub fn latest_dead_letters(
        &self,
        filter: &Filter,
        before: i64,
        limit: u32,
        excerpt_bytes: u32,
    ) -> Result<Vec<Shown>, Error> {
        Ok(dead_letters::latest(&self.connection, filter, before, limit, excerpt_bytes)?)
    }

    /// How many dead letters there are of each meter and reason: looks at each of them.
    pub fn dead_letter_counts(&self) -> Result<Vec<LetterCount>, Error> {
        Ok(dead_letters::counts(&self.connection)?)
    }

    /// The number of the newest dead letter; 0: there is none.
    pub fn last_dead_letter(&self) -> Result<i64, Error> {
        Ok(dead_letters::last(&self.connection)?)
    }

    /// Numbers between which all receipts are of the time that `filter` means; none: there are
    /// none.
    pub fn receipts_span(&self, filter: &receipts::Filter) -> Result<Option<(i64, i64)>, Error> {
        Ok(receipts::span(&self.connection, filter)?)
    }

    /// At most `limit` receipts of batches behind the start of `numbers` and up to its end, oldest
    /// first.
    pub fn receipts(
        &self,
        filter: &receipts::Filter,
        numbers: Range<i64>,
        limit: u32,
    ) -> Result<Vec<Receipt>, Error> {
        Ok(receipts::list(&self.connection, filter, numbers, limit)?)
    }

    /// The receipt with the track id or batch number `name`.
    pub fn receipt(&self, name: &str) -> Result<Option<Receipt>, Error> {
        Ok(receipts::one(&self.connection, name)?)
    }
}

/// Bytes of the pages that hold something.
pub(super) fn bytes_used(connection: &Connection) -> rusqlite::Result<u64> {
    let query = "SELECT (page_count - freelist_count) * page_size \
                 FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    let bytes: i64 = connection.prepare_cached(query)?.query_row([], |row| row.get(0))?;
    Ok(bytes.cast_unsigned())
}
