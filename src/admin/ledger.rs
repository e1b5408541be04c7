//! What the page asks for by itself: dead letters, one receipt, and the replay of letters.
//!
//! All of it blocks, and is bounded: so many letters, so many bytes of each, so many to replay.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::View;
use crate::settlement::BatchId;
use crate::store;
use crate::store::dead_letters::{Filter, Shown};
use crate::store::reader::Reader;
use crate::store::receipts::{Receipt, number};

/// Letters of one page.
const LETTERS_MAX: u32 = 20;

/// Bytes of an event that are shown.
const EXCERPT_BYTES: u32 = 2048;

/// Letters that one request replays: a transaction or a few.
pub(super) const REPLAYED_MAX: usize = 1000;

/// Puts the dead letters with these numbers back on their way, and tells in JSON what became of them.
/// Blocks.
#[derive(Clone)]
pub struct Replay(pub Arc<dyn Fn(Vec<i64>) -> Result<serde_json::Value, String> + Send + Sync>);

impl fmt::Debug for Replay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Replay")
    }
}

/// Which letters the page wants, from its query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    meter: Option<String>,
    reason: Option<String>,
    /// Letters with smaller numbers.
    before: Option<i64>,
}

impl Wanted {
    /// Of a query such as `reason=wrong_type&before=7`.
    pub(super) fn of_query(query: &str) -> Self {
        let mut wanted = Self::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "meter" => wanted.meter = Some(value.into_owned()),
                "reason" => wanted.reason = Some(value.into_owned()),
                "before" => wanted.before = value.parse().ok(),
                _ => {}
            }
        }
        wanted
    }
}

/// The newest letters that are wanted.
pub(super) fn letters(view: &View, wanted: Wanted) -> Result<Vec<Shown>, store::Error> {
    let Wanted { meter, reason, before } = wanted;
    let filter = Filter { meter, reason, ..Filter::default() };
    let before = before.unwrap_or(i64::MAX);
    Reader::open(&view.directory)?.latest_dead_letters(&filter, before, LETTERS_MAX, EXCERPT_BYTES)
}

/// What is known of a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Found {
    /// It was delivered.
    Receipt(Box<Receipt>),
    /// It waits.
    Waiting {
        /// Its track id.
        track_id: String,
        /// Events in it.
        events: u32,
        /// Requests that carried it.
        attempts: u32,
        /// Those of them whose outcome is not known.
        outcome_unknown_attempts: u32,
    },
}

/// The batch with the track id or number `name`; none: there is none, or its receipt is forgotten.
pub(super) fn batch(view: &View, name: &str) -> Result<Option<Found>, store::Error> {
    let reader = Reader::open(&view.directory)?;
    if let Some(receipt) = reader.receipt(name)? {
        return Ok(Some(Found::Receipt(Box::new(receipt))));
    }
    let Some(number) = number(name) else { return Ok(None) };
    let waiting = reader.batch(BatchId(number))?;
    let is_meant = |track_id: &str| track_id == name || number.to_string() == name;
    Ok(waiting.filter(|head| is_meant(&head.track_id)).map(|head| Found::Waiting {
        track_id: head.track_id,
        events: head.events,
        attempts: head.attempts,
        outcome_unknown_attempts: head.outcome_unknown_attempts,
    }))
}

/// The body of a request to replay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ids: Vec<i64>,
}

/// The numbers in the body of a request to replay: some, and not too many.
pub(super) fn asked(body: &[u8]) -> Result<Vec<i64>, String> {
    let expected = format!("expected {{\"ids\": [...]}} with 1 to {REPLAYED_MAX} numbers");
    match serde_json::from_slice::<Asked>(body) {
        Ok(Asked { ids }) if (1..=REPLAYED_MAX).contains(&ids.len()) => Ok(ids),
        _ => Err(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_strictly_and_bounded() {
        assert_eq!(asked(br#"{"ids":[3,1]}"#), Ok(vec![3, 1]));
        let many = format!("{{\"ids\":{:?}}}", vec![1; REPLAYED_MAX + 1]);
        for wrong in [
            "",
            "[1]",
            "{}",
            r#"{"ids":[]}"#,
            r#"{"ids":["1"]}"#,
            r#"{"ids":[1],"all":true}"#,
            &many,
        ] {
            assert!(asked(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_is_unescaped() {
        let wanted = Wanted::of_query("reason=a%20b&before=7&meter=m%26n&other=1");
        let expected =
            Wanted { meter: Some("m&n".into()), reason: Some("a b".into()), before: Some(7) };
        assert_eq!(wanted, expected);
        assert_eq!(Wanted::of_query("before=x"), Wanted::default());
    }
}
