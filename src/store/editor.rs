//! Changes the store for a command, beside a daemon that may run.
//!
//! Each change is one short transaction with the durability of the daemon's own, and it moves and
//! counts in one: the equation holds at every instant. The daemon waits for it as for a slow disk,
//! and its lanes notice what was changed within a second.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::dead_letters::{self, Filter, StoredLetter};
use super::decisions::{self, Objection};
use super::reader::Reader;
use super::reconciliations::{Books, Reconciled, Span};
use super::refusals::{Filed, Filing, Refusal, Repeated};
use super::{
    Error, batches, check_idle_log, connect, footing, migrations, reconciliations, refusals,
    tallies, track_prefix,
};
use crate::clock::Timestamp;
use crate::group::PackedGroup;

/// Letters in one transaction: the daemon's next commit waits for it.
const LETTERS_MAX: u32 = 1000;

/// A connection for short changes.
#[derive(Debug)]
pub struct Editor {
    connection: Connection,
    store_id: String,
}

impl Editor {
    /// Opens the store in `directory`, which must be there and of this version.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        // Says what is wrong with a store that cannot be used, and makes none.
        drop(Reader::open(directory)?);
        check_idle_log(directory)?;
        let connection = connect(directory)?;
        footing::check(&connection)?;
        let store_id = migrations::store_id(&connection)?;
        Ok(Self { connection, store_id })
    }

    /// The next page of letters with numbers above `after`, oldest first; empty behind the last.
    pub fn dead_letters(&self, filter: &Filter, after: i64) -> Result<Vec<StoredLetter>, Error> {
        Ok(dead_letters::list(&self.connection, filter, after, LETTERS_MAX)?)
    }

    /// Puts the batches of `packed` in the place of `letters`, which are its events, all of one
    /// source; their track ids are those of the agent called `agent`. False, and nothing is changed:
    /// one of the letters is not there any more.
    pub fn replay(
        &mut self,
        agent: &str,
        packed: &PackedGroup,
        letters: &[&StoredLetter],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(first) = letters.first() else { return Ok(true) };
        let unknown = letters.iter().map(|letter| letter.outcome_unknown_attempts).max();
        let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
        let track_prefix = track_prefix(agent, &self.store_id);
        let transaction = begin(&mut self.connection)?;
        if !dead_letters::take(&transaction, &ids)? {
            return Ok(false);
        }
        batches::insert_again(
            &transaction,
            packed,
            &first.source,
            unknown.unwrap_or(0),
            &track_prefix,
            now,
        )?;
        tallies::add_replayed(&transaction, &first.meter, &first.source, ids.len(), now)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Gives up the next letters that `filter` means, with numbers above `after`. Gives how many
    /// and the last number; none: there are no more.
    pub fn discard(
        &mut self,
        filter: &Filter,
        after: i64,
        because: &str,
        now: Timestamp,
    ) -> Result<Option<(usize, i64)>, Error> {
        let transaction = begin(&mut self.connection)?;
        let given_up =
            dead_letters::discard(&transaction, filter, after, LETTERS_MAX, (because, now))?;
        transaction.commit()?;
        Ok(given_up)
    }

    /// Lets the batches called `names` be sent again, all of them or, when something is wrong with
    /// one, none; gives what is wrong.
    pub fn resend(&mut self, names: &[String]) -> Result<Vec<Objection>, Error> {
        let transaction = begin(&mut self.connection)?;
        let mut objections = Vec::new();
        for name in names {
            objections.extend(decisions::resend(&transaction, name)?.err());
        }
        unless_objected(transaction, objections)
    }

    /// Lets all batches that nobody has decided about, those of `meter` where one is given, be sent
    /// again; gives how many.
    pub fn resend_all(&mut self, meter: Option<&str>) -> Result<usize, Error> {
        let transaction = begin(&mut self.connection)?;
        let resent = decisions::resend_all(&transaction, meter)?;
        transaction.commit()?;
        Ok(resent)
    }

    /// Puts receipts in the place of the batches called `names`, of all or, when something is wrong
    /// with one, of none; gives what is wrong.
    pub fn confirm(&mut self, names: &[String], now: Timestamp) -> Result<Vec<Objection>, Error> {
        let transaction = begin(&mut self.connection)?;
        let mut objections = Vec::new();
        for name in names {
            objections.extend(decisions::confirm(&transaction, name, now)?.err());
        }
        unless_objected(transaction, objections)
    }
}

impl Editor {
    /// Files what is new of `refusals`, all of it in one transaction.
    pub fn file(&mut self, filing: &Filing, refusals: &[Refusal]) -> Result<Filed, Error> {
        let transaction = begin(&mut self.connection)?;
        let filed = refusals::file(&transaction, filing, refusals)?;
        transaction.commit()?;
        Ok(filed)
    }

    /// What is known of events that Mediation dropped as repeats, each with its time.
    pub fn repeated(
        &mut self,
        meter: &str,
        repeats: &[(String, Timestamp)],
    ) -> Result<Repeated, Error> {
        let transaction = self.connection.transaction()?;
        Ok(refusals::repeated(&transaction, meter, repeats)?)
    }

    /// What the books say of `meter` and `span`.
    pub fn books(&mut self, meter: &str, span: &Span) -> Result<Books, Error> {
        let transaction = self.connection.transaction()?;
        Ok(reconciliations::books(&transaction, meter, span)?)
    }

    /// Keeps what a reconciliation of `meter` came to, unless a later one is kept.
    pub fn keep(&mut self, meter: &str, found: &Reconciled) -> Result<(), Error> {
        Ok(reconciliations::keep(&self.connection, meter, found)?)
    }
}

/// Ends `transaction`: it is committed when nobody objects, and never was otherwise.
fn unless_objected(
    transaction: Transaction<'_>,
    objections: Vec<Objection>,
) -> Result<Vec<Objection>, Error> {
    if objections.is_empty() {
        transaction.commit()?;
    }
    Ok(objections)
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}
