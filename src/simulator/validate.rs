//! Reads a body as strictly as a careful receiver would, with `serde_json` alone: what the agent
//! sends is judged here by code that shares nothing with the agent's own.
//!
//! Stricter than RFC 8259 in one thing: a key that comes twice in one object is refused. No
//! message holds a value of the payload, except where the parser itself quotes one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{Deserialize, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// Mediation's code for an event that has not the fields of its meter.
pub(super) const SCHEMA_CODE: &str = "70000000";

/// Mediation's code for data that cannot be read.
pub(super) const DATA_CODE: &str = "70001201";

/// What is looked for in every event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checks<'a> {
    /// The field that names the event.
    pub(super) event_id_field: Option<&'a str>,
    /// Whether the documented fields must be there.
    pub(super) schema_check: bool,
}

/// What a body holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// How many events.
    pub(super) events: u64,
    /// Their ids, in order, of those that have one.
    pub(super) ids: Vec<String>,
}

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// Mediation's code for it.
    pub(super) code: &'static str,
    /// In words.
    pub(super) message: String,
}

/// Reads `payload`: one event, or an array of events.
pub(super) fn read(payload: &[u8], checks: Checks<'_>) -> Result<Content, Refusal> {
    let refused = |message: String| Refusal { code: DATA_CODE, message };
    let text =
        std::str::from_utf8(payload).map_err(|error| refused(format!("not UTF-8: {error}")))?;
    let mut reading = Reading { checks, content: Content::default(), violation: None };
    let mut parser = serde_json::Deserializer::from_str(text);
    parser
        .deserialize_any(&mut reading)
        .and_then(|()| parser.end())
        .map_err(|error| refused(format!("not an event or an array of events: {error}")))?;
    match reading.violation {
        Some(message) => Err(Refusal { code: SCHEMA_CODE, message }),
        None => Ok(reading.content),
    }
}

/// A body under way.
struct Reading<'a> {
    checks: Checks<'a>,
    content: Content,
    violation: Option<String>,
}

impl Reading<'_> {
    fn violated(&mut self, what: fmt::Arguments<'_>) {
        let index = self.content.events;
        self.violation.get_or_insert_with(|| format!("event {index}: {what}"));
    }

    /// Reads one event, whose `{` the parser has taken.
    fn event<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut keys: Vec<Cow<'de, str>> = Vec::with_capacity(8);
        let mut seen = [false; DOCUMENTED.len()];
        let mut id = None;
        while let Some(Text(key)) = map.next_key()? {
            let value: Found<'de> = map.next_value()?;
            let documented = DOCUMENTED.iter().position(|(name, _)| *name == key);
            if let Some(index) = documented
                && !matches!(value, Found::Null)
            {
                seen[index] = true;
                let (name, expected) = DOCUMENTED[index];
                if self.checks.schema_check && !expected.fits(&value) {
                    self.violated(format_args!("{name} is no {}", expected.words()));
                }
            }
            if self.checks.event_id_field == Some(&key) {
                id = value.into_id();
            }
            keys.push(key);
        }
        refuse_repeated(&mut keys)?;
        if self.checks.schema_check
            && let Some(missing) = seen.iter().position(|is_there| !is_there)
        {
            self.violated(format_args!("{} is missing", DOCUMENTED[missing].0));
        }
        self.content.ids.extend(id);
        self.content.events += 1;
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object, or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.event(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Element(&mut *self))?.is_some() {}
        Ok(())
    }
}

/// One element of the array.
struct Element<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.event(map)
    }
}

/// The type of a documented field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Text,
    Date,
    Number,
}

/// The fields of Mediation's `StreamingEvent`, all required.
const DOCUMENTED: [(&str, Expected); 4] = [
    ("CustomerId", Expected::Text),
    ("UsageIdentifier", Expected::Text),
    ("UsageDate", Expected::Date),
    ("Quantity", Expected::Number),
];

impl Expected {
    fn fits(self, value: &Found<'_>) -> bool {
        match (self, value) {
            (Self::Text, Found::Text(_)) | (Self::Number, Found::Number(_)) => true,
            // The format of the time of day is the meter's business.
            (Self::Date, Found::Text(text)) => {
                text.get(..10).is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok())
            }
            _ => false,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Date => "string that begins with a date",
            Self::Number => "number",
        }
    }
}

