//! Cuts the stream of chunks into groups: one thread that only adds up lines and bytes.
//!
//! A group is sealed when it holds as many events or bytes as one request may, when its first
//! line has waited for the linger time, or when sources wait for room that open groups hold. After
//! a pause of the linger time the first group waits a moment only: who writes seldom is sent at
//! once, and nobody is sent more often than once in a linger time because of it.
//! Groups are numbered in the order in which they must commit: each line has a lower or equal
//! group number than every later line of its source. A meter that is set otherwise begins a new group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};
use tokio::sync::watch;

use super::event_id::stamp_bytes_max;
use crate::chunk::{Chunk, Content};
use crate::group::{Group, Slice};
use crate::intake::Outlet;
use crate::meter::{Meter, Roster};
use crate::notice::Notice;
use crate::position::Numbering;
use crate::routing::Destination;
use crate::telemetry::Pulse;

/// How often a batcher with open groups looks whether sources still wait for room.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(10);

/// The same while there is room for most chunks.
const LARGE_INTERVAL: Duration = Duration::from_millis(100);

/// How long the first line after a pause waits for company: what is written in one go comes together.
const FIRST_LINGER_MAX: Duration = Duration::from_millis(10);

/// How groups are cut, as of now.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The longest time that a line waits for company.
    pub linger_max: Duration,
    /// The same of the first line after a pause as long as [`Settings::linger_max`].
    pub first_linger_max: Duration,
    /// The meters that lines are for.
    pub roster: Roster,
}

impl Settings {
    /// Of the whole of packing, for `meters`.
    pub fn of(packing: &super::Settings, meters: &[Arc<Meter>]) -> Self {
        let linger_max = packing.linger_max;
        let first_linger_max = linger_max.min(FIRST_LINGER_MAX);
        Self { linger_max, first_linger_max, roster: Roster::new(meters) }
    }
}

/// Cuts chunks into groups until the intake closes and everything is handed over.
pub fn run(
    outlet: &Outlet,
    mut settings: watch::Receiver<Settings>,
    groups: &Sender<Group>,
    pulse: &Pulse,
) {
    let now = settings.borrow_and_update().clone();
    let mut batcher =
        Batcher { settings: now, groups, next: 0, open: Vec::new(), sealed: Vec::new() };
    loop {
        let received = match batcher.deadline() {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Who waits for room waits behind a chunk that took the last of it and was sent: it is full before
                // that chunk is received. Only one that is larger than most can wait while it is not.
                let look = if outlet.is_full() { PRESSURE_INTERVAL } else { LARGE_INTERVAL };
                outlet.chunks.recv_timeout(left.min(look))
            }
            None => outlet.chunks.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        // It waits for packers only, which are stuck themselves when that takes long.
        let _beat = pulse.beat();
        let go_on = match received {
            Ok(chunk) => {
                let go_on = !settings.has_changed().unwrap_or(false)
                    || batcher.change(settings.borrow_and_update().clone());
                go_on && batcher.add(chunk, Instant::now())
            }
            Err(RecvTimeoutError::Timeout) if outlet.is_full() => batcher.seal_all(),
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => {
                batcher.seal_all();
                false
            }
        };
        if !go_on || !batcher.seal_expired(Instant::now()) {
            return;
        }
    }
}

struct Batcher<'g> {
    settings: Settings,
    groups: &'g Sender<Group>,
    next: u64,
    open: Vec<OpenGroup>,
    /// What groups were sealed of within the linger time, and when.
    sealed: Vec<(Destination, Instant)>,
}

/// A group that still takes lines.
struct OpenGroup {
    key: Destination,
    /// The same, with the meters as they are now.
    destination: Destination,
    slices: Vec<Slice>,
    events: usize,
    bytes: usize,
    events_max: usize,
    /// What each of the meters takes, as known when the group was begun.
    payload_bytes_max: usize,
    /// What each event costs beside its line.
    stamp_bytes: usize,
    /// When it is sealed, whatever it holds.
    until: Instant,
}

/// How much of the lines at hand a group takes.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    lines: usize,
    bytes: usize,
}

