//! What `[sources.NAME]` says of formats, selection and fields, as it may be typed.

use std::path::PathBuf;

use regex::Regex;

use super::super::reader::Reader;
use crate::mapping::OnUnparsable;
use crate::mapping::unit::{Ratio, Unit};
use crate::time_pattern::{TimePattern, offset_seconds};

/// The most digits that a number may be rounded to.
const DECIMALS_MAX: u64 = 12;

/// The keys of one source; those that are not there are none.
#[derive(Debug)]
pub(in super::super) struct Mapping {
    /// The whole key of the source.
    pub(in super::super) key: String,
    pub(in super::super) format: Option<FormatName>,
    /// Of the records within syslog messages.
    pub(in super::super) message_format: Option<FormatName>,
    pub(in super::super) pattern: Option<Regex>,
    pub(in super::super) csv: Csv,
    pub(in super::super) on_unparsable: Option<OnUnparsable>,
    pub(in super::super) select: Vec<Condition>,
    pub(in super::super) fields: Option<Vec<Field>>,
    /// A program.
    pub(in super::super) transform: Option<String>,
    /// The file that it is in.
    pub(in super::super) transform_file: Option<PathBuf>,
    pub(in super::super) file_pattern: Option<Regex>,
    /// Whether a key of these was written that has no value here because it is wrong.
    pub(in super::super) is_set: Vec<&'static str>,
}

/// `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum FormatName {
    Json,
    JsonArray,
    Csv,
    Logfmt,
    Regex,
    Syslog,
    Text,
}

/// `[sources.NAME.csv]`.
#[derive(Debug)]
pub(in super::super) struct Csv {
    pub(in super::super) columns: Option<Vec<String>>,
    pub(in super::super) delimiter: u8,
    pub(in super::super) quote: u8,
}

/// One of `[[sources.NAME.select]]`.
#[derive(Debug)]
pub(in super::super) struct Condition {
    pub(in super::super) key: String,
    pub(in super::super) field: Option<String>,
    /// None: wrong, and noted.
    pub(in super::super) test: Option<crate::mapping::Test>,
    pub(in super::super) is_negated: bool,
}

/// `[sources.NAME.fields.FIELD]`.
#[derive(Debug)]
pub(in super::super) struct Field {
    pub(in super::super) name: String,
    pub(in super::super) key: String,
    pub(in super::super) input: Option<Input>,
    pub(in super::super) default: Option<String>,
    pub(in super::super) optional: bool,
    pub(in super::super) trim: bool,
    pub(in super::super) lowercase: bool,
    pub(in super::super) map: Option<Vec<(String, String)>>,
    pub(in super::super) scale: Option<Ratio>,
    pub(in super::super) unit: Option<UnitChange>,
    pub(in super::super) decimals: Option<u32>,
    pub(in super::super) time: Option<TimePattern>,
}

/// Where a value comes from.
#[derive(Debug)]
pub(in super::super) enum Input {
    From(String),
    Value(String),
    Template(String),
}

/// `unit = { from = ..., to = ... }`.
#[derive(Debug)]
pub(in super::super) struct UnitChange {
    /// None: it is written behind each number.
    pub(in super::super) from: Option<Unit>,
    pub(in super::super) to: Unit,
}

const FORMATS: [(&str, FormatName); 7] = [
    ("json", FormatName::Json),
    ("json-array", FormatName::JsonArray),
    ("csv", FormatName::Csv),
    ("logfmt", FormatName::Logfmt),
    ("regex", FormatName::Regex),
    ("syslog", FormatName::Syslog),
    ("text", FormatName::Text),
];

