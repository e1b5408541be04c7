//! The schema that is in force for a meter.
//!
//! One that is configured stays for the life of the process. One that comes with the meter's export
//! is an [`Edition`] after the other: who validates looks which one is in force once a group, and
//! a batch keeps the hash of the one that its events were validated with.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{Schema, difference};

/// What tells editions apart: SHA-256 over what events are judged by.
pub type Hash = [u8; 32];

/// A schema as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Edition {
    /// What events are validated with.
    pub schema: Schema,
    /// Of a schema that came with an export.
    pub hash: Option<Hash>,
    /// Why nothing that was validated with it may be sent.
    pub flaw: Option<String>,
}

impl Edition {
    /// An edition of an exported schema.
    pub fn exported(schema: Schema, flaw: Option<String>) -> Self {
        Self { hash: Some(hash(&schema)), schema, flaw }
    }
}

/// By what events are judged, in whatever order the meter lists its fields.
fn hash(schema: &Schema) -> Hash {
    let described = |field| (field, difference::described(field));
    let mut fields: Vec<_> = schema.fields().iter().map(described).collect();
    fields.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
    let mut hasher = Sha256::new();
    for (field, words) in fields {
        for text in [field.name.as_bytes(), words.as_bytes()] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
    }
    let time = schema.event_time().and_then(|index| schema.fields().get(index));
    hasher.update(time.map_or(&b""[..], |field| field.name.as_bytes()));
    hasher.finalize().into()
}

/// The schema of a meter, which may change. Clones see the same editions.
#[derive(Debug, Clone)]
pub struct Current {
    now: watch::Sender<Option<Arc<Edition>>>,
    refresh: Option<Duration>,
    /// Stands in where none has come: every object is taken, and judged before it is sent.
    open: Arc<Edition>,
}

impl From<Schema> for Current {
    /// One that never changes.
    fn from(schema: Schema) -> Self {
        let edition = Edition { schema, hash: None, flaw: None };
        Self::new(Some(Arc::new(edition)), None)
    }
}

impl Current {
    fn new(now: Option<Arc<Edition>>, refresh: Option<Duration>) -> Self {
        let open = Arc::new(Edition { schema: Schema::open(), hash: None, flaw: None });
        Self { now: watch::Sender::new(now), refresh, open }
    }

    /// One that comes with the export, which is asked for again after `refresh`. There is none yet.
    pub fn of_export(refresh: Duration) -> Self {
        Self::new(None, Some(refresh))
    }

    /// The same with the editions of `before`, for whoever looks at either: [`Current::succeed`] puts
    /// the right one in force.
    #[must_use]
    pub fn beside(&self, before: &Self) -> Self {
        Self { now: before.now.clone(), ..self.clone() }
    }

    /// Puts `edition` in force; none: it has not come yet.
    pub fn succeed(&self, edition: Option<Arc<Edition>>) {
        self.now.send_replace(edition);
    }

    /// Whether both come from the same place: the same schema of the configuration, or the export.
    pub fn is_set_as(&self, other: &Self) -> bool {
        self.refresh == other.refresh && (self.refresh.is_some() || self.now() == other.now())
    }

    /// How often the export is asked for; none: the schema is configured.
    pub const fn refresh(&self) -> Option<Duration> {
        self.refresh
    }

    /// The edition in force; none: it has not come yet.
    pub fn now(&self) -> Option<Arc<Edition>> {
        self.now.borrow().clone()
    }

    /// The edition in force, or one that takes every object.
    pub fn or_open(&self) -> Arc<Edition> {
        self.now().unwrap_or_else(|| Arc::clone(&self.open))
    }

    /// Puts `edition` in force.
    pub fn set(&self, edition: Edition) {
        self.now.send_replace(Some(Arc::new(edition)));
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<Edition>>> {
        self.now.subscribe()
    }

    /// Returns when there is one.
    pub async fn come(&self) {
        if self.now.borrow().is_some() {
            return;
        }
        // The sender is this one.
        let _ = self.changes().wait_for(Option::is_some).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Field, FieldType};

    fn schema(fields: &[(&str, FieldType, bool)]) -> Schema {
        let field = |&(name, kind, required): &(&str, _, _)| Field {
            name: Arc::from(name),
            kind,
            required,
            format: None,
        };
        Schema::new(fields.iter().map(field).collect()).unwrap_or(Schema::open())
    }

    #[test]
    fn editions_are_told_apart_by_what_events_are_judged_by() {
        let (text, number) = (FieldType::String, FieldType::Number);
        let first = hash(&schema(&[("a", text, true), ("b", number, false)]));
        let check = |fields: &[(&str, FieldType, bool)], is_same: bool| {
            assert_eq!(hash(&schema(fields)) == first, is_same, "{fields:?}");
        };
        check(&[("b", number, false), ("a", text, true)], true);
        check(&[("a", text, true), ("b", number, true)], false);
        check(&[("a", text, true), ("b", text, false)], false);
        check(&[("a", text, true)], false);
        check(&[], false);
    }

    #[test]
    fn one_that_has_not_come_takes_everything_and_wakes_who_waits() {
        let current = Current::of_export(Duration::from_secs(1));
        assert_eq!((current.now(), current.or_open().hash), (None, None));
        let mut changes = current.changes();
        let edition = Edition::exported(schema(&[("a", FieldType::Any, true)]), None);
        let hash = edition.hash;
        current.set(edition);
        assert!(changes.has_changed().is_ok_and(|changed| changed));
        assert_eq!(changes.borrow_and_update().as_ref().and_then(|now| now.hash), hash);
        assert!(hash.is_some() && current.or_open().hash == hash);
    }
}
