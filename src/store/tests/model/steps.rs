//! What may happen to a store, and how the model takes it.

use super::*;

/// Something that happens to a store.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Groups in one transaction: meter, source, events and dead letters of each.
    Commit(Vec<(usize, usize, u32, u64)>),
    /// A receipt, perhaps told twice.
    Deliver {
        nth: usize,
        is_repeated: bool,
    },
    Fail {
        nth: usize,
        outcome_unknown: bool,
    },
    /// Halves, where there are two events, and a dead letter where there is one.
    Refuse {
        nth: usize,
    },
    /// A person puts letters back that are of the same meter and source as the first.
    Replay {
        count: usize,
    },
    Discard {
        nth: usize,
    },
    Resend {
        nth: usize,
    },
    ResendAll {
        meter: usize,
    },
    Confirm {
        nth: usize,
    },
    Hold {
        meter: usize,
        is_held: bool,
    },
    HoldSource {
        source: usize,
        is_held: bool,
    },
    Schema {
        meter: usize,
        hash: u8,
    },
    Window(u32),
    /// Time goes by, and old receipts are forgotten.
    Forget {
        seconds: u64,
    },
    Restart,
    Crash {
        log_share: u8,
    },
    /// A commit happened, its caller was told that it failed, and calls again.
    Doubt,
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let group = (0_usize..3, 0_usize..2, 0_u32..20, 0_u64..3);
    let nth = || 0_usize..12;
    prop_oneof![
        6 => prop::collection::vec(group, 1..4).prop_map(Step::Commit),
        4 => (nth(), any::<bool>())
            .prop_map(|(nth, is_repeated)| Step::Deliver { nth, is_repeated }),
        2 => (nth(), any::<bool>())
            .prop_map(|(nth, outcome_unknown)| Step::Fail { nth, outcome_unknown }),
        3 => nth().prop_map(|nth| Step::Refuse { nth }),
        2 => (1_usize..4).prop_map(|count| Step::Replay { count }),
        1 => nth().prop_map(|nth| Step::Discard { nth }),
        1 => nth().prop_map(|nth| Step::Resend { nth }),
        1 => (0_usize..3).prop_map(|meter| Step::ResendAll { meter }),
        1 => nth().prop_map(|nth| Step::Confirm { nth }),
        1 => (0_usize..3, any::<bool>())
            .prop_map(|(meter, is_held)| Step::Hold { meter, is_held }),
        1 => (0_usize..2, any::<bool>())
            .prop_map(|(source, is_held)| Step::HoldSource { source, is_held }),
        1 => (0_usize..3, 0_u8..3).prop_map(|(meter, hash)| Step::Schema { meter, hash }),
        1 => (1_u32..5).prop_map(Step::Window),
        1 => (0_u64..90).prop_map(|seconds| Step::Forget { seconds }),
        1 => Just(Step::Restart),
        2 => prop_oneof![Just(u8::MAX), any::<u8>()]
            .prop_map(|log_share| Step::Crash { log_share }),
        1 => Just(Step::Doubt),
    ]
}

/// A group as [`super::group`] makes it, of another source.
fn group_of(source: &str, meter: &str, events: u32, dead: u64, offset: u64) -> PackedGroup {
    let mut group = group(&meter_of(meter), events, dead, offset);
    for letter in &mut group.dead_letters {
        letter.source = source.into();
    }
    let tallies = group.tallies.into_iter();
    group.tallies = tallies.map(|tally| SourceTally { source: source.into(), ..tally }).collect();
    let cursors = group.cursors.into_iter();
    group.cursors = cursors.map(|(_, cursor)| (source.into(), cursor)).collect();
    group
}

fn meter_of(name: &str) -> Arc<Meter> {
    super::super::meter(name)
}