impl FormatName {
    /// As it is typed.
    pub(in super::super) fn name(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

impl Mapping {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let is_format = |(_, format): &&(&str, FormatName)| *format != FormatName::Text;
        let formats: Vec<_> = FORMATS.iter().filter(is_format).copied().collect();
        let is_message = |(_, format): &&(&str, FormatName)| *format != FormatName::Syslog;
        let messages: Vec<_> = FORMATS.iter().filter(is_message).copied().collect();
        let on_unparsable =
            [("dead-letter", OnUnparsable::DeadLetter), ("ignore", OnUnparsable::Ignore)];
        let keys = [
            "format",
            "message_format",
            "pattern",
            "csv",
            "file_pattern",
            "fields",
            "transform",
            "transform_file",
        ];
        Self {
            key: reader.path().to_owned(),
            format: reader.choice("format", &formats),
            message_format: reader.choice("message_format", &messages),
            pattern: reader.pattern("pattern"),
            csv: Csv::read(reader.section("csv")),
            on_unparsable: reader.choice("on_unparsable", &on_unparsable),
            select: reader
                .listed("select")
                .unwrap_or_default()
                .into_iter()
                .map(Condition::read)
                .collect(),
            fields: reader.is_set("fields").then(|| {
                reader
                    .named("fields")
                    .into_iter()
                    .map(|(name, field)| Field::read(name, field))
                    .collect()
            }),
            transform: reader.text("transform"),
            transform_file: reader.file("transform_file"),
            file_pattern: reader.pattern("file_pattern"),
            is_set: keys.into_iter().filter(|key| reader.is_set(key)).collect(),
        }
    }
}

impl Csv {
    fn read(reader: Reader<'_>) -> Self {
        let columns = reader.texts("columns");
        for (index, name) in columns.iter().flatten().enumerate() {
            let earlier = columns.iter().flatten().take(index).any(|earlier| earlier == name);
            if earlier {
                let key = format!("{}[{index}]", reader.key("columns"));
                reader.notes().problem(key, format!("{name:?} a second time"), "each column once");
            }
        }
        let csv = Self {
            columns,
            delimiter: reader.byte("delimiter").unwrap_or(b','),
            quote: reader.byte("quote").unwrap_or(b'"'),
        };
        if csv.delimiter == csv.quote {
            let key = reader.key("delimiter");
            reader.notes().problem(key, "the same character as quote", "another one");
        }
        reader.finish();
        csv
    }
}

impl Condition {
    fn read(reader: Reader<'_>) -> Self {
        if !reader.is_set("field") {
            reader.missing("field", "the field of the record that is looked at");
        }
        let tests = ["equals", "in", "exists", "matches"];
        let set: Vec<_> = tests.into_iter().filter(|key| reader.is_set(key)).collect();
        if set.len() != 1 {
            let found = if set.is_empty() { "nothing".to_owned() } else { set.join(" and ") };
            let path = reader.path().to_owned();
            reader.notes().problem(path, found, "one of equals, in, exists, matches");
        }
        let exists = reader.boolean("exists");
        let equals = reader.scalar("equals").map(|text| vec![text]);
        let listed = equals.or(reader.scalars("in")).map(crate::mapping::Test::In);
        let matches = reader.pattern("matches").map(crate::mapping::Test::Matches);
        let condition = Self {
            key: reader.path().to_owned(),
            field: reader.text("field"),
            test: listed.or(matches).or(exists.map(|_| crate::mapping::Test::Exists)),
            is_negated: reader.boolean("not").unwrap_or(false) != (exists == Some(false)),
        };
        reader.finish();
        condition
    }
}

impl Field {
    fn read(name: String, reader: Reader<'_>) -> Self {
        let inputs = ["from", "value", "template"];
        let set: Vec<_> = inputs.into_iter().filter(|key| reader.is_set(key)).collect();
        if set.len() != 1 {
            let found = if set.is_empty() { "nothing".to_owned() } else { set.join(" and ") };
            let path = reader.path().to_owned();
            reader.notes().problem(path, found, "one of from, value, template");
        }
        let from = reader.text("from").map(Input::From);
        let value = reader.scalar("value").map(Input::Value);
        let template = reader.text("template").map(Input::Template);
        let decimals = reader.integer("decimals", 0..=DECIMALS_MAX);
        let field = Self {
            name,
            key: reader.path().to_owned(),
            input: from.or(value).or(template).filter(|_| set.len() == 1),
            default: reader.scalar("default"),
            optional: reader.boolean("optional").unwrap_or(false),
            trim: reader.boolean("trim").unwrap_or(false),
            lowercase: reader.boolean("lowercase").unwrap_or(false),
            map: reader.table("map"),
            scale: scale(&reader),
            unit: UnitChange::read(reader.section("unit")),
            decimals: decimals.and_then(|decimals| u32::try_from(decimals).ok()),
            time: time(&reader),
        };
        reader.finish();
        field
    }
}

fn scale(reader: &Reader<'_>) -> Option<Ratio> {
    let text = reader.scalar("scale")?;
    text.parse()
        .map_err(|error: crate::mapping::unit::NoFactor| {
            reader.notes().problem(reader.key("scale"), format!("{text:?}"), error.to_string());
        })
        .ok()
}

fn time(reader: &Reader<'_>) -> Option<TimePattern> {
    let parse = |text: &str| text.parse::<TimePattern>().map_err(|error| error.to_string());
    let zone = reader.text_that("time_zone", |text| match offset_seconds(text) {
        Some(_) => Ok(()),
        None => Err("a distance from UTC such as \"+01:00\"".to_owned()),
    });
    let text = reader.text_that("time_format", |text| parse(text).map(|_| ()));
    let pattern = text.and_then(|text| parse(&text).ok());
    match (pattern, zone.as_deref().and_then(offset_seconds)) {
        (Some(pattern), None) => Some(pattern),
        (Some(pattern), Some(offset)) if !pattern.says_zone() => Some(pattern.with_offset(offset)),
        (Some(_), Some(_)) => {
            let found = "a zone for times that say theirs";
            reader.notes().problem(reader.key("time_zone"), found, "one of the two");
            None
        }
        (None, Some(_)) if !reader.is_set("time_format") => {
            reader.missing("time_format", "how the times are written that have this zone");
            None
        }
        (None, _) => None,
    }
}

impl UnitChange {
    fn read(reader: Reader<'_>) -> Option<Self> {
        if !reader.is_there() {
            return None;
        }
        let names: Vec<_> = crate::mapping::unit::UNITS.iter().map(|unit| unit.name).collect();
        let names = names.join(", ");
        let unit = |key: &'static str, other: &str| {
            if !reader.is_set(key) {
                reader.missing(key, &format!("{other}{names}"));
            }
            reader.text_that(key, |text| {
                let is_known = Unit::named(text).is_some() || (text == "written" && key == "from");
                is_known.then_some(()).ok_or_else(|| format!("{other}{names}"))
            })
        };
        let from = unit("from", "written, for the unit behind each number, or one of ");
        let to = unit("to", "one of ");
        let (notes, key) = (reader.notes(), reader.path().to_owned());
        reader.finish();
        let (from, to) = (from?, Unit::named(&to?)?);
        let from = if from == "written" { None } else { Some(Unit::named(&from)?) };
        if from.is_some_and(|from| from.in_terms_of(to).is_none()) {
            notes.problem(key, "a size and a time", "two units of one kind");
            return None;
        }
        Some(Self { from, to })
    }
}
