//! One thread, the only writer: puts packed groups back into order and commits them, together
//! with what delivery learned.
//!
//! Promises: groups commit in the order of their numbers; nobody is told of a commit before it
//! is durable; a commit that fails is tried again, on a fresh connection, and nothing of it is
//! acknowledged meanwhile. When the store is full, groups wait and receipts go on. A stop leaves
//! what waits to its files; where it may come from a pipe, which cannot be read again, it is stored
//! beyond the limit. It also forgets old receipts, so few at a time that no commit waits for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::group::PackedGroup;
use crate::settlement::{Posting, Settlement};
use crate::store::{Error, Limits, Store, Work};
use crate::telemetry::{Pulse, Reminder, Vitals};

/// Bodies in one transaction: enough to share the price of a sync, few enough to keep it short.
const TRANSACTION_BYTES_MAX: usize = 8 << 20;

/// Groups in one transaction.
const TRANSACTION_GROUPS_MAX: usize = 256;

/// From one commit to the next at least: under load, more groups and receipts share one sync. Who
/// comes after a pause does not wait.
const COMMIT_INTERVAL: Duration = Duration::from_millis(5);

/// How often a full or failing store is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a commit is tried that fails because the store is damaged.
const DAMAGE_TRIES: u32 = 3;

/// How often the end of a run is tried to be put on record.
const END_TRIES: u32 = 3;

/// How often old receipts are looked for, unless they are kept for less.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// What comes in.
#[derive(Debug)]
pub struct Inputs {
    /// Packed groups, in any order.
    pub packed: Receiver<PackedGroup>,
    /// What delivery learned.
    pub postings: Receiver<Posting>,
    /// Cancelled when sources drain.
    pub drain: CancellationToken,
    /// What holds, until it changes.
    pub terms: watch::Receiver<Terms>,
    /// Cancelled when the grace period is used up: what cannot be committed now never is.
    pub abandon: CancellationToken,
    /// Told when every group is committed and no more can come.
    pub groups_done: oneshot::Sender<()>,
    /// Cancelled when a stage died: what its requests came to may not be on record.
    pub died: CancellationToken,
    /// Told how commits go.
    pub vitals: Arc<Vitals>,
}

/// What a reload may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Of the store.
    pub limits: Limits,
    /// Whether some sources cannot read again what is not committed. For the rest that such an
    /// agent has read when it stops, which the intake bounds, the limit of the store does not hold.
    /// Never false again: what came may still wait.
    pub has_streams: bool,
}

/// Commits until both inputs have closed.
pub fn run(store: &mut Store, inputs: Inputs) -> Result<(), Error> {
    let has_streams = inputs.terms.borrow().has_streams;
    let mut committer = Committer {
        store,
        packed: Some(inputs.packed),
        postings: Some(inputs.postings),
        drain: inputs.drain,
        has_streams,
        terms: inputs.terms,
        abandon: inputs.abandon,
        groups_done: Some(inputs.groups_done),
        early: BTreeMap::new(),
        next: 0,
        settled: Vec::new(),
        is_full: false,
        committed_at: None,
        failing: Reminder::default(),
        prune_at: Instant::now(),
        pulse: inputs.vitals.stage("committer"),
        vitals: inputs.vitals,
    };
    while committer.receive() {
        committer.commit_ready()?;
        committer.prune_when_due();
        committer.tell_when_done();
    }
    if !inputs.died.is_cancelled() {
        committer.end_run();
    }
    Ok(())
}

struct Committer<'s> {
    store: &'s mut Store,
    packed: Option<Receiver<PackedGroup>>,
    postings: Option<Receiver<Posting>>,
    drain: CancellationToken,
    has_streams: bool,
    terms: watch::Receiver<Terms>,
    abandon: CancellationToken,
    groups_done: Option<oneshot::Sender<()>>,
    /// Groups that are not committed, by number. The intake's bound covers them.
    early: BTreeMap<u64, PackedGroup>,
    next: u64,
    settled: Vec<Posting>,
    is_full: bool,
    committed_at: Option<Instant>,
    failing: Reminder,
    /// When old receipts are looked for next.
    prune_at: Instant,
    pulse: Arc<Pulse>,
    vitals: Arc<Vitals>,
}

