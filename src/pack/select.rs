//! Which records are usage events at all. Values are compared as the texts in which they came: 200
//! and "200" are alike, 200 and 200.0 are not.

use regex::Regex;

use super::record::{Places, Record, Value};
use crate::mapping::{Mapping, Reference, Test};

/// The conditions of a mapping.
#[derive(Debug)]
pub struct Selection {
    /// About what is around a record: they are asked before it is read.
    around: Vec<Compiled>,
    within: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    slot: usize,
    test: Question,
    is_negated: bool,
}

#[derive(Debug)]
enum Question {
    Exists,
    In(Vec<String>),
    /// A clone of its own for each worker: sharers take turns at its scratch space.
    Matches(Regex),
}

impl Selection {
    /// The conditions of `mapping`, of which all must hold.
    pub fn new(mapping: &Mapping, places: &Places) -> Self {
        let (mut around, mut within) = (Vec::new(), Vec::new());
        for condition in &mapping.select {
            let test = match &condition.test {
                Test::Exists => Question::Exists,
                Test::In(listed) => Question::In(listed.clone()),
                Test::Matches(pattern) => Question::Matches(pattern.clone()),
            };
            let Some(slot) = places.slot(&condition.at) else { continue };
            let compiled = Compiled { slot, test, is_negated: condition.is_negated };
            match condition.at {
                Reference::Field(_) => within.push(compiled),
                Reference::File(_) | Reference::Syslog(_) => around.push(compiled),
            }
        }
        Self { around, within }
    }

    /// Whether nothing is asked of records themselves.
    pub fn takes_any(&self) -> bool {
        self.within.is_empty()
    }

    /// Whether nothing is asked of what is around them.
    pub fn is_anywhere(&self) -> bool {
        self.around.is_empty()
    }

    /// Whether records with this around them can be events: a line of another program need not be
    /// right.
    pub fn takes_around(&self, record: &Record) -> bool {
        self.around.iter().all(|condition| condition.holds(record))
    }

    /// Whether `record` is an event.
    pub fn takes(&self, record: &Record) -> bool {
        self.within.iter().all(|condition| condition.holds(record))
    }
}

impl Compiled {
    fn holds(&self, record: &Record) -> bool {
        let value = record.value(self.slot);
        let holds = match &self.test {
            Question::Exists => value != Value::Nothing,
            Question::In(listed) => {
                value.text().is_some_and(|text| listed.iter().any(|one| one == text))
            }
            Question::Matches(pattern) => value.text().is_some_and(|text| pattern.is_match(text)),
        };
        holds != self.is_negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{Condition, Format};
    use crate::pack::record::Kind;
    use crate::pack::testing::{bare, field};

    #[test]
    fn conditions_hold_or_not() {
        let listed =
            |texts: &[&str]| Test::In(texts.iter().map(|text| (*text).to_owned()).collect());
        let matches = |pattern: &str| Test::Matches(Regex::new(pattern).expect("an expression"));
        let text = (Kind::Text, "usage");
        let number = (Kind::Literal, "200");
        let object = (Kind::Composite, "{}");
        let nothing = (Kind::Text, "");
        for (value, test, expected) in [
            (text, Test::Exists, true),
            (number, Test::Exists, true),
            (object, Test::Exists, true),
            (nothing, Test::Exists, false),
            (text, listed(&["other", "usage"]), true),
            (text, listed(&["Usage"]), false),
            (number, listed(&["200"]), true),
            (number, listed(&["200.0"]), false),
            (object, listed(&["{}"]), false),
            (nothing, listed(&[""]), false),
            (text, matches("^us"), true),
            (number, matches("^2..$"), true),
            (object, matches("."), false),
            (nothing, matches(""), false),
        ] {
            for is_negated in [false, true] {
                let condition = Condition { at: field(&["a"]), test: test.clone(), is_negated };
                let always = Condition { at: field(&["b"]), test: Test::Exists, is_negated: true };
                let mapping = Mapping { select: vec![always, condition], ..bare(Format::Json) };
                let places = Places::of(&mapping);
                let mut record = Record::default();
                record.clear(places.len());
                record.put(1, value.0, value.1);
                let takes = Selection::new(&mapping, &places).takes(&record);
                assert_eq!(takes, expected != is_negated, "{value:?} {test:?} {is_negated}");
            }
        }
    }
}
