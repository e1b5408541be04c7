//! Cuts a frozen body: which events are in it, and its halves.
//!
//! Only bodies that Mediation refused come here, so this is written to be plain, not fast.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::value::RawValue;

use super::{ArrayWriter, Body, Error};

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
}

/// The two halves of the array in `body`, each with the ids of its first and last event.
///
/// `payload_bytes` is the size of the array, `level` a gzip level.
pub fn halves(
    body: &[u8],
    payload_bytes: u64,
    id_field: Option<&str>,
    level: u32,
) -> Result<Vec<(Body, Event, Event)>, CutError> {
    let payload = payload(body, payload_bytes)?;
    let events = events(&payload)?;
    let (left, right) = events.split_at(events.len() / 2);
    let mut writer = ArrayWriter::new(level);
    let mut halves = Vec::new();
    for half in [left, right] {
        let (Some(first), Some(last)) = (half.first(), half.last()) else { continue };
        writer.begin();
        for event in half {
            writer.begin_event().extend_from_slice(event.get().as_bytes());
            writer.end_event()?;
        }
        halves.push((writer.finish()?, read(first, id_field), read(last, id_field)));
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
    id_field: Option<&str>,
    index: usize,
) -> Result<Event, CutError> {
    let payload = payload(body, payload_bytes)?;
    let events = events(&payload)?;
    let event = events.get(index).ok_or_else(|| CutError::Damaged("an event is missing".into()))?;
    Ok(read(event, id_field))
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

fn read(event: &RawValue, id_field: Option<&str>) -> Event {
    let text = event.get();
    let id = id_field.and_then(|field| {
        let members: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_str(text).ok()?;
        let value = members.get(field)?.get();
        // Strings without their quotes, numbers as they are.
        Some(serde_json::from_str(value).unwrap_or_else(|_| value.to_owned()))
    });
    Event { bytes: text.as_bytes().to_vec(), id }
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
        let halves = halves(&whole.bytes, whole.payload_bytes, Some("Id"), 2)?;
        let expected = [body(&EVENTS[..1])?, body(&EVENTS[1..])?];
        let bodies: Vec<Body> = halves.iter().map(|(body, _, _)| body.clone()).collect();
        assert_eq!(bodies, expected);
        let ids: Vec<_> =
            halves.iter().map(|(_, first, last)| (first.id.clone(), last.id.clone())).collect();
        let a = Some("a,]".to_owned());
        assert_eq!(ids, [(a.clone(), a), (Some("2e1".to_owned()), None)]);
        Ok(())
    }

    #[test]
    fn a_single_event_is_found_as_it_was_sent() -> Result<(), CutError> {
        let whole = body(&EVENTS)?;
        let event = event_at(&whole.bytes, whole.payload_bytes, None, 1)?;
        assert_eq!(event.bytes, EVENTS[1].as_bytes());
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
            let cut = halves(bytes, size, None, 2);
            assert!(matches!(cut, Err(CutError::Damaged(_))), "{size}");
        }
        Ok(())
    }
}
