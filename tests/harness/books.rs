//! What a far end did, and whether the agent did right by it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chaos::{Act, Answer, Meaning};
use super::{Result, fail, number, text};

/// Requests that leave before an answer is read can arrive so much later on a busy machine.
const CROSSING: Duration = Duration::from_millis(400);

/// How much of the time that a client waits for nothing counts as under way: it gives up before
/// the server sees that.
const SILENCE_COUNTED: Duration = Duration::from_millis(500);

/// A request for events that was read, and what it got.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The meter's global id.
    pub(crate) meter: String,
    pub(crate) track_id: String,
    /// Hash of the body as it came.
    pub(crate) body: u64,
    /// The numbers of its events.
    pub(crate) events: Vec<u64>,
    /// When its first byte was there.
    pub(crate) began: Instant,
    /// Just before its answer was sent.
    pub(crate) ended: Instant,
    pub(crate) act: Act,
    /// Whether its events count as taken.
    pub(crate) accepted: bool,
}

impl Entry {
    fn meaning(&self) -> Meaning {
        Meaning::of(self.act)
    }

    fn is_unknown(&self) -> bool {
        self.meaning() == Meaning::Unknown
    }
}

/// Everything that came, in the order of its end.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) entries: Vec<Entry>,
    /// Requests that were not read: begin.
    pub(crate) unread: Vec<Instant>,
    /// Requests for a token: begin and end.
    pub(crate) tokens: Vec<(Instant, Instant)>,
}

impl Books {
    /// How often each event was accepted.
    pub(crate) fn accepted(&self) -> HashMap<u64, u64> {
        let mut accepted = HashMap::new();
        for entry in self.entries.iter().filter(|entry| entry.accepted) {
            for event in &entry.events {
                *accepted.entry(*event).or_default() += 1;
            }
        }
        accepted
    }

    /// Fails unless exactly the events `0..count` were accepted, each at least once.
    pub(crate) fn check_complete(&self, count: u64) -> Result {
        let there = self.accepted();
        let missing: Vec<u64> = (0..count).filter(|event| !there.contains_key(event)).collect();
        let foreign = there.keys().filter(|event| **event >= count).count();
        if missing.is_empty() && foreign == 0 {
            return Ok(());
        }
        let first = missing.first();
        fail(format!("{} missing, the first is {first:?}; {foreign} foreign", missing.len()))
    }

    /// When each request began, whatever it was for; in order.
    pub(crate) fn arrivals(&self) -> Vec<Instant> {
        let events = self.entries.iter().map(|entry| entry.began);
        let tokens = self.tokens.iter().map(|(began, _)| *began);
        let mut arrivals: Vec<_> =
            events.chain(tokens).chain(self.unread.iter().copied()).collect();
        arrivals.sort();
        arrivals
    }

    /// How many events were accepted.
    pub(crate) fn distinct(&self) -> u64 {
        self.accepted().len() as u64
    }

    /// Fails when a batch was sent again with other bytes, or without need: after an answer that
    /// says that it was taken or is to be cut, when `kills` has no instant in between. Gives how
    /// often it has.
    pub(crate) fn check_repeats(&self, kills: &[Instant]) -> Result<u64> {
        let mut cut_off = 0;
        for (track_id, entries) in self.by_track_id() {
            if entries.iter().any(|entry| entry.body != entries[0].body) {
                return fail(format!("{track_id} came with different bytes"));
            }
            for pair in entries.windows(2) {
                let [before, after] = pair else { continue };
                if after.began < before.ended {
                    return fail(format!("{track_id} was under way twice: {before:?} {after:?}"));
                }
                let is_settled = matches!(before.meaning(), Meaning::Taken | Meaning::Cut);
                let is_killed = kills.iter().any(|at| before.began < *at && *at < after.began);
                if is_settled && !is_killed {
                    let (act, again) = (before.act, after.began - before.ended);
                    return fail(format!("{track_id} was sent again {again:?} after {act:?}"));
                }
                cut_off += u64::from(is_settled);
            }
        }
        Ok(cut_off)
    }

