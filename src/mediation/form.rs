//! What answers are built of: fields that may come in another way than the reference says.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The fields of an answer that no reference names.
pub type Others = Map<String, Value>;

/// A field as documented, or whatever came in its place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Loose<T> {
    /// As documented.
    Known(T),
    /// Anything else.
    Other(Value),
}

/// A field that is documented as a text.
pub type Text = Option<Loose<String>>;

/// A field that is documented as a whole number.
pub type Integer = Option<Loose<i64>>;

/// A field that is documented as true or false.
pub type Flag = Option<Loose<bool>>;

impl<T> Loose<T> {
    /// The value, when it came as documented.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

impl Loose<i64> {
    /// The number, which may have come as a text.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Known(number) => Some(*number),
            Self::Other(other) => other.as_str().and_then(|text| text.trim().parse().ok()),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Loose<T> {
    /// Texts without quotes, all else as JSON writes it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(out),
            Self::Other(Value::String(text)) => out.write_str(text),
            Self::Other(other) => write!(out, "{other}"),
        }
    }
}

/// An id: a number in one reference, a text in another. It goes out as it came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// `97`
    Number(u64),
    /// `"97"`, `"8a8aa4c2"`
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Text(text) => out.write_str(text),
        }
    }
}

impl FromStr for Id {
    type Err = Infallible;

    /// Digits are a number, as the newest reference has ids of meters and files.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        Ok(number.map_or_else(|| Self::Text(text.to_owned()), Self::Number))
    }
}

/// The envelope around the data of most answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<T> {
    /// Whether the request succeeded.
    pub success: Flag,
    /// What was asked for.
    pub data: Option<Loose<T>>,
    /// The page before; the examples have the text `"null"` for none.
    #[serde(default, deserialize_with = "page")]
    pub previous_page: Option<String>,
    /// The page after.
    #[serde(default, deserialize_with = "page")]
    pub next_page: Option<String>,
    /// Why it did not succeed.
    pub error: Option<Value>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

impl<T> Envelope<T> {
    /// The data, when it came in its form.
    pub fn known(&self) -> Option<&T> {
        self.data.as_ref().and_then(Loose::known)
    }
}

/// A list whose parts are each as documented or not. What is no list is one part; null is none.
pub(super) fn list<'de, T, D>(parser: D) -> Result<Vec<Loose<T>>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let parts = match Value::deserialize(parser)? {
        Value::Null => Vec::new(),
        Value::Array(parts) => parts,
        other => vec![other],
    };
    let part = |value: Value| T::deserialize(&value).map_or(Loose::Other(value), Loose::Known);
    Ok(parts.into_iter().map(part).collect())
}

/// An object; what is none has no fields.
pub(super) fn object<'de, D: Deserializer<'de>>(parser: D) -> Result<Others, D::Error> {
    Ok(match Value::deserialize(parser)? {
        Value::Object(object) => object,
        _ => Others::new(),
    })
}

/// A page: null, `"null"` and an empty text are none.
pub(super) fn page<'de, D: Deserializer<'de>>(parser: D) -> Result<Option<String>, D::Error> {
    let text = match Option::<Value>::deserialize(parser)? {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    Ok(Some(text).filter(|text| !text.is_empty() && text != "null"))
}

/// A field for people: `-` when it is not there.
pub fn shown<T: fmt::Display>(field: Option<&T>) -> String {
    field.map_or_else(|| "-".to_owned(), ToString::to_string)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any JSON document, as deep as answers are.
    pub(in super::super) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-zA-Z0-9 +:.-]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// An object in which some of `names` have values of any kind.
    pub(in super::super) fn any_object(
        names: &'static [&'static str],
    ) -> impl Strategy<Value = Value> {
        let name = prop_oneof![prop::sample::select(names).prop_map(str::to_owned), "[a-z]{1,4}"];
        prop::collection::btree_map(name, any_value(), 0..8)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    #[test]
    fn pages_that_are_none_are_told_apart_from_cursors() {
        let check = |text: &str, expected: Option<&str>| {
            let envelope = serde_json::from_str::<Envelope<Value>>(text).ok();
            let page = envelope.and_then(|envelope| envelope.next_page);
            assert_eq!(page.as_deref(), expected, "{text}");
        };
        check(r#"{"nextPage":"null"}"#, None);
        check(r#"{"nextPage":null}"#, None);
        check(r#"{"nextPage":""}"#, None);
        check(r#"{"success":true}"#, None);
        check(r#"{"nextPage":"abc"}"#, Some("abc"));
        check(r#"{"nextPage":7}"#, Some("7"));
    }

    #[test]
    fn ids_go_out_as_they_came() {
        for json in ["97", r#""97""#, r#""8a-b""#] {
            let id: Option<Id> = serde_json::from_str(json).ok();
            assert_eq!(id.and_then(|id| serde_json::to_string(&id).ok()).as_deref(), Some(json));
        }
        let typed = |text: &str| text.parse::<Id>();
        assert_eq!(typed("97"), Ok(Id::Number(97)));
        assert_eq!(typed("097"), Ok(Id::Text("097".to_owned())));
        assert_eq!(typed("R-1"), Ok(Id::Text("R-1".to_owned())));
    }

    #[test]
    fn what_is_not_as_documented_is_kept() {
        let json = r#"{"success":"yes","data":[1],"more":{"a":1}}"#;
        let envelope = serde_json::from_str::<Envelope<String>>(json).ok();
        let found = envelope.map(|all| (shown(all.success.as_ref()), all.data, all.others.len()));
        let data = Some(Loose::Other(Value::from(vec![1])));
        assert_eq!(found, Some(("yes".to_owned(), data, 1)));
    }
}