impl Trial {
    pub(super) fn take(&mut self, step: &Step) -> TestResult {
        match *step {
            Step::Commit(ref groups) => self.commit_groups(groups),
            Step::Deliver { nth, is_repeated } => self.deliver(nth, is_repeated),
            Step::Fail { nth, outcome_unknown } => {
                let Some(batch) = self.books.nth(nth) else { return Ok(()) };
                let attempted = Settlement::Attempted { batch: BatchId(batch), outcome_unknown };
                self.commit(&[], &[&attempted])?;
                let batch = self.books.batches.entry(batch).or_default();
                batch.attempts += 1;
                batch.unknown += u32::from(outcome_unknown);
                Ok(())
            }
            Step::Refuse { nth } => self.refuse(nth),
            Step::Replay { count } => self.replay(count),
            Step::Discard { nth } => self.discard(nth),
            Step::Resend { nth } => self.resend(nth),
            Step::ResendAll { meter } => self.resend_all(METERS[meter]),
            Step::Confirm { nth } => self.confirm(nth),
            Step::Hold { meter, is_held } => self.hold(METERS[meter], is_held),
            Step::HoldSource { source, is_held } => self.hold_source(SOURCES[source], is_held),
            Step::Schema { meter, hash } => self.keep_schema(METERS[meter], hash),
            Step::Window(window) => {
                self.commit(&[], &[&Settlement::Window(window)])?;
                self.books.window = window;
                Ok(())
            }
            Step::Forget { seconds } => self.forget(seconds),
            Step::Restart => self.restart(),
            Step::Crash { log_share } => self.crash(log_share),
            Step::Doubt => self.doubt(),
        }
    }

    fn commit_groups(&mut self, groups: &[(usize, usize, u32, u64)]) -> TestResult {
        let mut packed = Vec::new();
        for &(meter, source, events, dead) in groups {
            self.books.offsets[source] += 10;
            let offset = self.books.offsets[source];
            packed.push(group_of(SOURCES[source], METERS[meter], events, dead, offset));
            self.note_group(meter, source, events, dead);
        }
        self.commit(&packed, &[])
    }

    fn note_group(&mut self, meter: usize, source: usize, events: u32, dead: u64) {
        let (meter, source) = (METERS[meter].to_owned(), SOURCES[source].to_owned());
        if events > 0 {
            let (meter, source) = (meter.clone(), source.clone());
            self.books.add_batch(Batch { meter, source, events, ..Batch::default() });
        }
        for _ in 0..dead {
            let (meter, source) = (meter.clone(), source.clone());
            self.books.add_letter(Letter { meter, source, attempts: 0, unknown: 0 });
        }
        self.books.read += i64::from(events) + dead.cast_signed() + 1;
        self.books.ignored += 1;
    }

    fn deliver(&mut self, nth: usize, is_repeated: bool) -> TestResult {
        let Some(batch) = self.books.nth(nth) else { return Ok(()) };
        let meter = meter_of(&self.books.batches[&batch].meter);
        let Settlement::Delivered { batch: number, meter, attempts, status, is_duplicate, .. } =
            delivered(batch, &meter)
        else {
            return Err("no delivery".into());
        };
        let at = self.now;
        let receipt =
            Settlement::Delivered { batch: number, meter, attempts, status, is_duplicate, at };
        self.commit(&[], &[&receipt])?;
        if is_repeated {
            self.commit(&[], &[&receipt])?;
        }
        self.books.deliver(batch, attempts, at);
        Ok(())
    }

    fn refuse(&mut self, nth: usize) -> TestResult {
        let Some(number) = self.books.nth(nth) else { return Ok(()) };
        let batch = self.books.batches.remove(&number).ok_or("no batch")?;
        let meter = meter_of(&batch.meter);
        if batch.events == 1 {
            let letter = group(&meter, 0, 1, 0).dead_letters.remove(0);
            let refused = Settlement::Refused { batch: BatchId(number), letter, at: self.now };
            self.commit(&[], &[&refused, &refused])?;
            let Batch { meter, source, attempts, unknown, .. } = batch;
            self.books.add_letter(Letter { meter, source, attempts: attempts + 1, unknown });
            return Ok(());
        }
        let (left, right) = (batch.events / 2, batch.events - batch.events / 2);
        let halves = [left, right].map(|events| group(&meter, events, 0, 0).batches.remove(0));
        let split = Settlement::Split { batch: BatchId(number), halves: halves.into() };
        self.commit(&[], &[&split, &split])?;
        for events in [left, right] {
            let attempts = batch.unknown;
            self.books.add_batch(Batch { events, attempts, ..batch.clone() });
        }
        Ok(())
    }

    fn replay(&mut self, count: usize) -> TestResult {
        let mut editor = Editor::open(&self.settings.directory)?;
        let letters = editor.dead_letters(&Filter::default(), 0)?;
        let Some(first) = letters.first() else { return Ok(()) };
        let is_alike =
            |it: &&dead_letters::StoredLetter| it.meter == first.meter && it.source == first.source;
        let taken: Vec<_> = letters.iter().filter(is_alike).take(count).collect();
        let events = u32::try_from(taken.len())?;
        let packed = group_of(&first.source, &first.meter, events, 0, 0);
        assert!(editor.replay("a", &packed, &taken, self.now)?);
        // Whoever comes later with one of them changes nothing.
        assert!(!editor.replay("a", &packed, &taken, self.now)?);
        let unknown = taken.iter().map(|letter| letter.outcome_unknown_attempts).max().unwrap_or(0);
        for letter in &taken {
            self.books.letters.remove(&letter.id);
        }
        let (meter, source) = (first.meter.clone(), first.source.clone());
        let (attempts, decided) = (unknown, unknown);
        self.books.add_batch(Batch { meter, source, events, attempts, unknown, decided });
        Ok(())
    }