    /// Fails unless each unknown outcome is on record, and each event that was accepted twice is
    /// in a receipt that says why. Gives the events that were accepted twice.
    pub(crate) fn check_receipts(&self, receipts: &[Value]) -> Result<u64> {
        let mut unknown = HashMap::new();
        for receipt in receipts {
            let attempts = number(receipt, "/outcome_unknown_attempts")?;
            unknown.insert(text(receipt, "/track_id")?, attempts.cast_unsigned());
        }
        let accepted = self.accepted();
        let mut twice = 0;
        for (track_id, entries) in self.by_track_id() {
            let seen = entries.iter().filter(|entry| entry.is_unknown()).count() as u64;
            let Some(on_record) = unknown.get(track_id) else {
                // Its halves have the receipts, and its outcomes with them.
                let is_cut = entries.iter().any(|entry| entry.meaning() == Meaning::Cut);
                if is_cut {
                    continue;
                }
                return fail(format!("no receipt of {track_id}"));
            };
            if *on_record < seen {
                return fail(format!("{track_id}: {on_record} of {seen} unknown on record"));
            }
            let last = entries.last().map_or(&[][..], |entry| &entry.events);
            let again = last.iter().filter(|event| accepted.get(event) > Some(&1)).count() as u64;
            if again > 0 && *on_record == 0 {
                return fail(format!("{track_id}: {again} events twice, and nothing on record"));
            }
            twice += again;
        }
        Ok(twice)
    }

    /// Fails when a request began before the wait that an answer asked for was over: of its
    /// meter, and after 429 of any. An answer just before one of `kills` may not have been seen.
    /// Gives the number of waits.
    pub(crate) fn check_waits(&self, kills: &[Instant]) -> Result<u64> {
        let mut waits = 0;
        for entry in &self.entries {
            let Some((seconds, is_tenant)) = asked(entry.act) else { continue };
            if kills.iter().any(|at| (entry.ended..entry.ended + CROSSING).contains(at)) {
                continue;
            }
            waits += 1;
            let until = entry.ended + Duration::from_secs(seconds);
            let is_early = |other: &&Entry| {
                (is_tenant || other.meter == entry.meter)
                    && other.began > entry.ended + CROSSING
                    && other.began < until
            };
            if let Some(early) = self.entries.iter().find(is_early) {
                let after = early.began - entry.ended;
                return fail(format!("a request {after:?} after {:?}", entry.act));
            }
        }
        Ok(waits)
    }

    /// Requests that began while nothing was to come: after an answer had asked for a wait.
    pub(crate) fn in_waits(&self) -> u64 {
        let is_waited_for = |entry: &&Entry| {
            self.entries.iter().any(|before| {
                asked(before.act).is_some_and(|(seconds, is_tenant)| {
                    (is_tenant || before.meter == entry.meter)
                        && before.ended < entry.began
                        && entry.began < before.ended + Duration::from_secs(seconds)
                })
            })
        };
        self.entries.iter().filter(is_waited_for).count() as u64
    }

    /// The most requests that were under way at one time. None survives one of `kills`.
    pub(crate) fn in_flight_max(&self, kills: &[Instant]) -> u64 {
        let events = self.entries.iter().map(|entry| {
            let is_silent = entry.act == Act::Silence;
            let ended = entry.ended + if is_silent { SILENCE_COUNTED } else { Duration::ZERO };
            let killed = kills.iter().copied().find(|at| *at > entry.ended);
            (entry.began, killed.map_or(ended, |at| ended.min(at)))
        });
        let mut steps = BTreeMap::new();
        for (began, ended) in events.chain(self.tokens.iter().copied()) {
            *steps.entry(began).or_insert(0_i64) += 1;
            *steps.entry(ended).or_insert(0_i64) -= 1;
        }
        let under_way = steps.values().scan(0, |sum, step| {
            *sum += step;
            Some(*sum)
        });
        under_way.max().unwrap_or(0).cast_unsigned()
    }

    /// How often each kind of act was played.
    pub(crate) fn acts(&self) -> BTreeMap<String, u64> {
        let mut acts = BTreeMap::new();
        for entry in &self.entries {
            let name = match entry.act {
                Act::Answer(Answer { status, code, .. }) => format!("{status} {code}"),
                other => format!("{other:?}"),
            };
            *acts.entry(name).or_default() += 1;
        }
        acts
    }

    /// Each batch's requests in their order.
    fn by_track_id(&self) -> HashMap<&str, Vec<&Entry>> {
        let mut by_track_id: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in &self.entries {
            by_track_id.entry(&entry.track_id).or_default().push(entry);
        }
        for entries in by_track_id.values_mut() {
            entries.sort_by_key(|entry| entry.began);
        }
        by_track_id
    }
}

/// How long an answer asks to wait, and whether it asks the whole tenant.
fn asked(act: Act) -> Option<(u64, bool)> {
    let Act::Answer(Answer { status, code, retry_after_seconds, .. }) = act else { return None };
    let is_tenant = status == 429 || code == "70002005";
    let is_retry = is_tenant || matches!(status, 408 | 425 | 500..=599);
    retry_after_seconds.filter(|_| is_retry).map(|seconds| (seconds, is_tenant))
}
