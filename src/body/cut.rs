//! Cuts a frozen body: which events are in it, and its halves.
//!
//! Only bodies that Mediation refused come here, so this is written to be plain, not fast.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::value::RawValue;

use super::{ArrayWriter, Body, Error};
use crate::quantity::Quantity;

/// A body cannot be cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// It is not a gzipped JSON array, or not one of that size: the store was changed.
    #[error("the stored body is damaged: {0}")]
    Damaged(String),
    /// Compression failed.
    #[error(transparent)]
    Compress(#[from] Error),
}

/// One event and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event as it was sent.
    pub bytes: Vec<u8>,
    /// The value of the id field; numbers as text.
    pub id: Option<String>,
    /// The value of the quantity field.
    pub quantity: Counted,
}

/// The quantity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// There is none.
    Nothing,
    /// This.
    Known(Quantity),
    /// There is a value, and it is no number that can be summed.
    Unknown,
}

/// The fields of an event that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields<'f> {
    /// The one with the event's id.
    pub id: Option<&'f str>,
    /// The one that is summed.
    pub quantity: Option<&'f str>,
}

/// One half of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// Its events.
    pub body: Body,
    /// The id of the first one.
    pub first_id: Option<String>,
    /// The id of the last one.
    pub last_id: Option<String>,
    /// The sum of their quantities; none: there is none, or it is not known.
    pub quantity: Option<Quantity>,
}

/// The two halves of the array in `body`. `payload_bytes` is its size, `level` a gzip level.
pub fn halves(
    body: &[u8],
    payload_bytes: u64,
    fields: Fields<'_>,
    level: u32,
) -> Result<Vec<Half>, CutError> {
    let payload = payload(body, payload_bytes)?;
    let events = events(&payload)?;
    let (left, right) = events.split_at(events.len() / 2);
    let mut writer = ArrayWriter::new(level);
    let mut halves = Vec::new();
    for half in [left, right].into_iter().filter(|half| !half.is_empty()) {
        writer.begin();
        let mut quantity = fields.quantity.map(|_| Quantity::ZERO);
        let mut ids = Vec::with_capacity(half.len());
        for event in half {
            writer.begin_event().extend_from_slice(event.get().as_bytes());
            writer.end_event()?;
            let event = Event::read(event.get(), fields);
            quantity = match event.quantity {
                Counted::Nothing => quantity,
                Counted::Known(more) => quantity.and_then(|sum| sum.plus(more)),
                Counted::Unknown => None,
            };
            ids.push(event.id);
        }
        let last_id = ids.last().cloned().flatten();
        let first_id = ids.into_iter().next().flatten();
        halves.push(Half { body: writer.finish()?, first_id, last_id, quantity });
    }
    Ok(halves)
}

/// Gives each event of the array in `body` to `look`.
pub fn each(body: &[u8], payload_bytes: u64, mut look: impl FnMut(&[u8])) -> Result<(), CutError> {
    let payload = payload(body, payload_bytes)?;
    events(&payload)?.iter().for_each(|event| look(event.get().as_bytes()));
    Ok(())
}

/// Event number `index` of the array in `body`.
pub fn event_at(
    body: &[u8],
    payload_bytes: u64,
    fields: Fields<'_>,
    index: usize,
) -> Result<Event, CutError> {
    let payload = payload(body, payload_bytes)?;
    let events = events(&payload)?;
    let event = events.get(index).ok_or_else(|| CutError::Damaged("an event is missing".into()))?;
    Ok(Event::read(event.get(), fields))
}

fn payload(body: &[u8], payload_bytes: u64) -> Result<Vec<u8>, CutError> {
    let mut payload = Vec::new();
    // One more than there should be, so that a longer one is noticed and not read.
    let read = GzDecoder::new(body).take(payload_bytes + 1).read_to_end(&mut payload);
    read.map_err(|error| CutError::Damaged(error.to_string()))?;
    if payload.len() as u64 == payload_bytes {
        Ok(payload)
    } else {
        Err(CutError::Damaged("its size is not the recorded one".into()))
    }
}

