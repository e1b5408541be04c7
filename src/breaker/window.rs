//! The last lines of a source, in some parts: which of them were bad.

use std::collections::VecDeque;

/// What packing found in some lines; blank ones do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Lines that are not blank.
    pub lines: u32,
    /// Those of them that became dead letters.
    pub invalid: u32,
}

impl Found {
    /// The share of lines that are bad: 0 of none.
    pub fn share(self) -> f64 {
        f64::from(self.invalid) / f64::from(self.lines.max(1))
    }

    pub(super) fn add(&mut self, more: Self) {
        self.lines = self.lines.saturating_add(more.lines);
        self.invalid = self.invalid.saturating_add(more.invalid);
    }

    fn remove(&mut self, less: Self) {
        self.lines = self.lines.saturating_sub(less.lines);
        self.invalid = self.invalid.saturating_sub(less.invalid);
    }
}

/// A window is forgotten by and by, in about so many parts, however few lines a group has. More
/// than twice as many there never are.
const PARTS: u32 = 16;

/// The last groups that together have at least so many lines.
#[derive(Debug)]
pub(super) struct Window {
    lines_min: u32,
    parts: VecDeque<Found>,
    sum: Found,
}

impl Window {
    pub(super) fn new(lines_min: u32) -> Self {
        let lines_min = lines_min.max(1);
        Self { lines_min, parts: VecDeque::new(), sum: Found::default() }
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.sum = Found::default();
    }

    /// Adds the lines of a group and forgets the oldest that are not needed any more.
    pub(super) fn add(&mut self, found: Found) {
        if found.lines == 0 {
            return;
        }
        match self.parts.back_mut() {
            Some(last) if last.lines < self.lines_min / PARTS => last.add(found),
            _ => self.parts.push_back(found),
        }
        self.sum.add(found);
        while let Some(oldest) = self.parts.front().copied()
            && self.sum.lines - oldest.lines >= self.lines_min
        {
            self.sum.remove(oldest);
            self.parts.pop_front();
        }
    }

    /// What is in it.
    pub(super) fn found(&self) -> Found {
        self.sum
    }

    /// Whether so many lines were seen that their share is known.
    pub(super) fn is_full(&self) -> bool {
        self.sum.lines >= self.lines_min
    }

    /// The share of bad lines, as if all that are missing to a full window were good: so many
    /// are too many already, whatever comes.
    pub(super) fn share(&self) -> f64 {
        Found { lines: self.sum.lines.max(self.lines_min), ..self.sum }.share()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn groups() -> impl Strategy<Value = Vec<Found>> {
        let group = (0_u32..60)
            .prop_flat_map(|lines| (Just(lines), 0..=lines))
            .prop_map(|(lines, invalid)| Found { lines, invalid });
        prop::collection::vec(group, 0..200)
    }

    proptest! {
        #[test]
        fn it_holds_the_last_groups_and_hardly_more_than_it_has_to(
            lines_min in 1_u32..200,
            groups in groups(),
        ) {
            let mut window = Window::new(lines_min);
            for (index, group) in groups.iter().enumerate() {
                window.add(*group);
                prop_assert!(window.parts.len() <= 2 * PARTS as usize + 1);
                // The shortest run of last groups with as many lines.
                let (mut last, mut first) = (Found::default(), index + 1);
                while first > 0 && last.lines < window.sum.lines {
                    first -= 1;
                    last.add(groups[first]);
                }
                prop_assert_eq!(window.found(), last);
                let all: u32 = groups.iter().take(index + 1).map(|group| group.lines).sum();
                prop_assert!(window.sum.lines >= all.min(lines_min));
                // A part may have become large by the group that filled it.
                prop_assert!(window.sum.lines < lines_min + lines_min / PARTS + 60);
            }
        }
    }

    #[test]
    fn lines_that_are_missing_count_as_good() {
        let mut window = Window::new(10);
        window.add(Found { lines: 5, invalid: 5 });
        assert!((window.share() - 0.5).abs() < f64::EPSILON && !window.is_full());
        window.add(Found { lines: 1, invalid: 1 });
        assert!(window.share() > 0.5);
    }
}
