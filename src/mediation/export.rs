//! A whole meter, as `GET /meters/export/{meterId}` answers it and an import takes it.
//!
//! Neither the meter's id nor its global id nor its upload URL is in it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::{Flag, Id, Integer, Loose, Others, Text, list, object};
use crate::units::Period;

/// The type of the operator that takes events over the streaming API.
pub const STREAMING: &str = "ZUORA_BULK_API";

/// A meter.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meter {
    /// Its name.
    pub name: Text,
    /// What it is for.
    pub description: Text,
    /// CUSTOM, STANDARD, SUM and so on.
    #[serde(rename = "type")]
    pub kind: Text,
    /// Its source and schema.
    pub type_definition: Option<Loose<TypeDefinition>>,
    /// The version that is shown.
    pub latest_version: Text,
    /// All versions.
    #[serde(deserialize_with = "list")]
    pub versions: Vec<Loose<Version>>,
    /// The schemas of its sources.
    #[serde(deserialize_with = "list")]
    pub schemas: Vec<Loose<NamedSchema>>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// Where a meter's events come from.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TypeDefinition {
    /// `ZUORA_BULK_API` (streaming) or `LOCAL_FILE`.
    pub source_type: Text,
    /// The schema: its number, or its name in files for import.
    pub schema_id: Option<Loose<Id>>,
    /// How fields of the source become fields of the event.
    #[serde(deserialize_with = "list")]
    pub field_mappings: Vec<Loose<FieldMapping>>,
    /// More settings.
    pub configs: Option<Value>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// How one field of the source becomes one of the event.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldMapping {
    /// The field of the event.
    pub name: Text,
    /// The field of the source.
    pub field: Text,
    /// Whether it must be there.
    pub required: Flag,
    /// How its dates are written.
    pub date_format: Text,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// One version: a graph of operators.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    /// `0.0.1`, the only one today.
    pub version: Text,
    /// In words.
    pub version_detail: Text,
    /// A text or an object.
    pub metadata: Option<Value>,
    /// The operators.
    #[serde(deserialize_with = "list")]
    pub tasks: Vec<Loose<Task>>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// One operator.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// Its id: a `processorId`, an `operatorId`.
    pub id: Option<Loose<Id>>,
    /// Its name.
    pub name: Text,
    /// SOURCE, PROCESSOR or SINK.
    pub node_type: Text,
    /// `ZUORA_BULK_API`, `DEDUPLICATE`, `EVENT_STORE` and so on.
    pub operator_type: Text,
    /// What it does.
    pub metadata: Option<Loose<Map<String, Value>>>,
    /// The operators before it.
    #[serde(deserialize_with = "list")]
    pub predecessors: Vec<Loose<Predecessor>>,
    /// More settings.
    pub extra_config: Option<Value>,
    /// More settings.
    pub setting: Option<Value>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// An operator before another.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Predecessor {
    /// Its id.
    pub id: Option<Loose<Id>>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// A schema and the source that it is for.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamedSchema {
    /// Such as `source(97)`.
    pub name: Text,
    /// 1: simple, 2: advanced.
    #[serde(rename = "type")]
    pub kind: Integer,
    /// What events look like.
    pub schema: Option<Loose<EventSchema>>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// What events look like: like JSON Schema, and more in files for import.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSchema {
    /// What it is for.
    pub description: Text,
    /// `object`.
    #[serde(rename = "type")]
    pub kind: Text,
    /// Its name.
    pub title: Text,
    /// Fields that must be there.
    #[serde(deserialize_with = "list")]
    pub required: Vec<Loose<String>>,
    /// Fields that name the event, in the importable form.
    #[serde(deserialize_with = "list")]
    pub event_id_fields: Vec<Loose<String>>,
    /// Every field.
    #[serde(deserialize_with = "object")]
    pub properties: Map<String, Value>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// One field of an event.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Property {
    /// `string`, `number`, `datetime`.
    #[serde(rename = "type")]
    pub kind: Option<Value>,
    /// What it is for.
    pub description: Text,
    /// Its place among the fields, in the importable form.
    pub order: Integer,
    /// Whether it is the time of the event, in the importable form.
    pub event_time: Flag,
    /// How times are written, such as `yyyy-MM-dd'T'HH:mm:ss'Z'`, in the importable form.
    pub time_format: Text,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

impl Meter {
    /// The operators of the latest version, or of the last one that is listed.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        let versions = || self.versions.iter().filter_map(Loose::known);
        let is_latest = |version: &&Version| {
            version.version.is_some() && version.version == self.latest_version
        };
        let version = versions().find(is_latest).or_else(|| versions().next_back());
        version.into_iter().flat_map(|version| version.tasks.iter().filter_map(Loose::known))
    }

    /// The operator that takes events over the streaming API.
    pub fn streaming_source(&self) -> Option<&Task> {
        self.tasks().find(|task| task.is(STREAMING))
    }

    /// The schema that events of the streaming API are for: its number or its name.
    pub fn source_schema_id(&self) -> Option<String> {
        let source = self.streaming_source().and_then(|task| task.setting_of("schemaId"));
        let definition = self.type_definition.as_ref().and_then(Loose::known);
        let defined = || Some(definition?.schema_id.as_ref()?.to_string());
        match source {
            Some(Value::String(text)) => Some(text.clone()),
            Some(number @ Value::Number(_)) => Some(number.to_string()),
            _ => defined(),
        }
    }

    /// The schemas that can be read.
    pub fn event_schemas(&self) -> impl Iterator<Item = &EventSchema> {
        let named = self.schemas.iter().filter_map(Loose::known);
        named.filter_map(|named| named.schema.as_ref()?.known())
    }
}