fn events(payload: &[u8]) -> Result<Vec<&RawValue>, CutError> {
    serde_json::from_slice(payload).map_err(|error| CutError::Damaged(error.to_string()))
}

impl Event {
    /// Looks at the event in `text`; what is no object has none of the fields.
    pub fn read(text: &str, fields: Fields<'_>) -> Self {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
        let value = |field: Option<&str>| field.and_then(|field| members.get(field));
        let id = value(fields.id).map(|value| {
            // Strings without their quotes, numbers as they are.
            serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
        });
        let quantity = match value(fields.quantity).map(|value| value.get()) {
            None | Some("null") => Counted::Nothing,
            Some(number) => {
                Quantity::read(number.as_bytes()).map_or(Counted::Unknown, Counted::Known)
            }
        };
        Self { bytes: text.as_bytes().to_vec(), id, quantity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(events: &[&str]) -> Result<Body, Error> {
        let mut writer = ArrayWriter::new(2);
        writer.begin();
        for event in events {
            writer.begin_event().extend_from_slice(event.as_bytes());
            writer.end_event()?;
        }
        writer.finish()
    }

    const EVENTS: [&str; 3] =
        [r#"{"Id":"a,]","n":1.10}"#, r#"{"Id":2e1,"s":"\u00e9\"}"}"#, r#"{"o":[{}, 1 ]}"#];

    #[test]
    fn the_halves_are_the_whole_byte_for_byte() -> Result<(), CutError> {
        let whole = body(&EVENTS)?;
        let fields = Fields { id: Some("Id"), quantity: Some("n") };
        let halves = halves(&whole.bytes, whole.payload_bytes, fields, 2)?;
        let a = Some("a,]".to_owned());
        let expected = [
            Half {
                body: body(&EVENTS[..1])?,
                first_id: a.clone(),
                last_id: a,
                quantity: Quantity::read(b"1.1"),
            },
            Half {
                body: body(&EVENTS[1..])?,
                first_id: Some("2e1".to_owned()),
                last_id: None,
                quantity: Some(Quantity::ZERO),
            },
        ];
        assert_eq!(halves, expected);
        Ok(())
    }

    #[test]
    fn a_single_event_is_found_as_it_was_sent() -> Result<(), CutError> {
        let whole = body(&EVENTS)?;
        let event = event_at(&whole.bytes, whole.payload_bytes, Fields::default(), 1)?;
        assert_eq!(event.bytes, EVENTS[1].as_bytes());
        Ok(())
    }

    #[test]
    fn a_quantity_that_cannot_be_summed_is_not_left_out_of_the_sum() -> Result<(), CutError> {
        let whole = body(&[r#"{"n":1}"#, r#"{"n":"2"}"#, r#"{"n":null}"#, r#"{"n":0.5}"#])?;
        let fields = Fields { quantity: Some("n"), ..Fields::default() };
        let halves = halves(&whole.bytes, whole.payload_bytes, fields, 2)?;
        let sums: Vec<_> = halves.iter().map(|half| half.quantity).collect();
        assert_eq!(sums, [None, Quantity::read(b"0.5")]);
        Ok(())
    }

    #[test]
    fn a_damaged_body_is_no_body() -> Result<(), CutError> {
        let whole = body(&EVENTS)?;
        for (bytes, size) in [
            (&whole.bytes[..whole.bytes.len() / 2], whole.payload_bytes),
            (&whole.bytes[..], whole.payload_bytes - 1),
            (&whole.bytes[..], whole.payload_bytes + 1),
            (b"".as_slice(), 0),
        ] {
            let cut = halves(bytes, size, Fields::default(), 2);
            assert!(matches!(cut, Err(CutError::Damaged(_))), "{size}");
        }
        Ok(())
    }
}
