//! The schema in an exported meter.
//!
//! An export has a list of schemas, of which the one is meant that the streaming source names. It is
//! like JSON Schema; the importable form adds `order`, `timeFormat`, `eventTime`, `eventIdFields` and
//! the type `datetime`. Types that are not known become [`FieldType::Any`]: an event must not fail
//! here over a word that the server understands.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Field, FieldType, Schema};
use crate::mediation::export::Meter;
use crate::time_format::TimeFormat;

/// Why a document has no schema that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("not JSON, line {} column {}", .0.line(), .0.column())]
    Syntax(serde_json::Error),
    /// There is nothing like a schema in it.
    #[error("neither schemas[].schema nor an object with properties in it")]
    NoProperties,
    /// Its fields are no schema.
    #[error(transparent)]
    Fields(#[from] super::Error),
}

/// The schema of an exported meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What events look like, the fields in the meter's order if it gives one.
    pub schema: Schema,
    /// The fields that name an event, where the meter says so.
    pub event_id_fields: Vec<String>,
    /// The object that it was read from, as JSON: reading that gives the same.
    pub document: String,
}

/// Reads an exported meter, or the schema in one. What is odd is told to `warn`.
pub fn read(text: &[u8], mut warn: impl FnMut(String)) -> Result<Exported, Error> {
    let document: Value = serde_json::from_slice(text).map_err(Error::Syntax)?;
    let found = find(&document, &mut warn).ok_or(Error::NoProperties)?;
    let texts = |key: &str| -> Vec<&str> {
        let listed = found.get(key).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let mut required: BTreeSet<&str> = texts("required").into_iter().collect();
    let mut fields: Vec<(u64, Field)> = Vec::new();
    let mut event_time = None;
    for (name, property) in properties(found).into_iter().flatten() {
        let order = property.get("order").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if property.get("eventTime").and_then(Value::as_bool) == Some(true) {
            event_time = event_time.or(Some(name.as_str()));
        }
        let required = required.remove(name.as_str());
        fields.push((order, field(name, property, required, &mut warn)));
    }
    for name in required {
        warn(format!("field {name:?} is required and has no type: any value is accepted"));
        let field = Field { name: name.into(), kind: FieldType::Any, required: true, format: None };
        fields.push((u64::MAX, field));
    }
    // Stable: without an order they stay sorted by name.
    fields.sort_by_key(|(order, _)| *order);
    let schema = Schema::new(fields.into_iter().map(|(_, field)| field).collect())?;
    Ok(Exported {
        schema: event_time.map_or(schema.clone(), |name| schema.with_event_time(name)),
        event_id_fields: texts("eventIdFields").into_iter().map(str::to_owned).collect(),
        document: Value::Object(found.clone()).to_string(),
    })
}

fn field(name: &str, property: &Value, required: bool, warn: &mut impl FnMut(String)) -> Field {
    let kind = kind(property).unwrap_or_else(|unknown| {
        warn(format!("field {name:?} has the unknown type {unknown}: any value is accepted"));
        FieldType::Any
    });
    let pattern = property.get("timeFormat").and_then(Value::as_str).filter(|it| !it.is_empty());
    let format = pattern.filter(|_| kind == FieldType::DateTime).and_then(|pattern| {
        let compiled = pattern.parse::<TimeFormat>();
        if let Err(expected) = &compiled {
            warn(format!(
                "field {name:?} has the timeFormat {pattern:?}, expected {expected}: its times go \
                 out as they come"
            ));
        }
        compiled.ok()
    });
    Field { name: name.into(), kind, required, format }
}

/// The object with properties: this, in the list of schemas, or one level further in.
fn find<'a>(document: &'a Value, warn: &mut impl FnMut(String)) -> Option<&'a Map<String, Value>> {
    let object = document.as_object()?;
    if properties(object).is_some() {
        return Some(object);
    }
    if let Some(schemas) = object.get("schemas").and_then(Value::as_array) {
        return find(of_source(document, schemas, warn)?, warn);
    }
    ["schema", "data"].into_iter().find_map(|key| find(object.get(key)?, warn))
}

