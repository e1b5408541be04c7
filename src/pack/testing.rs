//! What the tests of decoding and mapping share.

use std::sync::{Arc, OnceLock};

use super::record::{Places, Record};
use crate::chunk::{SourceTag, Stream};
use crate::mapping::{Condition, Format, Mapping, Reference, Test};
use crate::meter::Meter;
use crate::position::{Numbering, Origin};

/// A file whose first line may name columns.
pub(crate) fn stream(header: Option<&str>) -> Stream {
    let meter = Arc::new(Meter::new("m", String::new()));
    let known = OnceLock::new();
    if let Some(header) = header {
        let _ = known.set(header.as_bytes().to_vec());
    }
    Stream {
        source: Arc::new(SourceTag::new("s", meter)),
        origin: Origin(1),
        label: "/var/log/acme/usage.log".into(),
        numbering: Numbering::ByteOffset,
        header: known,
    }
}

/// A mapping that does nothing but name a format.
pub(crate) fn bare(format: Format) -> Mapping {
    Mapping { format, ..Mapping::default() }
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
