//! The durable store: one SQLite file that holds everything between a source and a receipt.
//!
//! Promises: what a returned [`Store::commit`] wrote survives a power cut (write-ahead log,
//! `synchronous=FULL`); batch bodies and the cursors of the lines in them are one transaction;
//! one daemon writes, and short changes of commands
//! beside it ([`editor`]). Never: deletes what it cannot read, evicts to make room, or opens a store
//! of a newer version.

pub mod batches;
mod checksums;
mod connection;
pub mod cursors;
pub mod dead_letters;
pub mod decisions;
pub mod editor;
mod error;
mod footing;
pub mod fresh;
pub mod inspection;
pub mod lanes;
mod lock;
mod log;
pub mod migrations;
mod origins;
pub mod reader;
pub mod receipts;
pub mod reconciliations;
pub mod refusals;
mod requests;
pub mod salvage;
pub mod schemas;
pub mod sources;
pub mod tallies;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;
use crate::group::PackedGroup;
use crate::position::Cursor;
use crate::settlement::{BatchId, Settlement};
use batches::{Retired, Tries};
use connection::connect;
pub use error::Error;
use fresh::Fresh;
pub use lock::is_open_to_others;
use lock::{Lock, Mark};
use receipts::Answered;

/// The name of the database in the state directory.
pub const FILE_NAME: &str = "meterd.db";

/// How long a statement waits for another connection's lock. Readers never block the writer in
/// WAL mode; only a checkpoint at closing can.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Receipts that are forgotten in one transaction: a commit that waits for it waits milliseconds.
const PRUNED_MAX: u32 = 2000;

/// The settings of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the store's file and its lock.
    pub directory: PathBuf,
    /// When the store holds so many bytes, sources wait.
    pub bytes_max: u64,
    /// How long receipts are kept.
    pub receipts_keep: Duration,
}

/// What of the settings can change while the store is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// As in [`Settings`].
    pub bytes_max: u64,
    /// As in [`Settings`].
    pub receipts_keep: Duration,
}

impl Settings {
    /// What of them can change while the store is open.
    pub fn limits(&self) -> Limits {
        Limits { bytes_max: self.bytes_max, receipts_keep: self.receipts_keep }
    }
}

/// The only write connection.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    settings: Settings,
    track_prefix: String,
    /// The last commit failed: whether it happened has to be looked up.
    is_in_doubt: bool,
    lock: Lock,
    /// Transactions of [`Store::commit`] known to be durable.
    mark: Mark,
    fresh: Arc<Fresh>,
}

/// What one commit writes.
#[derive(Debug)]
pub struct Work<'w> {
    /// Packed groups, in the order of their numbers.
    pub groups: &'w [PackedGroup],
    /// What delivery learned.
    pub settlements: &'w [&'w Settlement],
    /// The time of the commit.
    pub now: Timestamp,
}

impl Store {
    /// Makes the directory of a store, if it is not there.
    pub fn create_directory(directory: &Path) -> Result<(), Error> {
        let failed = |source| Error::Directory { path: directory.to_owned(), source };
        lock::create_directory(directory).map_err(failed)
    }

    /// Opens or creates the store of the agent called `agent`.
    pub fn open(settings: &Settings, agent: &str) -> Result<Self, Error> {
        let directory = &settings.directory;
        let failed = |source| Error::Directory { path: directory.clone(), source };
        Self::create_directory(directory)?;
        lock::check_files(directory)?;
        let lock = Lock::take(directory)?;
        let path = directory.join(FILE_NAME);
        check_there(&path, lock.mark.as_ref())?;
        check_log(directory)?;
        lock::create_file(&path).map_err(failed)?;
        let connection = connect(directory)?;
        // For the whole process: what does not fit into memory while rows are sorted. Elsewhere it may
        // write nothing, be it for a read-only root or for its sandbox.
        connection.pragma_update(None, "temp_store_directory", directory.to_string_lossy())?;
        migrations::run_to(migrations::VERSION, &connection, &path)?;
        footing::check(&connection)?;
        let mark = Mark {
            store_id: migrations::store_id(&connection)?,
            commits: migrations::commits(&connection)?,
        };
        check_mark(&path, lock.mark.as_ref(), &mark)?;
        // A file that is read from another place is lost or counted twice.
        cursors::check(&connection)?;
        // What a power cut left behind the last commit must not be taken for later commits once new
        // ones stand before it. Not while somebody reads: the next start will do.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        // The file's entry in the directory must be as durable as the file.
        lock::sync_directory(directory).map_err(failed)?;
        lock.leave(&mark);
        Ok(Self {
            connection,
            settings: settings.clone(),
            track_prefix: track_prefix(agent, &mark.store_id),
            is_in_doubt: false,
            lock,
            mark,
            fresh: Arc::default(),
        })
    }

