//! An expression with named captures. It must match; anchors say whether all of the line.

use regex::{CaptureLocations, Regex};

use super::super::record::{Kind, Places, Record};
use super::super::validate::Refusal;
use super::unparsable;

#[derive(Debug)]
pub(super) struct Captures {
    pattern: Regex,
    locations: CaptureLocations,
    /// The numbers of the captures that are wanted, with their slots.
    wanted: Vec<(usize, usize)>,
}

impl Captures {
    pub(super) fn new(pattern: &Regex, places: &Places) -> Self {
        // A clone of its own: workers that share one take turns at its scratch space.
        let pattern = pattern.clone();
        let names = pattern.capture_names().enumerate();
        let wanted = names.filter_map(|(number, name)| Some((number, places.field(name?)?)));
        let wanted = wanted.collect();
        Self { locations: pattern.capture_locations(), wanted, pattern }
    }

    pub(super) fn decode(&mut self, text: &str, record: &mut Record) -> Result<(), Refusal> {
        if self.pattern.captures_read(&mut self.locations, text).is_none() {
            return Err(unparsable("the pattern does not match"));
        }
        for &(number, slot) in &self.wanted {
            if let Some((start, end)) = self.locations.get(number) {
                record.put(slot, Kind::Text, text.get(start..end).unwrap_or_default());
            }
        }
        Ok(())
    }

    #[cfg(feature = "vrl")]
    pub(super) fn each(
        &mut self,
        text: &str,
        take: &mut dyn FnMut(&str, &str),
    ) -> Result<(), Refusal> {
        if self.pattern.captures_read(&mut self.locations, text).is_none() {
            return Err(unparsable("the pattern does not match"));
        }
        for (number, name) in self.pattern.capture_names().enumerate() {
            if let (Some(name), Some((start, end))) = (name, self.locations.get(number)) {
                take(name, text.get(start..end).unwrap_or_default());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::Reason;
    use crate::pack::testing::{field, places, shown};
    use proptest::prelude::*;

    fn decode(pattern: &str, keys: &[&str], text: &str) -> Result<Vec<String>, Refusal> {
        let references: Vec<_> = keys.iter().map(|key| field(&[key])).collect();
        let places = places(&references);
        let mut record = Record::default();
        record.clear(places.len());
        let pattern = Regex::new(pattern).expect("an expression");
        Captures::new(&pattern, &places).decode(text, &mut record)?;
        Ok(shown(&record, keys.len()))
    }

    #[test]
    fn captures_are_values_and_those_that_took_no_part_are_none() {
        let pattern = r"^(?<user>\S+) (?:-|(?<bytes>\d+)) (?<rest>.*)$";
        let keys = ["user", "bytes", "rest", "other"];
        for (text, expected) in
            [("é 007 x y", ["é", "007", "x y", "-"]), ("a - ", ["a", "-", "-", "-"])]
        {
            assert_eq!(decode(pattern, &keys, text).expect("decoded"), expected);
        }
        let refused = decode(pattern, &keys, "one").map_err(|refusal| refusal.reason);
        assert_eq!(refused, Err(Reason::Unparsable));
    }

    proptest! {
        #[test]
        fn arbitrary_texts_do_no_harm(text: String) {
            let _ = decode(r"^(?<a>\w*) (?<b>[^ ]*)", &["a", "b"], &text);
        }
    }
}
