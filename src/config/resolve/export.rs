//! The schema in an exported meter.
//!
//! An export has it at `schemas[0].schema`; the importable form adds `order`, `timeFormat` and
//! the type `datetime` to plain JSON Schema. Types that are not known become
//! [`FieldType::Any`]: an event must not fail here over a word that the server understands.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::schema::{Field, FieldType};

/// Why a file is no schema.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not JSON, line {} column {}", .0.line(), .0.column())]
    Syntax(serde_json::Error),
    #[error("neither schemas[0].schema nor an object with properties in it")]
    NoProperties,
}

/// The fields that `text` lists, in the meter's order if it gives one. What is odd is told to
/// `warn`.
pub(super) fn fields(text: &str, mut warn: impl FnMut(String)) -> Result<Vec<Field>, Error> {
    let document: Value = serde_json::from_str(text).map_err(Error::Syntax)?;
    let schema = find(&document, &mut warn).ok_or(Error::NoProperties)?;
    let mut required: BTreeSet<&str> = BTreeSet::new();
    let listed = schema.get("required").and_then(Value::as_array);
    required.extend(listed.into_iter().flatten().filter_map(Value::as_str));
    let mut fields: Vec<(u64, Field)> = Vec::new();
    for (name, property) in properties(schema).into_iter().flatten() {
        let order = property.get("order").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let kind = kind(property).unwrap_or_else(|unknown| {
            warn(format!("field {name:?} has the unknown type {unknown}: any value is accepted"));
            FieldType::Any
        });
        let required = required.remove(name.as_str());
        fields.push((order, Field { name: name.as_str().into(), kind, required, format: None }));
    }
    for name in required {
        warn(format!("field {name:?} is required and has no type: any value is accepted"));
        let field = Field { name: name.into(), kind: FieldType::Any, required: true, format: None };
        fields.push((u64::MAX, field));
    }
    // Stable: without an order they stay sorted by name.
    fields.sort_by_key(|(order, _)| *order);
    Ok(fields.into_iter().map(|(_, field)| field).collect())
}

/// The object with properties: this, in the list of schemas, or one level further in.
fn find<'a>(document: &'a Value, warn: &mut impl FnMut(String)) -> Option<&'a Map<String, Value>> {
    let object = document.as_object()?;
    if properties(object).is_some() {
        return Some(object);
    }
    if let Some(schemas) = object.get("schemas").and_then(Value::as_array) {
        if schemas.len() > 1 {
            warn(format!("{} schemas are in it: the first is used", schemas.len()));
        }
        return find(schemas.first()?, warn);
    }
    ["schema", "data"].into_iter().find_map(|key| find(object.get(key)?, warn))
}

fn properties(schema: &Map<String, Value>) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// The type of a property, or the name that is not known.
fn kind(property: &Value) -> Result<FieldType, String> {
    let named = match property.get("type") {
        // JSON Schema's way to say that null is welcome, too.
        Some(Value::Array(types)) => {
            let mut names = types.iter().filter(|name| name.as_str() != Some("null"));
            names.next().filter(|_| names.next().is_none()).and_then(Value::as_str)
        }
        named => named.and_then(Value::as_str),
    };
    let format = property.get("format").and_then(Value::as_str);
    let is_time = property.get("timeFormat").is_some_and(|format| !format.is_null())
        || matches!(format, Some("date" | "date-time"));
    match named {
        Some("string") if is_time => Ok(FieldType::DateTime),
        Some("string") => Ok(FieldType::String),
        Some("number") => Ok(FieldType::Number),
        Some("integer") => Ok(FieldType::Integer),
        Some("boolean") => Ok(FieldType::Boolean),
        Some("datetime") => Ok(FieldType::DateTime),
        Some(other) => Err(format!("{other:?}")),
        None => Err(property.get("type").map_or_else(|| "none".to_owned(), Value::to_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, FieldType, bool)], warnings: usize) {
        let mut warned = Vec::new();
        let found = fields(text, |warning| warned.push(warning)).unwrap_or_default();
        let found: Vec<_> =
            found.iter().map(|field| (&*field.name, field.kind, field.required)).collect();
        assert_eq!(found, expected);
        assert_eq!(warned.len(), warnings, "{warned:?}");
    }

    #[test]
    fn an_export_has_its_fields_in_the_first_schema() {
        let text = r#"{"name":"m","schemas":[{"name":"source(97)","type":1,"schema":{
            "type":"object","required":["Quantity"],"properties":{
                "Quantity":{"type":"number"},"At":{"type":"string","format":"date-time"},
                "Live":{"type":["boolean","null"]}}}}]}"#;
        let expected = [
            ("At", FieldType::DateTime, false),
            ("Live", FieldType::Boolean, false),
            ("Quantity", FieldType::Number, true),
        ];
        check(text, &expected, 0);
    }

    #[test]
    fn the_importable_form_has_an_order_and_datetimes() {
        let text = r#"{"type":"object","required":["CustomerId","UsageDate"],
            "eventIdFields":["Id"],"properties":{
                "CustomerId":{"type":"string","order":2},
                "UsageDate":{"type":"datetime","order":1,"eventTime":true,
                             "timeFormat":"yyyy-MM-dd'T'HH:mm:ss'Z'"},
                "Id":{"type":"integer","order":0}}}"#;
        let expected = [
            ("Id", FieldType::Integer, false),
            ("UsageDate", FieldType::DateTime, true),
            ("CustomerId", FieldType::String, true),
        ];
        check(text, &expected, 0);
    }

    #[test]
    fn an_unknown_type_accepts_anything_with_a_warning() {
        let text = r#"{"properties":{"a":{"type":"geography"},"b":{}},"required":["c"]}"#;
        let expected = [
            ("a", FieldType::Any, false),
            ("b", FieldType::Any, false),
            ("c", FieldType::Any, true),
        ];
        check(text, &expected, 3);
    }

    #[test]
    fn what_has_no_properties_is_refused() {
        for text in ["[]", "{}", r#"{"schemas":[]}"#, r#"{"properties":[]}"#] {
            assert!(matches!(fields(text, |_| ()), Err(Error::NoProperties)), "{text}");
        }
        assert!(matches!(fields("{", |_| ()), Err(Error::Syntax(_))));
    }
}