    /// Writes `work` in one transaction; when it returns, the work is durable.
    ///
    /// After an error, call it again with the same work until it succeeds: a commit that failed
    /// may have happened all the same, and only the next call finds out.
    pub fn commit(&mut self, work: &Work<'_>) -> Result<(), Error> {
        if self.is_in_doubt {
            self.reopen()?;
            self.is_in_doubt = false;
            if migrations::commits(&self.connection)? > self.mark.commits {
                self.count_commit();
                return Ok(());
            }
        }
        match self.try_commit(work) {
            Ok(batches) => {
                self.count_commit();
                let packed = work.groups.iter().flat_map(|group| &group.batches);
                for (batch, packed) in batches.into_iter().zip(packed) {
                    self.fresh.add(batch, packed.body.clone());
                }
                Ok(())
            }
            Err(error) => {
                self.is_in_doubt = true;
                Err(error)
            }
        }
    }

    /// A commit is durable.
    fn count_commit(&mut self) {
        self.mark.commits += 1;
        self.lock.leave(&self.mark);
    }

    /// Gives the numbers of the batches of all groups, in their order.
    fn try_commit(&mut self, work: &Work<'_>) -> Result<Vec<BatchId>, Error> {
        let (track_prefix, mut batches) = (&self.track_prefix, Vec::new());
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        migrations::set_commits(&transaction, self.mark.commits + 1)?;
        for group in work.groups {
            batches.extend(batches::insert(&transaction, group, track_prefix, work.now)?);
            for (source, cursor) in &group.cursors {
                cursors::upsert(&transaction, source, cursor, work.now)?;
            }
            for letter in &group.dead_letters {
                dead_letters::insert(&transaction, letter, Tries::default(), work.now)?;
            }
            tallies::add_group(&transaction, group, work.now)?;
            requests::insert(&transaction, &group.notices, work.now)?;
            origins::see(&transaction, &group.origins, work.now)?;
        }
        for settlement in work.settlements {
            settle(&transaction, settlement, track_prefix)?;
        }
        transaction.commit()?;
        Ok(batches)
    }

    /// The bodies that were stored last: for a [`reader::Reader`] that sends them.
    pub fn fresh(&self) -> Arc<Fresh> {
        Arc::clone(&self.fresh)
    }

    /// Opens the database again, after an I/O error left the connection in doubt.
    fn reopen(&mut self) -> Result<(), Error> {
        // The old connection must be closed first: its file descriptor may hide lost writes.
        let closed = std::mem::replace(&mut self.connection, Connection::open_in_memory()?);
        drop(closed);
        self.connection = connect(&self.settings.directory)?;
        // What the log holds may only be in memory, if it was its sync that failed. Writing it to
        // the database and syncing that makes it durable, or fails.
        let busy: i64 =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 {
            return Ok(());
        }
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        Err(rusqlite::Error::SqliteFailure(busy, Some("the log is in use".into())).into())
    }

    /// Bytes in use: pages that hold something, whether in the file or still in its log.
    pub fn bytes_used(&self) -> Result<u64, Error> {
        reader::bytes_used(&self.connection).map_err(Error::from)
    }

    /// The limit from the settings.
    pub fn bytes_max(&self) -> u64 {
        self.settings.bytes_max
    }

    /// Whether no batch waits.
    pub fn is_drained(&self) -> Result<bool, Error> {
        Ok(!batches::exist(&self.connection)?)
    }