impl Committer<'_> {
    /// Waits for something to do and takes all that is there. False: everything is done.
    fn receive(&mut self) -> bool {
        let is_held_up = self.is_full && self.early.contains_key(&self.next);
        if self.packed.is_none() && self.postings.is_none() && !is_held_up {
            return false;
        }
        if is_held_up && !self.has_streams && self.drain.is_cancelled() {
            let groups = self.early.len();
            tracing::info!(groups, "stopped with a full store: files are read again from there");
            self.early.clear();
            return true;
        }
        let (no_group, no_posting) = (never(), never());
        let packed = self.packed.as_ref().unwrap_or(&no_group);
        let postings = self.postings.as_ref().unwrap_or(&no_posting);
        let pause = if is_held_up { crossbeam_channel::after(PAUSE) } else { never() };
        let prune = crossbeam_channel::at(self.prune_at);
        select! {
            recv(packed) -> group => match group {
                Ok(group) => { self.early.insert(group.number, group); }
                Err(_) => self.packed = None,
            },
            recv(postings) -> posting => match posting {
                Ok(posting) => self.settled.push(posting),
                Err(_) => self.postings = None,
            },
            recv(pause) -> _ => {}
            recv(prune) -> _ => {}
        }
        let early = self.committed_at.map(|at| COMMIT_INTERVAL.saturating_sub(at.elapsed()));
        if let Some(early) = early.filter(|early| !early.is_zero()) {
            crossbeam_channel::after(early).recv().ok();
        }
        if let Some(packed) = &self.packed {
            self.early.extend(packed.try_iter().map(|group| (group.number, group)));
        }
        if let Some(postings) = &self.postings {
            self.settled.extend(postings.try_iter());
        }
        true
    }

    /// Obeys the terms as they are now.
    fn obey(&mut self) {
        // An error: nobody can change them any more.
        if self.terms.has_changed().unwrap_or(false) {
            let Terms { limits, has_streams } = *self.terms.borrow_and_update();
            self.store.set_limits(limits);
            self.has_streams |= has_streams;
        }
    }

    fn commit_ready(&mut self) -> Result<(), Error> {
        self.obey();
        loop {
            let groups = self.take_ready();
            let settled = std::mem::take(&mut self.settled);
            if groups.is_empty() && settled.is_empty() {
                return Ok(());
            }
            self.commit(&groups, &settled)?;
            // Durable from here on: only now may anybody hear of it.
            for posting in settled {
                // Who does not wait any more has been stopped.
                let _ = posting.committed.send(());
            }
            for group in groups {
                announce(&group);
            }
        }
    }

    /// Forgets old receipts, some at a time: what was received meanwhile is committed in between.
    fn prune_when_due(&mut self) {
        if self.prune_at > Instant::now() {
            return;
        }
        let _beat = self.pulse.beat();
        let is_more = self.store.prune(Timestamp::now()).unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to forget old receipts, trying again later");
            false
        });
        if !is_more {
            self.prune_at = Instant::now() + PRUNE_INTERVAL.min(self.store.receipts_keep());
        }
    }

    fn tell_when_done(&mut self) {
        // After a stop with a full store, groups behind those that were left to their files can
        // still have come: without their predecessors they are never committed.
        if self.packed.is_none()
            && !self.early.contains_key(&self.next)
            && let Some(groups_done) = self.groups_done.take()
        {
            // Who does not listen any more is being stopped.
            let _ = groups_done.send(());
        }
    }

    /// The next groups in order that fit one transaction and the store.
    fn take_ready(&mut self) -> Vec<PackedGroup> {
        let mut groups = Vec::new();
        let mut bytes = 0;
        while bytes < TRANSACTION_BYTES_MAX
            && groups.len() < TRANSACTION_GROUPS_MAX
            && let Some(group) = self.early.remove(&self.next)
        {
            let size = size(&group);
            if !self.has_room(bytes, size) {
                self.early.insert(self.next, group);
                break;
            }
            bytes += size;
            self.next += 1;
            groups.push(group);
        }
        groups
    }

    /// Whether the store takes a group of `size` bytes beside the `before` that are about to be
    /// written. An empty one takes a group of any size.
    fn has_room(&mut self, before: usize, size: usize) -> bool {
        let used = self.store.bytes_used();
        let needed = (before + size) as u64;
        let has_room = used.is_ok_and(|used| used + needed <= self.store.bytes_max())
            || (before == 0 && self.store.is_drained().unwrap_or(false))
            || (self.has_streams && self.drain.is_cancelled());
        if !has_room && !self.is_full {
            let bytes_max = self.store.bytes_max();
            tracing::warn!(bytes_max, "the store is full, sources wait");
        } else if has_room && self.is_full {
            tracing::info!("the store has room again");
        }
        self.is_full = !has_room;
        self.vitals.is_full.set(!has_room);
        has_room
    }

    /// Puts on record that no request is without an outcome. Where that cannot be, nothing is lost: the
    /// next start takes the oldest batches for sent, and says so.
    fn end_run(&mut self) {
        for tries_left in (0..END_TRIES).rev() {
            let Err(error) = self.store.end_run() else { return };
            tracing::warn!(%error, tries_left, "the end of the run is not on record");
            if tries_left > 0 {
                crossbeam_channel::after(PAUSE).recv().ok();
            }
        }
    }

    /// Commits, again and again until it succeeds, the agent gives up, or the store turns out to be
    /// damaged: what is sent meanwhile would be sent again.
    fn commit(&mut self, groups: &[PackedGroup], settled: &[Posting]) -> Result<(), Error> {
        let settlements: Vec<&Settlement> =
            settled.iter().map(|posting| &posting.settlement).collect();
        let mut damage_tries = 0;
        loop {
            let work = Work { groups, settlements: &settlements, now: Timestamp::now() };
            let (began, beat) = (Instant::now(), self.pulse.beat());
            let committed = self.store.commit(&work);
            drop(beat);
            self.vitals.commits_fail.set(committed.is_err());
            let Err(error) = committed else {
                self.vitals.commits.add(began.elapsed());
                self.committed_at = Some(Instant::now());
                return Ok(());
            };
            if self.failing.is_due(Instant::now()) {
                tracing::error!(%error, "failed to commit, trying again");
            }
            damage_tries += u32::from(error.is_damage());
            if self.abandon.is_cancelled() || damage_tries == DAMAGE_TRIES {
                return Err(error);
            }
            crossbeam_channel::after(PAUSE).recv().ok();
        }
    }
}

/// What a group adds to the store, roughly.
fn size(group: &PackedGroup) -> usize {
    let bodies: usize = group.batches.iter().map(|batch| batch.body.len()).sum();
    let letters: usize = group.dead_letters.iter().map(|letter| letter.event.len() + 200).sum();
    bodies + letters + 500
}

/// Tells of a committed group: counts it and wakes its lanes. Dropping it lets sources go on.
fn announce(group: &PackedGroup) {
    for batch in &group.batches {
        if let Some(meter) = group.destination.meter(&batch.meter) {
            meter.counters.events_stored.add(u64::from(batch.events));
            meter.backlog.notify_one();
        }
    }
    for letter in &group.dead_letters {
        group.destination.count_dead_letter(&letter.meter, letter.reason);
    }
    for notice in &group.notices {
        notice.committed();
    }
}

#[cfg(test)]
mod tests;
