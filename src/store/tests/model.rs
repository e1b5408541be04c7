//! The store against a model of maps and lists: whatever is done to it, in whatever order, with the
//! program ended at any point, both hold the same.

mod books;
mod steps;

use proptest::prelude::*;

use self::books::{Batch, Books, Letter, Paid};
use self::steps::steps;
use super::*;
use crate::group::SourceTally;
use crate::settlement::SourceState;
use crate::store::editor::Editor;
use crate::store::receipts;

const METERS: [&str; 3] = ["one", "two", "three"];
const SOURCES: [&str; 2] = ["app", "other"];

/// Sequences of steps that are tried.
const CASES: u32 = 1200;

/// A store, what it should hold, and what it should have held after each commit since its log began.
struct Trial {
    /// Every copy of the store is in a directory of its own below it.
    place: tempfile::TempDir,
    copies: u32,
    settings: Settings,
    store: Store,
    now: Timestamp,
    books: Books,
    before: Vec<Books>,
}

/// In memory where that can be had: a thousand stores wait for no disk.
fn place() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

impl Trial {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let place = place()?;
        let settings = settings(&place.path().join("0"));
        std::fs::create_dir_all(place.path().join("0"))?;
        let mut store = Store::open(&settings, "a")?;
        store.begin_run(1, WAIT_MAX, NOW)?;
        let books = Books { window: 1, ..Books::default() };
        let before = vec![Books::default(), books.clone()];
        Ok(Self { place, copies: 0, settings, store, now: NOW, books, before })
    }

    fn commit(&mut self, groups: &[PackedGroup], settlements: &[&Settlement]) -> TestResult {
        Ok(self.store.commit(&Work { groups, settlements, now: self.now })?)
    }

    /// What a machine that loses its power now has on its disk; of the log, only the first
    /// `log_share` of 255 parts, as if the disk had lied about the rest.
    fn crash(&mut self, log_share: u8) -> TestResult {
        self.copies += 1;
        let directory = self.place.path().join(self.copies.to_string());
        let settings = settings(&directory);
        std::fs::create_dir_all(&settings.directory)?;
        for entry in std::fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            let target = settings.directory.join(entry.file_name());
            let name = entry.file_name();
            // What readers share is not on the disk, nor, where a disk lies, what nobody waits for.
            let is_lost = name == "meterd.lock" && log_share < u8::MAX;
            if !is_lost && !name.to_string_lossy().ends_with("-shm") {
                std::fs::copy(entry.path(), &target)?;
            }
            if entry.file_name().to_string_lossy().ends_with("-wal") && log_share < u8::MAX {
                let kept = entry.metadata()?.len() * u64::from(log_share) / 255;
                std::fs::OpenOptions::new().write(true).open(target)?.set_len(kept)?;
            }
        }
        self.store = Store::open(&settings, "a")?;
        self.settings = settings;
        if log_share < u8::MAX {
            let found = self.found()?;
            let same = self.before.iter().rev().find(|books| **books == found);
            self.books = same.ok_or_else(|| format!("half a commit is there: {found:#?}"))?.clone();
        }
        self.begin_run(true)
    }

    /// Ends the run in order and begins another.
    fn restart(&mut self) -> TestResult {
        self.store.end_run()?;
        self.before.push(Books { window: 0, ..self.books.clone() });
        self.store.reopen()?;
        self.begin_run(false)
    }

    fn begin_run(&mut self, is_cut_off: bool) -> TestResult {
        let unsettled = if is_cut_off { self.books.mark_unknown() } else { 0 };
        self.books.window = 2;
        self.books.sources.clear();
        assert_eq!(self.store.begin_run(2, WAIT_MAX, self.now)?, unsettled);
        Ok(())
    }

    /// What the store holds, read as others read it.
    fn found(&self) -> Result<Books, Box<dyn std::error::Error>> {
        let mut reader = Reader::open(&self.settings.directory)?;
        let status = reader.status(self.now, None)?;
        let sum = &status.equation;
        assert!(sum.holds, "{sum:?}");
        let mut found = Books {
            read: sum.read,
            delivered: sum.delivered,
            ignored: sum.ignored,
            discarded: sum.discarded,
            ..self.books.clone()
        };
        found.batches.clear();
        let listed = reader.batches(None, false, 0, 1000)?;
        for meter in METERS {
            let mut after = BatchId(0);
            while let Some((head, body)) = reader.next_batch(meter, after)? {
                after = head.id;
                let has_body = body.len() == 100 && body.iter().all(|byte| *byte == body[0]);
                assert!(has_body && body[0] == head.events.to_le_bytes()[0], "another body");
                assert!(head.track_id.ends_with(&format!("-{}", head.id.0)));
                let source = String::new();
                let (attempts, unknown) = (head.attempts, head.outcome_unknown_attempts);
                let (meter, events) = (meter.to_owned(), head.events);
                let decided = head.decided_attempts;
                let batch = Batch { meter, source, events, attempts, unknown, decided };
                found.batches.insert(head.id.0, batch);
            }
        }
        assert_eq!(listed.len(), found.batches.len());
        let letters = reader.dead_letters(&Filter::default(), 0, 10_000)?;
        assert_eq!(sum.dead_lettered, i64::try_from(letters.len())?);
        let letter = |it: &dead_letters::StoredLetter| Letter {
            meter: it.meter.clone(),
            source: it.source.clone(),
            attempts: it.attempts,
            unknown: it.outcome_unknown_attempts,
        };
        found.letters = letters.iter().map(|it| (it.id, letter(it))).collect();
        let receipts = reader.receipts(&receipts::Filter::default(), 0..i64::MAX, 10_000)?;
        let paid = |it: &receipts::Receipt| Paid {
            events: it.events,
            attempts: it.attempts,
            unknown: it.outcome_unknown_attempts,
            at: it.delivered_at,
        };
        found.receipts = receipts.iter().map(|it| (it.batch, paid(it))).collect();
        found.offsets = SOURCES.map(|source| {
            self.store.cursors(source).ok().and_then(|all| Some(all.first()?.offset)).unwrap_or(0)
        });
        found.schemas.clear();
        for meter in METERS {
            let kept = reader.schema(meter)?;
            found.schemas.extend(kept.map(|kept| (meter.to_owned(), (kept.hash, kept.document))));
        }
        let held = status.meters.iter().filter(|(_, meter)| meter.state == "held");
        found.lanes = held.map(|(name, _)| name.clone()).collect();
        let held = status.sources.iter().filter(|(_, source)| source.state == "held");
        found.sources = held.map(|(name, _)| name.clone()).collect();
        let connection = &self.store.connection;
        found.window = migrations::running(connection)?.unwrap_or(0);
        let last = |table: &str| -> Result<i64, Error> {
            let query = "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = ?1";
            Ok(connection.query_row(query, [table], |row| row.get(0))?)
        };
        (found.last_batch, found.last_letter) = (last("batches")?, last("dead_letters")?);
        Ok(found)
    }

    fn check(&mut self) -> TestResult {
        let found = self.found()?;
        assert_eq!(found, self.books);
        let sum = found.delivered + found.ignored + found.discarded + found.dead() + found.stored();
        assert_eq!(found.read, sum);
        assert_eq!(tallies::wrong_sums(&self.store.connection)?, []);
        let reader = Reader::open(&self.settings.directory)?;
        for meter in METERS {
            let undecided = reader.undecided(meter, 1)?.count;
            let of_meter = found.batches.values().filter(|batch| batch.meter == meter);
            let expected = of_meter.filter(|batch| batch.unknown > batch.decided).count();
            assert_eq!(undecided, expected as u64, "{meter}");
        }
        self.before.push(self.books.clone());
        Ok(())
    }
}

#[test]
fn a_store_does_what_its_model_does() {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..<_>::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let tried = runner.run(&prop::collection::vec(steps(), 1..24), |steps| {
        let run = || -> TestResult {
            let mut trial = Trial::new()?;
            for step in &steps {
                trial.take(step)?;
                trial.check()?;
            }
            Ok(())
        };
        run().map_err(|error| TestCaseError::fail(error.to_string()))
    });
    if let Err(error) = tried {
        unreachable!("{error}");
    }
}