/// Whether a key came twice: sorts, because an object may have very many.
fn refuse_repeated<E: serde::de::Error>(keys: &mut [Cow<'_, str>]) -> Result<(), E> {
    keys.sort_unstable();
    let repeated = keys.windows(2).any(|pair| pair.first() == pair.last());
    if repeated { Err(E::custom("a key comes twice in one object")) } else { Ok(()) }
}

/// A JSON string, borrowed where it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        match parser.deserialize_str(FoundVisitor)? {
            Found::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a key is no string")),
        }
    }
}

/// A value, as far as the checks want to know it.
enum Found<'de> {
    Null,
    Text(Cow<'de, str>),
    Number(Number),
    Other,
}

impl Found<'_> {
    /// The value as an event id: a string, or a number as it is printed.
    fn into_id(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.into_owned()),
            Self::Number(number) => Some(number.to_string()),
            Self::Null | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Found<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        parser.deserialize_any(FoundVisitor)
    }
}

struct FoundVisitor;

impl<'de> Visitor<'de> for FoundVisitor {
    type Value = Found<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Found<'de>, E> {
        Ok(Found::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found<'de>, E> {
        Ok(Found::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Found<'de>, E> {
        Ok(Number::from_f64(value).map_or(Found::Other, Found::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found<'de>, A::Error> {
        while seq.next_element::<Found<'de>>()?.is_some() {}
        Ok(Found::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut keys = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            map.next_value::<Found<'de>>()?;
            keys.push(key);
        }
        refuse_repeated(&mut keys)?;
        Ok(Found::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"CustomerId":"c","UsageIdentifier":"u","UsageDate":"2026-11-21T06:00:00+0000","Quantity":1.5,"EventId":"e-1"}"#;

    fn read_text(text: &str, schema_check: bool) -> Result<Content, Refusal> {
        read(text.as_bytes(), Checks { event_id_field: Some("EventId"), schema_check })
    }

    fn check_refused(text: &str, code: &str, words: &str) {
        let refusal = read_text(text, true).err();
        let found = refusal.as_ref().map(|refusal| refusal.code);
        assert_eq!(found, Some(code), "{text}");
        assert!(refusal.is_some_and(|refusal| refusal.message.contains(words)), "{text}");
    }

    #[test]
    fn an_event_and_an_array_of_events_are_read() {
        let one = Content { events: 1, ids: vec!["e-1".to_owned()] };
        assert_eq!(read_text(EVENT, true), Ok(one));
        let array = read_text(&format!(" [{EVENT},\n{EVENT}]"), true);
        assert!(array.is_ok_and(|content| content.events == 2 && content.ids.len() == 2));
    }

    #[test]
    fn ids_may_be_numbers_and_may_be_missing() {
        let ids = |text| read_text(text, false).map(|content| (content.events, content.ids));
        let found = ids(r#"[{"EventId":7},{"EventId":null},{},{"EventId":"\u0041"}]"#);
        assert_eq!(found, Ok((4, vec!["7".to_owned(), "A".to_owned()])));
    }

    #[test]
    fn documented_fields_must_be_there_and_right() {
        check_refused(&format!("[{EVENT},{{}}]"), SCHEMA_CODE, "event 1: CustomerId is missing");
        let changed = |from: &str, to: &str| EVENT.replace(from, to);
        check_refused(&changed("1.5", r#""1.5""#), SCHEMA_CODE, "Quantity is no number");
        check_refused(&changed("1.5", "null"), SCHEMA_CODE, "Quantity is missing");
        check_refused(&changed(r#""c""#, "17"), SCHEMA_CODE, "CustomerId is no string");
        check_refused(&changed("2026-11-21", "2026-13-21"), SCHEMA_CODE, "UsageDate is no");
        check_refused(&changed("2026-11-21T06:00:00+0000", "é"), SCHEMA_CODE, "UsageDate is no");
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        for text in [
            "",
            "17",
            "[17]",
            "[[]]",
            "[null]",
            "[{},]",
            "[{}] {}",
            "{}\n{}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":01}"#,
            r#"{"a":1e999}"#,
            r#"{"a":NaN}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":"\ud800"}"#,
            r"{'a':1}",
        ] {
            check_refused(text, DATA_CODE, "not an event or an array of events");
        }
        let invalid =
            read(b"{\"a\":\"\xff\"}", Checks { event_id_field: None, schema_check: false });
        assert!(invalid.is_err_and(|refusal| refusal.message.starts_with("not UTF-8")));
    }
}
