//! `[meters.NAME]` as it may be typed.

use std::path::PathBuf;
use std::time::Duration;

use super::super::reader::Reader;
use super::{DAY, HOUR, MILLISECOND, SECOND};
use crate::mediation::form::Id;
use crate::meter::{Digits, FourByteCharacters, Guards, UnknownFields};
use crate::schema::FieldType;
use crate::time_format::TimeFormat;

/// Digits on one side of the decimal point that may be asked for.
const DIGITS_MAX: u64 = 40;

/// `[meters.NAME]`.
#[derive(Debug)]
pub(in super::super) struct Meter {
    pub(in super::super) name: String,
    /// The whole key of the section.
    pub(in super::super) key: String,
    pub(in super::super) global_id: Option<String>,
    pub(in super::super) id: Option<Id>,
    pub(in super::super) version: Option<String>,
    pub(in super::super) upload_url: Option<String>,
    pub(in super::super) event_id_field: Option<String>,
    /// Empty: none.
    pub(in super::super) quantity_field: Option<String>,
    pub(in super::super) is_sole_sender: bool,
    pub(in super::super) output_operator: Option<String>,
    pub(in super::super) unknown_fields: UnknownFields,
    pub(in super::super) guards: Guards,
    pub(in super::super) schema: Schema,
}

/// `[meters.NAME.schema]`.
#[derive(Debug)]
pub(in super::super) enum Schema {
    /// Not there, or wrong in itself.
    Default,
    /// The exported meter in this file.
    File(PathBuf),
    /// As listed.
    Fields(Vec<Field>),
    /// Of the meter's export, which is asked for again after this time.
    Export { refresh: Duration },
}

/// One of `[[meters.NAME.schema.fields]]`.
#[derive(Debug)]
pub(in super::super) struct Field {
    pub(in super::super) name: String,
    pub(in super::super) kind: FieldType,
    pub(in super::super) required: bool,
    pub(in super::super) format: Option<TimeFormat>,
}

impl Meter {
    pub(super) fn read(name: String, reader: Reader<'_>) -> Self {
        if reader.is_set("global_id") && reader.is_set("upload_url") {
            reader.notes().problem(
                reader.key("upload_url"),
                "both upload_url and global_id",
                "one of the two",
            );
        } else if !reader.is_set("global_id") && !reader.is_set("upload_url") {
            reader.missing("global_id", "the meter's global id, or its upload_url instead");
        }
        let unknown_fields = [
            ("keep", UnknownFields::Keep),
            ("drop", UnknownFields::Drop),
            ("reject", UnknownFields::Reject),
        ];
        let meter = Self {
            name,
            key: reader.path().to_owned(),
            global_id: reader.text_that("global_id", global_id),
            id: reader.id("id"),
            version: reader.text_that("version", version),
            upload_url: reader.text("upload_url"),
            event_id_field: reader.text_that("event_id_field", field_name),
            quantity_field: reader
                .text_that("quantity_field", field_name)
                .or_else(|| reader.is_empty_text("quantity_field").then(String::new)),
            is_sole_sender: reader.boolean("sole_sender").unwrap_or(false),
            output_operator: reader.text("output_operator"),
            unknown_fields: reader.choice("unknown_fields", &unknown_fields).unwrap_or_default(),
            guards: guards(&reader),
            schema: Schema::read(reader.section("schema")),
        };
        reader.finish();
        meter
    }
}

fn guards(reader: &Reader<'_>) -> Guards {
    let four_byte_characters =
        [("keep", FourByteCharacters::Keep), ("reject", FourByteCharacters::Reject)];
    let period = |key| reader.duration(key, SECOND..=DAY * 36_500);
    let digits = |key, default| {
        let digits = reader.integer(key, 0..=DIGITS_MAX);
        digits.and_then(|digits| u32::try_from(digits).ok()).unwrap_or(default)
    };
    let Digits { integer_max, fraction_max } = Digits::default();
    Guards {
        event_age_max: period("event_age_max"),
        event_ahead_max: period("event_ahead_max"),
        digits: Digits {
            integer_max: digits("integer_digits_max", integer_max),
            fraction_max: digits("fraction_digits_max", fraction_max),
        },
        four_byte_characters: reader
            .choice("four_byte_characters", &four_byte_characters)
            .unwrap_or_default(),
    }
}

impl Schema {
    fn read(reader: Reader<'_>) -> Self {
        if !reader.is_there() {
            return Self::Default;
        }
        let is_export = reader.choice("from", &[("export", true), ("", false)]) == Some(true);
        let refresh = reader.duration("refresh", MILLISECOND * 100..=DAY * 7);
        let file = reader.file("file");
        let listed = reader.listed("fields");
        let ways = [("from", is_export), ("file", file.is_some()), ("fields", listed.is_some())];
        let ways: Vec<&str> =
            ways.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name).collect();
        if ways.len() > 1 {
            reader.notes().problem(reader.path(), ways.join(" and "), "one of them");
        } else if ways.is_empty() && !reader.notes().is_bad(&reader.key("from")) {
            let expected = "from, file or fields; without the section the documented four fields";
            reader.notes().problem(reader.path(), "none of its ways", expected);
        }
        let fields = listed.map(|fields| fields.into_iter().filter_map(Field::read).collect());
        let schema = match (is_export, file, fields) {
            (true, None, None) => Self::Export { refresh: refresh.unwrap_or(HOUR) },
            (false, Some(file), None) => Self::File(file),
            (false, None, Some(fields)) => Self::Fields(fields),
            _ => Self::Default,
        };
        reader.finish();
        schema
    }
}

impl Field {
    fn read(reader: Reader<'_>) -> Option<Self> {
        let types = [
            FieldType::String,
            FieldType::Number,
            FieldType::Integer,
            FieldType::Boolean,
            FieldType::DateTime,
            FieldType::Any,
        ]
        .map(|kind| (kind.name(), kind));
        for (key, expected) in [
            ("name", "the key of the field in the event"),
            ("type", "one of string, number, integer, boolean, datetime, any"),
        ] {
            if !reader.is_set(key) {
                reader.missing(key, expected);
            }
        }
        let name = reader.text_that("name", field_name);
        let kind = reader.choice("type", &types);
        let required = reader.boolean("required").unwrap_or(false);
        let format = Self::format(&reader, kind);
        reader.finish();
        Some(Self { name: name?, kind: kind?, required, format })
    }

    fn format(reader: &Reader<'_>, kind: Option<FieldType>) -> Option<TimeFormat> {
        let compile = |text: &str| text.parse::<TimeFormat>().map_err(|error| error.to_string());
        let text = reader.text_that("format", |text| compile(text).map(|_| ()))?;
        if let Some(kind) = kind.filter(|kind| *kind != FieldType::DateTime) {
            reader.notes().problem(
                reader.key("format"),
                format!("a format of a field of type {}", kind.name()),
                "the key to be left out: formats are for fields of type datetime",
            );
        }
        compile(&text).ok()
    }
}

fn global_id(text: &str) -> Result<(), String> {
    // Dots alone would be taken for a step in the path.
    let plain = text.chars().all(|c| c.is_ascii_graphic()) && text.len() <= 256;
    if plain && text.chars().any(|c| c.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err("the global id as Mediation shows it".to_owned())
    }
}

fn version(text: &str) -> Result<(), String> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    if plain && text.len() <= 64 && text.chars().any(|c| c.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err("a version such as 0.0.1".to_owned())
    }
}

fn field_name(text: &str) -> Result<(), String> {
    if text.len() <= 256 && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err("a field name of at most 256 bytes without control characters".to_owned())
    }
}