impl Batcher<'_> {
    /// When the oldest open group has to be sealed.
    fn deadline(&self) -> Option<Instant> {
        self.open.iter().map(|group| group.until).min()
    }

    /// Cuts by `settings` from now on. False: nobody takes groups.
    fn change(&mut self, settings: Settings) -> bool {
        self.settings = settings;
        // What was read before a meter changed must not commit behind what is read after it.
        self.seal_all()
    }

    /// What the lines of `chunk` are grouped by. Sources that know a meter as it was at different
    /// times share the groups of that meter.
    fn key_of(&self, chunk: &Chunk) -> Destination {
        match &chunk.stream.source.destination {
            Destination::Meter(meter) => {
                Destination::Meter(Arc::clone(self.settings.roster.current(meter)))
            }
            routed @ Destination::Routed(_) => routed.clone(),
        }
    }

    /// Adds a chunk to the group of its destination, sealing as often as needed. False: nobody takes
    /// groups.
    fn add(&mut self, chunk: Chunk, now: Instant) -> bool {
        let chunk = Arc::new(chunk);
        let Content::Lines(lines) = &chunk.content else {
            let (first, end) = (chunk.first, chunk.end);
            let slice = Slice { chunk: Arc::clone(&chunk), range: 0..0, first, end, lines: 1 };
            return self.push(slice, now);
        };
        if let Some(Notice::Request(request)) = &chunk.notice {
            return self.add_whole(&chunk, lines.len(), now, request.linger_max);
        }
        // Here, because chunks still come in their order, and workers pack in any.
        chunk.learn_header();
        let destination = &self.key_of(&chunk);
        let mut at = 0;
        let mut position = chunk.first;
        let mut left = usize::try_from(chunk.lines).unwrap_or(usize::MAX);
        loop {
            let rest = lines.get(at..).unwrap_or_default();
            let share = self.group(destination, now).share(rest, left);
            if share.lines == 0 && !rest.is_empty() {
                if !self.seal(destination) {
                    return false;
                }
                continue;
            }
            let range = at..at + share.bytes;
            (at, left) = (range.end, left.saturating_sub(share.lines));
            let first = position;
            position += match chunk.stream.numbering {
                Numbering::ByteOffset => share.bytes as u64,
                Numbering::LineNumber => share.lines as u64,
            };
            // The last line of an input may have got its end from the source.
            let end = if at == lines.len() { chunk.end } else { position };
            let lines_count = u32::try_from(share.lines).unwrap_or(u32::MAX);
            let slice = Slice { chunk: Arc::clone(&chunk), range, first, end, lines: lines_count };
            if !self.push(slice, now) {
                return false;
            }
            if at == lines.len() {
                return true;
            }
        }
    }

    /// Adds a chunk that must not be cut, because its lines commit together, however many
    /// requests they will make.
    fn add_whole(
        &mut self,
        chunk: &Arc<Chunk>,
        bytes: usize,
        now: Instant,
        linger_max: Duration,
    ) -> bool {
        let destination = &self.key_of(chunk);
        let lines = u32::try_from(chunk.end - chunk.first).unwrap_or(u32::MAX);
        if !self.group(destination, now).fits(lines as usize, bytes) && !self.seal(destination) {
            return false;
        }
        let group = self.group(destination, now);
        // Somebody waits for the answer.
        group.until = group.until.min(now + linger_max);
        let (first, end) = (chunk.first, chunk.end);
        self.push(Slice { chunk: Arc::clone(chunk), range: 0..bytes, first, end, lines }, now)
    }

    /// The open group of `destination`.
    fn group(&mut self, destination: &Destination, now: Instant) -> &mut OpenGroup {
        let known = self.open.iter().position(|group| group.key.is_same(destination));
        let index = known.unwrap_or_else(|| {
            let until = now + self.linger(destination, now);
            self.open.push(OpenGroup::new(destination, &self.settings.roster, until));
            self.open.len() - 1
        });
        // The index was found or made two lines above.
        &mut self.open[index]
    }

    /// How long a group waits for company that is begun at `now`.
    fn linger(&mut self, destination: &Destination, now: Instant) -> Duration {
        let Settings { linger_max, first_linger_max, .. } = self.settings;
        self.sealed.retain(|(_, at)| now.saturating_duration_since(*at) < linger_max);
        let is_busy = self.sealed.iter().any(|(key, _)| key.is_same(destination));
        if is_busy { linger_max } else { first_linger_max }
    }

    fn push(&mut self, slice: Slice, now: Instant) -> bool {
        let destination = self.key_of(&slice.chunk);
        let group = self.group(&destination, now);
        group.push(slice);
        if group.is_full() { self.seal(&destination) } else { true }
    }

    fn seal(&mut self, destination: &Destination) -> bool {
        match self.open.iter().position(|group| group.key.is_same(destination)) {
            Some(index) => {
                let group = self.open.swap_remove(index);
                self.hand_over(group)
            }
            None => true,
        }
    }

    fn seal_all(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        open.into_iter().all(|group| self.hand_over(group))
    }

    fn seal_expired(&mut self, now: Instant) -> bool {
        let open = std::mem::take(&mut self.open);
        let (expired, open) = open.into_iter().partition(|group| now >= group.until);
        self.open = open;
        let expired: Vec<OpenGroup> = expired;
        expired.into_iter().all(|group| self.hand_over(group))
    }

    fn hand_over(&mut self, group: OpenGroup) -> bool {
        let number = self.next;
        self.next += 1;
        let OpenGroup { key, destination, slices, .. } = group;
        self.sealed.retain(|(sealed, _)| !sealed.is_same(&key));
        self.sealed.push((key, Instant::now()));
        self.groups.send(Group { number, destination, slices }).is_ok()
    }
}