/// The schema that the streaming source names, as `source(97)` or as it is called; else the first.
fn of_source<'a>(
    document: &Value,
    schemas: &'a [Value],
    warn: &mut impl FnMut(String),
) -> Option<&'a Value> {
    let wanted = Meter::deserialize(document).ok().and_then(|meter| meter.source_schema_id());
    let is_wanted = |schema: &&Value| {
        let name = schema.get("name").and_then(Value::as_str);
        let wanted = wanted.as_deref();
        name.zip(wanted).is_some_and(|(name, id)| name == id || name == format!("source({id})"))
    };
    let found = schemas.iter().find(is_wanted);
    if found.is_none() && schemas.len() > 1 {
        warn(format!("{} schemas are in it: the first is used", schemas.len()));
    }
    found.or(schemas.first())
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
        let found = read(text.as_bytes(), |warning| warned.push(warning));
        let found = found.map_or(Schema::open(), |found| found.schema);
        let found = found.fields().iter();
        let found: Vec<_> = found.map(|field| (&*field.name, field.kind, field.required)).collect();
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
            let found = read(text.as_bytes(), |_| ());
            assert!(matches!(found, Err(Error::NoProperties)), "{text}");
        }
        assert!(matches!(read(b"{", |_| ()), Err(Error::Syntax(_))));
    }

    #[test]
    fn the_importable_form_says_how_times_are_written_and_what_names_the_event() -> Result<(), Error>
    {
        let text = br#"{"eventIdFields":["Id"],"properties":{
            "At":{"type":"datetime","order":0,"timeFormat":"yyyy-MM-dd"},
            "Used":{"type":"datetime","order":1,"eventTime":true,
                    "timeFormat":"yyyy-MM-dd'T'HH:mm:ss'Z'"},
            "Odd":{"type":"datetime","timeFormat":"EEE"},"Not":{"type":"number","timeFormat":"x"},
            "Id":{"type":"string","eventTime":false}}}"#;
        let mut warned = Vec::new();
        let exported = read(text, |warning| warned.push(warning))?;
        let formats: Vec<String> =
            exported.schema.fields().iter().map(super::super::difference::described).collect();
        insta::assert_snapshot!(formats.join("\n"), @r"
        optional datetime as yyyy-MM-dd
        optional datetime as yyyy-MM-dd'T'HH:mm:ss'Z'
        optional string
        optional number
        optional datetime
        ");
        assert_eq!((exported.schema.event_time(), warned.len()), (Some(1), 1), "{warned:?}");
        assert_eq!(exported.event_id_fields, ["Id"]);
        assert_eq!(read(exported.document.as_bytes(), |_| ())?, exported);
        Ok(())
    }

    #[test]
    fn of_several_schemas_that_of_the_streaming_source_is_meant() {
        let text = |id: &str| {
            format!(
                r#"{{"latestVersion":"1","versions":[{{"version":"1","tasks":[
                {{"operatorType":"EVENT_STORE","metadata":{{"schemaId":1}}}},
                {{"operatorType":"ZUORA_BULK_API","metadata":{{"schemaId":{id}}}}}]}}],
                "schemas":[{{"name":"source(1)","schema":{{"properties":{{"a":{{"type":"string"}}}}}}}},
                {{"name":"source(2)","schema":{{"properties":{{"b":{{"type":"string"}}}}}}}},
                {{"name":"usage","schema":{{"properties":{{"c":{{"type":"string"}}}}}}}}]}}"#
            )
        };
        for (id, name, warnings) in
            [("2", "b", 0), ("\"2\"", "b", 0), ("\"usage\"", "c", 0), ("9", "a", 1)]
        {
            check(&text(id), &[(name, FieldType::String, false)], warnings);
        }
    }
}
