//! What a decoder found in a line: the values at the places that the mapping looks at, and no
//! others. The buffers are used again for every record.

use crate::mapping::{Mapping, Reference};

/// The places that a mapping looks at. A value's slot is the index of its place.
#[derive(Debug, Default)]
pub struct Places(Vec<Reference>);

impl Places {
    /// Those of `mapping`, each once.
    pub fn of(mapping: &Mapping) -> Self {
        mapping.references().fold(Self::default(), Self::with)
    }

    /// These and `reference`.
    #[must_use]
    pub fn with(mut self, reference: &Reference) -> Self {
        if !self.0.contains(reference) {
            self.0.push(reference.clone());
        }
        self
    }

    /// The slot of a place of the mapping.
    pub fn slot(&self, reference: &Reference) -> Option<usize> {
        self.0.iter().position(|place| place == reference)
    }

    /// Every place with its slot.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Reference)> {
        self.0.iter().enumerate()
    }

    /// The slot of the field `name` at the top of a record.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.0.iter().position(
            |place| matches!(place, Reference::Field(keys) if keys.len() == 1 && keys[0] == name),
        )
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'r> {
    /// Not there, null, or an empty text.
    Nothing,
    /// A text.
    Text(&'r str),
    /// A number, `true` or `false` of JSON, as it was written.
    Literal(&'r str),
    /// An object or array of JSON, as it was written.
    Composite(&'r str),
}

impl<'r> Value<'r> {
    /// A single value as it was written, a text without its quotes.
    pub fn text(self) -> Option<&'r str> {
        match self {
            Self::Text(text) | Self::Literal(text) => Some(text),
            Self::Nothing | Self::Composite(_) => None,
        }
    }
}

/// The values of one record.
#[derive(Debug, Default)]
pub struct Record {
    text: String,
    found: Vec<Option<Found>>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    kind: Kind,
    start: usize,
    end: usize,
}

/// What kind of value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// See [`Value::Text`].
    Text,
    /// See [`Value::Literal`].
    Literal,
    /// See [`Value::Composite`].
    Composite,
}

impl Record {
    /// Forgets all values; there is room for `slots`.
    pub fn clear(&mut self, slots: usize) {
        self.text.clear();
        self.found.clear();
        self.found.resize(slots, None);
    }

    /// Notes a value. False: there was one in this slot already.
    pub fn put(&mut self, slot: usize, kind: Kind, text: &str) -> bool {
        self.put_with(slot, kind, |out| out.push_str(text))
    }

    /// Notes what `write` appends as a value. False: there was one in this slot already.
    pub fn put_with(&mut self, slot: usize, kind: Kind, write: impl FnOnce(&mut String)) -> bool {
        let Some(found) = self.found.get_mut(slot) else { return true };
        let start = self.text.len();
        write(&mut self.text);
        found.replace(Found { kind, start, end: self.text.len() }).is_none()
    }

    /// The value in `slot`.
    pub fn value(&self, slot: usize) -> Value<'_> {
        let Some(Some(found)) = self.found.get(slot) else { return Value::Nothing };
        match (self.text.get(found.start..found.end).unwrap_or_default(), found.kind) {
            ("", _) => Value::Nothing,
            (text, Kind::Text) => Value::Text(text),
            (text, Kind::Literal) => Value::Literal(text),
            (text, Kind::Composite) => Value::Composite(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_their_slots_and_an_empty_one_is_none() {
        let mut record = Record::default();
        record.clear(4);
        assert!(record.put(0, Kind::Text, "a"));
        assert!(record.put(1, Kind::Text, ""));
        assert!(record.put(2, Kind::Literal, "1.0"));
        assert!(!record.put(2, Kind::Composite, "[]"));
        assert!(record.put(9, Kind::Text, "nobody asked"));
        let values = [0, 1, 2, 3, 9].map(|slot| record.value(slot));
        let expected = [
            Value::Text("a"),
            Value::Nothing,
            Value::Composite("[]"),
            Value::Nothing,
            Value::Nothing,
        ];
        assert_eq!(values, expected);
        record.clear(1);
        assert_eq!(record.value(0), Value::Nothing);
    }
}
