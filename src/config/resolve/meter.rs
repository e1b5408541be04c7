//! Meters: where the events of each go, and what they must look like.

use std::sync::Arc;

use url::Url;

use super::super::problem::{Notes, quoted};
use super::super::raw;
use super::{Surroundings, endpoint, file};
use crate::mediation::percent;
use crate::meter::{DEFAULT_VERSION, DOCUMENTED_QUANTITY, Guards, Limits, Meter};
use crate::schema::edition::Current;
use crate::schema::{Field, FieldType, Schema, export};

/// An export holds one meter; this is far more than any.
const EXPORT_BYTES_MAX: u64 = 16 << 20;

/// Resolves one meter.
pub(super) fn resolve(
    typed: &raw::Meter,
    base_url: Option<&Url>,
    mediation: &raw::Mediation,
    limits: Limits,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Arc<Meter> {
    let key = typed.key.as_str();
    let upload_url = match (&typed.upload_url, &typed.global_id, base_url) {
        (Some(url), _, _) => {
            let url = endpoint::parse(&format!("{key}.upload_url"), url, notes);
            url.map(|url| url.as_str().to_owned())
        }
        (None, Some(id), Some(base)) => {
            let path = mediation.ingest_path.replace("{meter}", &percent::encoded(id));
            Some(endpoint::below(base, &path))
        }
        _ => None,
    };
    let (schema, quantity_field) = if let raw::Schema::Export { refresh } = typed.schema {
        check_meter_apis(key, typed, base_url, notes);
        // Whether the export lists it is known once there is one.
        let name = typed.quantity_field.as_deref().unwrap_or(DOCUMENTED_QUANTITY);
        (Current::of_export(refresh), Some(name).filter(|name| !name.is_empty()).map(Arc::from))
    } else {
        let schema = schema(key, &typed.schema, around, notes);
        if let Some(id) = &typed.event_id_field {
            check_event_id_field(key, id, &schema, notes);
        }
        check_event_time(key, &typed.guards, &schema, notes);
        let quantity = quantity_field(key, typed.quantity_field.as_deref(), &schema, notes);
        (schema.into(), quantity)
    };
    Arc::new(Meter {
        id: typed.id.clone(),
        version: typed.version.as_deref().unwrap_or(DEFAULT_VERSION).into(),
        schema,
        event_id_field: typed.event_id_field.as_deref().map(Arc::from),
        quantity_field,
        is_sole_sender: typed.is_sole_sender,
        output_operator: typed.output_operator.as_deref().map(Arc::from),
        unknown_fields: typed.unknown_fields,
        guards: typed.guards,
        limits,
        ..Meter::new(&typed.name, upload_url.unwrap_or_default())
    })
}

fn schema(key: &str, typed: &raw::Schema, around: &Surroundings<'_>, notes: &Notes) -> Schema {
    let (key, fields) = match typed {
        raw::Schema::Default | raw::Schema::Export { .. } => return Schema::documented(),
        raw::Schema::Fields(fields) => (format!("{key}.schema.fields"), listed(fields)),
        raw::Schema::File(name) => {
            let key = format!("{key}.schema.file");
            let path = around.locate(name);
            let text = file::text(&key, &path, EXPORT_BYTES_MAX, notes).unwrap_or_default();
            if notes.is_bad(&key) {
                return Schema::documented();
            }
            let exported = export::read(text.as_bytes(), |message| notes.warning(&key, message));
            return match exported {
                Ok(exported) => exported.schema,
                Err(error) => {
                    let expected = "the export of a meter in JSON, or its schema";
                    notes.problem(key, format!("{}: {error}", path.display()), expected);
                    Schema::documented()
                }
            };
        }
    };
    Schema::new(fields).unwrap_or_else(|error| {
        notes.problem(key, error.to_string(), "fields that have a name each, no name twice");
        Schema::documented()
    })
}

fn listed(fields: &[raw::Field]) -> Vec<Field> {
    let field = |field: &raw::Field| Field {
        name: field.name.as_str().into(),
        kind: field.kind,
        required: field.required,
        format: field.format.clone(),
    };
    fields.iter().map(field).collect()
}

/// An export is asked for by the meter's id at the REST host.
fn check_meter_apis(key: &str, typed: &raw::Meter, base_url: Option<&Url>, notes: &Notes) {
    if typed.id.is_none() && !notes.is_bad(&format!("{key}.id")) {
        let expected = "the meter's id in Mediation, such as 97: its schema is fetched by it";
        notes.problem(format!("{key}.id"), "nothing", expected);
    }
    if base_url.is_none() && !notes.is_bad("mediation.base_url") {
        let expected = "the URL of your data center: a schema is fetched from there";
        notes.problem("mediation.base_url", "nothing", expected);
    }
}

/// Event ids are texts: a field of another type can't carry them.
fn check_event_id_field(key: &str, name: &str, schema: &Schema, notes: &Notes) {
    let field = schema.fields().iter().find(|field| &*field.name == name);
    let kind = field.map_or(FieldType::String, |field| field.kind);
    if !matches!(kind, FieldType::String | FieldType::Any) {
        let found = format!("{}, a field of type {}", quoted(name), kind.name());
        notes.problem(format!("{key}.event_id_field"), found, "a field of type string");
    }
}

/// The field that is summed: of numbers, and of the schema.
fn quantity_field(
    key: &str,
    typed: Option<&str>,
    schema: &Schema,
    notes: &Notes,
) -> Option<Arc<str>> {
    let name = typed.unwrap_or(DOCUMENTED_QUANTITY);
    let field = schema.fields().iter().find(|field| &*field.name == name);
    let summed = field.filter(|field| {
        matches!(field.kind, FieldType::Number | FieldType::Integer | FieldType::Any)
    });
    if typed.is_some() && !name.is_empty() && summed.is_none() {
        let found = match field {
            None => format!("{}, which the schema does not list", quoted(name)),
            Some(field) => format!("{}, a field of type {}", quoted(name), field.kind.name()),
        };
        let expected = "a field of the schema of type number or integer, or \"\" for none";
        notes.problem(format!("{key}.quantity_field"), found, expected);
    }
    summed.map(|field| Arc::clone(&field.name))
}

/// Without a time in it, the age of an event cannot be limited.
fn check_event_time(key: &str, guards: &Guards, schema: &Schema, notes: &Notes) {
    let limits =
        [("event_age_max", guards.event_age_max), ("event_ahead_max", guards.event_ahead_max)];
    for (name, _) in limits.into_iter().filter(|(_, limit)| limit.is_some()) {
        if schema.event_time().is_none() {
            let found = "a limit for times, and a schema without a field of type datetime";
            notes.problem(
                format!("{key}.{name}"),
                found,
                "such a field, or the key to be left out",
            );
        }
    }
}
