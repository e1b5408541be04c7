//! What the tests of decoding and mapping share.

use super::record::{Places, Record};
use crate::mapping::{Condition, Format, Mapping, OnUnparsable, Reference, Test};

/// A mapping that does nothing but name a format.
pub(crate) fn bare(format: Format) -> Mapping {
    Mapping {
        format,
        is_syslog: false,
        on_unparsable: OnUnparsable::DeadLetter,
        select: Vec::new(),
        rules: None,
        file_pattern: None,
    }
}

/// The field behind `keys`.
pub(crate) fn field(keys: &[&str]) -> Reference {
    Reference::Field(keys.iter().map(|key| (*key).to_owned()).collect())
}

/// That `at` is there.
pub(crate) fn select(at: &Reference) -> Vec<Condition> {
    vec![Condition { at: at.clone(), test: Test::Exists, is_negated: false }]
}

/// Slots in the order of `references`.
pub(crate) fn places(references: &[Reference]) -> Places {
    let select = references.iter().flat_map(select).collect();
    Places::of(&Mapping { select, ..bare(Format::Json) })
}

/// The first `count` values as they were written, with `-` for nothing.
pub(crate) fn shown(record: &Record, count: usize) -> Vec<String> {
    (0..count).map(|slot| record.value(slot).text().unwrap_or("-").to_owned()).collect()
}