impl Task {
    /// Whether it is an operator of this type.
    pub fn is(&self, kind: &str) -> bool {
        self.operator_type.as_ref().and_then(Loose::known).is_some_and(|known| known == kind)
    }

    /// What its metadata says under `key`.
    pub fn setting_of(&self, key: &str) -> Option<&Value> {
        self.metadata.as_ref()?.known()?.get(key)
    }
}

impl EventSchema {
    /// The fields that can be read.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Property)> {
        self.properties.iter().filter_map(|(name, property)| {
            Some((name.as_str(), Property::deserialize(property).ok()?))
        })
    }
}

/// A time as definitions write it: `1 day`, `12 hours`, `90m`; none: in another form.
pub fn duration(value: &Value) -> Option<Duration> {
    let text = value.as_str()?.trim();
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let seconds: u64 = match unit.trim().to_ascii_lowercase().trim_end_matches('s') {
        "" => return text.parse::<Period>().ok().map(Period::duration),
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::super::form::shown;
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_export_is_read() -> serde_json::Result<()> {
        let meter: Meter = serde_json::from_str(
            r#"{"name":"m","description":"d","type":"CUSTOM","typeDefinition":{
                "sourceType":"ZUORA_BULK_API","schemaId":"97","fieldMappings":[{"name":"a",
                "field":"b","required":true,"dateFormat":"yyyy"}],"configs":{}},
                "latestVersion":"0.0.1","versions":[{"version":"0.0.0","tasks":[{"id":9}]},
                {"version":"0.0.1","versionDetail":"v","metadata":"{}","tasks":[{"id":"1",
                "name":"in","nodeType":"SOURCE","operatorType":"ZUORA_BULK_API","metadata":{
                "schemaId":97},"predecessors":[],"extraConfig":{},"setting":{},"uniqueName":"a"},
                {"id":2,"operatorType":"DEDUPLICATE","predecessors":[{"id":"1"}]}]}],
                "schemas":[{"name":"source(97)","type":1,"schema":{"description":"x",
                "type":"object","title":"t","required":["CustomerId"],"properties":{
                "Quantity":{"type":"number","description":"q"}}}}]}"#,
        )?;
        let tasks: Vec<String> = meter.tasks().map(|task| shown(task.id.as_ref())).collect();
        assert_eq!(tasks, ["1", "2"]);
        let fields: Vec<&str> =
            meter.event_schemas().flat_map(EventSchema::fields).map(|(name, _)| name).collect();
        assert_eq!(fields, ["Quantity"]);
        Ok(())
    }

    #[test]
    fn the_importable_form_has_more_of_its_fields() -> serde_json::Result<()> {
        let schema: EventSchema = serde_json::from_str(
            r#"{"eventIdFields":["id"],"type":"object","required":["id","at"],"properties":{
                "at":{"type":"datetime","order":1,"eventTime":true,
                      "timeFormat":"yyyy-MM-dd'T'HH:mm:ss'Z'"},
                "id":{"type":"string","order":0,"eventTime":false}}}"#,
        )?;
        let times: Vec<String> = schema
            .fields()
            .filter(|(_, field)| field.event_time.as_ref().and_then(Loose::known) == Some(&true))
            .map(|(_, field)| shown(field.time_format.as_ref()))
            .collect();
        assert_eq!(times, ["yyyy-MM-dd'T'HH:mm:ss'Z'"]);
        assert_eq!(schema.event_id_fields.len(), 1);
        Ok(())
    }

    #[test]
    fn times_are_read_as_definitions_write_them() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(duration(&text.into()), seconds.map(Duration::from_secs), "{text}");
        };
        check("1 day", Some(86_400));
        check("2 weeks", Some(1_209_600));
        check("12 Hours", Some(43_200));
        check("90m", Some(5_400));
        check("soon", None);
        check("18446744073709551615 days", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn any_object_is_a_meter(
            document in any_object(&["name", "versions", "tasks", "schemas", "typeDefinition"]),
        ) {
            prop_assert!(serde_json::from_value::<Meter>(document.clone()).is_ok());
            prop_assert!(serde_json::from_value::<Version>(document).is_ok());
        }

        #[test]
        fn any_object_is_a_schema(
            document in any_object(&["required", "properties", "eventIdFields", "type"]),
        ) {
            let schema = serde_json::from_value::<EventSchema>(document);
            prop_assert!(schema.is_ok_and(|schema| schema.fields().count() <= schema.properties.len()));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body: Vec<u8>) {
            let _ = serde_json::from_slice::<Meter>(&body);
        }
    }
}