    fn discard(&mut self, nth: usize) -> TestResult {
        let Some(id) = self.books.letters.keys().nth(nth).copied() else { return Ok(()) };
        let mut editor = Editor::open(&self.settings.directory)?;
        let filter = Filter::of_ids(vec![id]);
        assert_eq!(editor.discard(&filter, 0, "a test", self.now)?, Some((1, id)));
        assert_eq!(editor.discard(&filter, 0, "a test", self.now)?, None);
        self.books.letters.remove(&id);
        self.books.discarded += 1;
        Ok(())
    }

    fn resend(&mut self, nth: usize) -> TestResult {
        let Some(batch) = self.books.nth(nth) else { return Ok(()) };
        let objections = Editor::open(&self.settings.directory)?.resend(&[batch.to_string()])?;
        let batch = self.books.batches.entry(batch).or_default();
        assert_eq!(objections.is_empty(), batch.unknown > 0);
        batch.decided = batch.unknown;
        Ok(())
    }

    fn resend_all(&mut self, meter: &str) -> TestResult {
        let resent = Editor::open(&self.settings.directory)?.resend_all(Some(meter))?;
        let mut count = 0;
        let of_meter = self.books.batches.values_mut().filter(|batch| batch.meter == meter);
        for batch in of_meter.filter(|batch| batch.unknown > batch.decided) {
            batch.decided = batch.unknown;
            count += 1;
        }
        assert_eq!(resent, count);
        Ok(())
    }

    fn confirm(&mut self, nth: usize) -> TestResult {
        let Some(batch) = self.books.nth(nth) else { return Ok(()) };
        let names = [batch.to_string()];
        let objections = Editor::open(&self.settings.directory)?.confirm(&names, self.now)?;
        let Batch { unknown, attempts, .. } = self.books.batches[&batch];
        assert_eq!(objections.is_empty(), unknown > 0);
        if unknown > 0 {
            self.books.deliver(batch, attempts, self.now);
        }
        Ok(())
    }

    fn hold(&mut self, meter: &str, is_held: bool) -> TestResult {
        let state = if is_held { LaneState::Held } else { LaneState::Running };
        let (reason, at) = ("404".to_owned(), self.now);
        self.commit(&[], &[&Settlement::Lane { meter: meter.into(), state, reason, at }])?;
        self.books.lanes.remove(meter);
        if is_held {
            self.books.lanes.insert(meter.to_owned());
        }
        Ok(())
    }

    fn hold_source(&mut self, source: &str, is_held: bool) -> TestResult {
        let state = if is_held { SourceState::Held } else { SourceState::Reading };
        let (reason, at) = ("bad lines".to_owned(), self.now);
        self.commit(&[], &[&Settlement::Source { source: source.into(), state, reason, at }])?;
        self.books.sources.remove(source);
        if is_held {
            self.books.sources.insert(source.to_owned());
        }
        Ok(())
    }

    fn keep_schema(&mut self, meter: &str, hash: u8) -> TestResult {
        let (document, at) = (format!("{{\"n\":{hash}}}"), self.now);
        let (hash, kept) = ([hash; 32], document.as_str().into());
        let schema = Settlement::Schema { meter: meter.into(), hash, document: kept, at };
        self.commit(&[], &[&schema])?;
        self.books.schemas.insert(meter.to_owned(), (hash, document));
        Ok(())
    }

    fn forget(&mut self, seconds: u64) -> TestResult {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.store.prune(self.now)?;
        let before = self.now.before(self.settings.receipts_keep);
        self.books.receipts.retain(|_, receipt| receipt.at >= before);
        Ok(())
    }

    fn doubt(&mut self) -> TestResult {
        self.books.offsets[0] += 10;
        let groups = [group_of(SOURCES[0], METERS[0], 1, 0, self.books.offsets[0])];
        self.commit(&groups, &[])?;
        (self.store.mark.commits, self.store.is_in_doubt) = (self.store.mark.commits - 1, true);
        self.commit(&groups, &[])?;
        self.note_group(0, 0, 1, 0);
        Ok(())
    }
}