    /// The meters of which events wait.
    pub fn waiting_meters(&self) -> Result<Vec<String>, Error> {
        Ok(batches::meters(&self.connection)?)
    }

    /// What is known of the files of `source`.
    pub fn cursors(&self, source: &str) -> Result<Vec<Cursor>, Error> {
        Ok(cursors::of_source(&self.connection, source)?)
    }

    /// Begins a run in which each lane has at most `in_flight_max` unsettled requests. If the run
    /// before did not end by [`Store::end_run`], as many batches of each meter may have reached
    /// Mediation without an answer: that is recorded. What the server asked for is at most
    /// `wait_max` from now; the states of sources are forgotten. Gives the number of these batches.
    pub fn begin_run(
        &mut self,
        in_flight_max: u32,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let unsettled = match migrations::running(&transaction)? {
            Some(before) => batches::mark_unknown(&transaction, before)?,
            None => 0,
        };
        migrations::set_running(&transaction, Some(in_flight_max))?;
        lanes::limit_waits(&transaction, now.after(wait_max))?;
        sources::forget(&transaction)?;
        transaction.commit()?;
        Ok(unsettled)
    }

    /// Obeys other limits from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.settings.bytes_max = limits.bytes_max;
        self.settings.receipts_keep = limits.receipts_keep;
    }

    /// How long receipts are kept, from the settings.
    pub fn receipts_keep(&self) -> Duration {
        self.settings.receipts_keep
    }

    /// Forgets some of the receipts that are old enough, in one short transaction. True: there may
    /// be more.
    pub fn prune(&mut self, now: Timestamp) -> Result<bool, Error> {
        let pruned = self.try_prune(now);
        // A later commit must not build on what this one may have left.
        self.is_in_doubt |= pruned.is_err();
        Ok(pruned? == PRUNED_MAX as usize)
    }

    fn try_prune(&mut self, now: Timestamp) -> Result<usize, Error> {
        let before = now.before(self.settings.receipts_keep);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pruned = receipts::prune(&transaction, before, PRUNED_MAX)?
            .max(origins::prune(&transaction, before, PRUNED_MAX)?)
            .max(refusals::prune(&transaction, before, PRUNED_MAX)?);
        transaction.commit()?;
        Ok(pruned)
    }

    /// Ends a run after which no request is without an outcome on record.
    pub fn end_run(&mut self) -> Result<(), Error> {
        if self.is_in_doubt {
            self.reopen()?;
        }
        let ended = migrations::set_running(&self.connection, None);
        self.is_in_doubt = ended.is_err();
        Ok(ended?)
    }
}

fn settle(
    transaction: &Transaction<'_>,
    settlement: &Settlement,
    track_prefix: &str,
) -> rusqlite::Result<()> {
    match settlement {
        Settlement::Delivered { batch, meter, attempts, status, is_duplicate, at } => {
            let answered = Answered { status: *status, is_duplicate: *is_duplicate, at: *at };
            // Nothing to count when the receipt is there already.
            if let Some(events) = receipts::replace_batch(transaction, *batch, *attempts, answered)?
            {
                tallies::add_delivered(transaction, meter, events, *at)?;
            }
            Ok(())
        }
        Settlement::Attempted { batch, outcome_unknown } => {
            batches::count_attempt(transaction, *batch, *outcome_unknown)
        }
        Settlement::Split { batch, halves } => {
            batches::split(transaction, *batch, halves, track_prefix)
        }
        Settlement::Refused { batch, letter, at } => {
            // Nothing to count when the dead letter is there already.
            if let Some(Retired { source, tries }) = batches::retire(transaction, *batch)? {
                let letter = DeadLetter { source: source.into(), ..letter.clone() };
                // The request that it was refused with is not on record.
                let tries = Tries { attempts: tries.attempts + 1, ..tries };
                dead_letters::insert(transaction, &letter, tries, *at)?;
                tallies::add_refused(transaction, &letter, *at)?;
            }
            Ok(())
        }
        Settlement::Schema { meter, hash, document, at } => {
            schemas::keep(transaction, meter, hash, document, *at)
        }
        Settlement::Lane { meter, state, reason, at } => {
            lanes::set_state(transaction, meter, *state, reason, *at)
        }
        Settlement::Wait { meter, until, is_tenants } => {
            lanes::set_wait(transaction, meter, *until, *is_tenants)
        }
        Settlement::Window(in_flight_max) => {
            migrations::set_running(transaction, Some(*in_flight_max))
        }
        Settlement::Source { source, state, reason, at } => {
            sources::set_state(transaction, source, *state, reason, *at)
        }
    }
}