impl OpenGroup {
    /// Which lines are for which meter is found in packing: all of them may be for the one that
    /// takes the least.
    fn new(key: &Destination, roster: &Roster, until: Instant) -> Self {
        let destination = key.current(roster);
        let meters = || destination.meters().iter();
        let stamp = |name: &Arc<str>| stamp_bytes_max(name);
        let stamps = meters().filter_map(|meter| meter.event_id_field.as_ref().map(stamp));
        let events = meters().map(|meter| meter.limits.events_per_request_max as usize);
        let payload =
            meters().map(|meter| meter.learned_limit.within(meter.limits.payload_bytes_max));
        Self {
            key: key.clone(),
            slices: Vec::new(),
            events: 0,
            events_max: events.min().unwrap_or(usize::MAX),
            payload_bytes_max: payload.min().unwrap_or(usize::MAX),
            // The brackets of the array.
            bytes: 2,
            stamp_bytes: stamps.max().unwrap_or(0),
            until,
            destination,
        }
    }

    /// How many of `lines` fit, of which there are `count`. An empty group takes one line, whatever its
    /// size.
    fn share(&self, lines: &[u8], count: usize) -> Share {
        debug_assert_eq!(count, memchr::memchr_iter(b'\n', lines).count());
        let events_free = self.events_max.saturating_sub(self.events);
        let bytes_free = self.payload_bytes_max.saturating_sub(self.bytes);
        if count <= events_free && lines.len() + count * self.stamp_bytes <= bytes_free {
            return Share { lines: count, bytes: lines.len() };
        }
        let mut share = Share { lines: 0, bytes: 0 };
        for end in memchr::memchr_iter(b'\n', lines) {
            let next = Share { lines: share.lines + 1, bytes: end + 1 };
            let fits = next.lines <= events_free
                && next.bytes + next.lines * self.stamp_bytes <= bytes_free;
            let is_alone = self.events == 0 && share.lines == 0;
            if !fits && !is_alone {
                break;
            }
            share = next;
        }
        share
    }

    fn push(&mut self, slice: Slice) {
        let lines = slice.lines as usize;
        self.events += lines;
        self.bytes += slice.range.len() + lines * self.stamp_bytes;
        self.slices.push(slice);
    }

    /// Whether so many more lines leave it within the limits. An empty group takes any.
    fn fits(&self, lines: usize, bytes: usize) -> bool {
        let events = self.events + lines;
        self.events == 0
            || (events <= self.events_max
                && self.bytes + bytes + lines * self.stamp_bytes <= self.payload_bytes_max)
    }

    fn is_full(&self) -> bool {
        self.events >= self.events_max || self.bytes >= self.payload_bytes_max
    }
}

#[cfg(test)]
mod tests;
