//! A deduplicator: the first event with a key comes through, for as long as the key is known.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;

/// The keys that are known. A key is forgotten when its time is over, counted from the event that
/// came through, and the oldest one when there are too many.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    ttl: Duration,
    count_max: usize,
    known: HashSet<String>,
    /// Oldest first.
    order: VecDeque<(Timestamp, String)>,
}

impl Keys {
    pub(super) fn new(ttl: Duration, count_max: usize) -> Self {
        Self { ttl, count_max: count_max.max(1), known: HashSet::new(), order: VecDeque::new() }
    }

    /// Counts the time of a known key from `now` on.
    pub(super) fn renew(&mut self, key: &str, now: Timestamp) {
        let Some(place) = self.order.iter().position(|(_, known)| known == key) else { return };
        if let Some((_, key)) = self.order.remove(place) {
            self.order.push_back((now, key));
        }
    }

    /// Whether `key` is new at `now`; it is known from here on.
    pub(super) fn is_new(&mut self, key: &str, now: Timestamp) -> bool {
        while let Some((at, oldest)) = self.order.front()
            && at.until(now) >= self.ttl
        {
            self.known.remove(oldest);
            self.order.pop_front();
        }
        if !self.known.insert(key.to_owned()) {
            return false;
        }
        self.order.push_back((now, key.to_owned()));
        if self.order.len() > self.count_max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_renewed_is_known_for_longer() {
        let mut keys = Keys::new(Duration::from_secs(10), 2);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        assert!(keys.is_new("a", at(0)) && !keys.is_new("a", at(9)));
        keys.renew("a", at(9));
        assert!(!keys.is_new("a", at(18)) && keys.is_new("a", at(19)));
    }

    #[test]
    fn a_key_is_known_until_its_time_is_over_or_too_many_came_after_it() {
        let mut keys = Keys::new(Duration::from_secs(10), 2);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let rows = [
            ("a", 0, true),
            ("a", 9, false),
            ("a", 10, true),
            ("b", 11, true),
            ("a", 12, false),
            ("c", 12, true),
            ("a", 13, true),
            ("c", 13, false),
        ];
        for (key, seconds, expected) in rows {
            assert_eq!(keys.is_new(key, at(seconds)), expected, "{key} at {seconds}");
        }
    }
}