/// Refuses a store of which commits are gone that were acknowledged. Only while no daemon runs: the
/// caller has the lock.
fn check_log(directory: &Path) -> Result<(), Error> {
    let path = directory.join(format!("{FILE_NAME}{}", log::SUFFIX));
    let found = log::damage(&path).and_then(|found| match found {
        // A command that writes meanwhile begins the log anew, and half of each was read.
        Some(damage) => Ok(log::damage(&path)?.filter(|again| *again == damage)),
        None => Ok(None),
    });
    match found {
        Ok(None) => Ok(()),
        Ok(Some(damage)) => {
            let place = damage.to_string();
            Err(Error::LogDamaged { path, place, commits: damage.commits })
        }
        Err(source) => Err(Error::Directory { path, source }),
    }
}

/// Refuses a store of which a writer has seen more than there `is`. One with another id is another store.
fn check_mark(path: &Path, seen: Option<&Mark>, is: &Mark) -> Result<(), Error> {
    match seen {
        Some(seen) if seen.store_id == is.store_id && seen.commits > is.commits => {
            Err(Error::Behind {
                path: path.to_owned(),
                commits: is.commits,
                acknowledged: seen.commits,
            })
        }
        _ => Ok(()),
    }
}

/// The same of a database that is not there, or has no bytes: `SQLite` would make a new one, and delete
/// the log. A first start that was cut off leaves neither commits in the log nor a mark.
fn check_there(path: &Path, seen: Option<&Mark>) -> Result<(), Error> {
    if path.metadata().is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let beside = |name: &str| path.with_file_name(name);
    let log = beside(&format!("{FILE_NAME}{}", log::SUFFIX));
    let (witness, commits) = match seen {
        Some(seen) => (beside(lock::FILE_NAME), seen.commits),
        None => match log::commits(&log) {
            Ok(commits) => (log, commits),
            Err(source) => return Err(Error::Directory { path: log, source }),
        },
    };
    let gone = Error::Gone { path: path.to_owned(), witness, commits };
    if commits > 0 { Err(gone) } else { Ok(()) }
}

/// The same for who has no lock: a daemon that runs has checked the log, and writes to it.
fn check_idle_log(directory: &Path) -> Result<(), Error> {
    let is_idle = || lock::is_free(directory);
    match if is_idle() { check_log(directory) } else { Ok(()) } {
        // One may have been started meanwhile.
        Err(Error::LogDamaged { .. }) if !is_idle() => Ok(()),
        checked => checked,
    }
}

/// The same of the store behind `connection`, as far as it can be read.
fn check_commits(path: &Path, connection: &Connection, seen: Option<&Mark>) -> Result<(), Error> {
    let read = |connection| -> rusqlite::Result<Mark> {
        let store_id = migrations::store_id(connection)?;
        Ok(Mark { store_id, commits: migrations::commits(connection)? })
    };
    // What cannot be read says nothing of it, and is told otherwise.
    read(connection).map_or(Ok(()), |is| check_mark(path, seen, &is))
}

/// What track ids begin with: the agent's name, as far as it may stand in one, and the store's id.
/// A track id has 64 characters of US-ASCII at most, none of `:`, `;`, `"` and `'`.
fn track_prefix(agent: &str, store_id: &str) -> String {
    const NAME_CHARS_MAX: usize = 24;
    let allowed = |letter: char| {
        let good = letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if good { letter } else { '_' }
    };
    let name: String = agent.chars().take(NAME_CHARS_MAX).map(allowed).collect();
    format!("{name}-{store_id}")
}

#[cfg(test)]
mod tests;
