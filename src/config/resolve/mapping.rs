//! Formats, selection and fields of a source, checked against each other and against its meter.

mod rule;
mod transform;

use std::sync::Arc;

use regex::Regex;

use super::super::problem::{Notes, nearest};
use super::super::raw::{self, FormatName};
use super::Surroundings;
use super::target::{Routed, Target};
use crate::mapping::{
    Condition, Csv, FilePart, Format, Mapping, Piece, Reference, SYSLOG_PARTS, SyslogPart,
};
use crate::routing::Destination;

/// Resolves the mapping of one source, and where its events go. Without a mapping its lines are
/// events as they stand.
pub(super) fn resolve(
    typed: raw::Mapping,
    target: Target,
    is_file: bool,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Option<(Option<Arc<Mapping>>, Destination)> {
    let is_plain = matches!(typed.format, None | Some(FormatName::Json))
        && typed.on_unparsable.unwrap_or_default() == <_>::default()
        && typed.select.is_empty()
        && typed.fields.is_none()
        && !transform::is_wanted(&typed);
    let (is_syslog, name) = match typed.format {
        Some(FormatName::Syslog) => (true, typed.message_format.unwrap_or(FormatName::Json)),
        other => (false, other.unwrap_or(FormatName::Json)),
    };
    check_keys(&typed, is_syslog, name, notes);
    let scope = Scope {
        is_syslog,
        is_file,
        names: names(&typed, name),
        is_nested: matches!(name, FormatName::Json | FormatName::JsonArray),
        format: name,
        file_pattern: typed.file_pattern.as_ref(),
        around,
        notes,
    };
    if is_plain {
        return Some((None, target.into_destination(|routed| scope.route(routed))?));
    }
    transform::check_keys(&typed, &scope);
    #[cfg(feature = "vrl")]
    let program = transform::resolve(&typed, &scope);
    // Records go out as they are, or as the program leaves them.
    let is_whole = scope.is_nested || transform::is_wanted(&typed);
    let select = typed.select.into_iter().filter_map(|typed| scope.condition(typed)).collect();
    let has_rules = typed.fields.is_some() || !is_whole;
    let exported = target.meters().iter().find(|meter| meter.schema.refresh().is_some());
    if let Some(meter) = exported.filter(|_| has_rules) {
        let found = format!("fields made by rules, and meter {:?} with schema.from", &*meter.name);
        let expected = "a meter with schema.file or schema.fields: rules need to know its fields";
        notes.problem(format!("{}.fields", typed.key), found, expected);
        return None;
    }
    let rules = match typed.fields {
        Some(fields) => Some(rule::listed(&typed.key, &fields, target.meters(), &scope)),
        None if is_whole => None,
        None => Some(rule::implied(&typed.key, target.meters(), &scope)),
    };
    let destination = target.into_destination(|routed| scope.route(routed));
    let format = match name {
        FormatName::Json | FormatName::Syslog => Format::Json,
        FormatName::JsonArray => Format::JsonArray,
        FormatName::Csv => Format::Csv(Csv {
            columns: typed.csv.columns,
            delimiter: typed.csv.delimiter,
            quote: typed.csv.quote,
        }),
        FormatName::Logfmt => Format::Logfmt,
        FormatName::Regex => Format::Regex(typed.pattern?),
        FormatName::Text => Format::Text,
    };
    let mapping = Mapping {
        format,
        is_syslog,
        on_unparsable: typed.on_unparsable.unwrap_or_default(),
        select,
        rules,
        #[cfg(feature = "vrl")]
        transform: program,
        file_pattern: typed.file_pattern,
    };
    Some((Some(Arc::new(mapping)), destination?))
}

/// Keys that the format needs, and those that mean nothing with it.
fn check_keys(typed: &raw::Mapping, is_syslog: bool, name: FormatName, notes: &Notes) {
    let key = |name: &str| format!("{}.{name}", typed.key);
    let is_set = |name: &str| typed.is_set.contains(&name);
    let needless = [
        ("message_format", !is_syslog, "format = \"syslog\""),
        ("pattern", name != FormatName::Regex, "the format \"regex\""),
        ("csv", name != FormatName::Csv, "the format \"csv\""),
    ];
    for (needless, is_needless, format) in needless {
        if is_needless && is_set(needless) && !notes.is_bad(&key("format")) {
            let expected = format!("the key to be left out, or {format}");
            notes.problem(key(needless), "a key that this format does not know", expected);
        }
    }
    if name == FormatName::Regex && !is_set("pattern") {
        let expected = "a regular expression with named captures, such as '^(?<user>\\S+) '";
        notes.problem(key("pattern"), "nothing", expected);
    }
    if name == FormatName::Csv && is_syslog && typed.csv.columns.is_none() {
        let expected = "the names of the columns: messages have no header";
        notes.problem(key("csv.columns"), "nothing", expected);
    }
    if name == FormatName::Text && typed.fields.is_none() && !transform::is_wanted(typed) {
        notes.problem(key("fields"), "nothing", "a rule for each field of the event");
    }
}

/// The names that a record can have, where they are known.
fn names(typed: &raw::Mapping, name: FormatName) -> Option<Vec<String>> {
    match name {
        FormatName::Regex => {
            let pattern = typed.pattern.as_ref()?;
            Some(pattern.capture_names().flatten().map(str::to_owned).collect())
        }
        FormatName::Csv => typed.csv.columns.clone(),
        FormatName::Text => Some(Vec::new()),
        _ => None,
    }
}

/// What the references of one source can mean.
struct Scope<'a> {
    is_syslog: bool,
    is_file: bool,
    /// None: any.
    names: Option<Vec<String>>,
    /// Whether there are values within values.
    is_nested: bool,
    format: FormatName,
    file_pattern: Option<&'a Regex>,
    around: &'a Surroundings<'a>,
    notes: &'a Notes,
}

/// What a reference means, or what is found and what would be right.
type Resolved<T> = Result<T, (String, String)>;

impl Scope<'_> {
    fn condition(&self, typed: raw::Condition) -> Option<Condition> {
        let at = self.place(&format!("{}.field", typed.key), &typed.field?)?;
        Some(Condition { at, test: typed.test?, is_negated: typed.is_negated })
    }

    /// The place of the value that names the meter.
    fn route(&self, routed: &Routed) -> Option<Reference> {
        self.place(&routed.key, &routed.from)
    }

    /// The place that the reference at `key` names; text that is known already is none.
    fn place(&self, key: &str, reference: &str) -> Option<Reference> {
        let (found, expected) = match self.piece(reference) {
            Ok(Piece::From(place)) => return Some(place),
            Ok(Piece::Text(_)) => {
                let expected = "a value of the record, the file or the message";
                (format!("{reference:?}"), expected.to_owned())
            }
            Err(wrong) => wrong,
        };
        self.problem(key, found, expected);
        None
    }

    fn problem(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.notes.problem(key, found, expected);
    }

    /// What a reference means: text, where it is known already, or a place.
    fn piece(&self, text: &str) -> Resolved<Piece> {
        if let Some(name) = text.strip_prefix("env:") {
            let value = self.around.environment.get(name).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| {
                (format!("{text:?}"), format!("the variable {name} in the environment"))
            })?;
            return Ok(Piece::Text(value.clone()));
        }
        let place = if let Some(part) = text.strip_prefix("file:") {
            Reference::File(self.file_part(text, part)?)
        } else if let Some(part) = text.strip_prefix("syslog:") {
            Reference::Syslog(self.syslog_part(text, part)?)
        } else {
            Reference::Field(self.field(text)?)
        };
        Ok(Piece::From(place))
    }

    fn file_part(&self, text: &str, part: &str) -> Resolved<FilePart> {
        if !self.is_file {
            let expected = "no part of a path: this source has no files";
            return Err((format!("{text:?}"), expected.to_owned()));
        }
        let captures = || self.file_pattern.iter().flat_map(|it| it.capture_names().flatten());
        match part {
            "path" => Ok(FilePart::Path),
            "name" => Ok(FilePart::Name),
            name if captures().any(|capture| capture == name) => {
                Ok(FilePart::Capture(name.to_owned()))
            }
            _ => {
                let known: Vec<_> = ["path", "name"].into_iter().chain(captures()).collect();
                let expected =
                    format!("file: and one of {}, or a capture of file_pattern", known.join(", "));
                Err((format!("{text:?}"), expected))
            }
        }
    }

    fn syslog_part(&self, text: &str, part: &str) -> Resolved<SyslogPart> {
        if !self.is_syslog {
            let expected = "format = \"syslog\", or a field of the record".to_owned();
            return Err((format!("{text:?}"), expected));
        }
        if let Some((element, name)) = part.split_once('/') {
            let (element, name) = (element.to_owned(), name.to_owned());
            return Ok(SyslogPart::Data { element, name });
        }
        SYSLOG_PARTS.into_iter().find(|known| known.name() == part).ok_or_else(|| {
            let known: Vec<_> = SYSLOG_PARTS.iter().map(SyslogPart::name).collect();
            let expected = format!("syslog: and one of {}, ELEMENT/NAME", known.join(", "));
            (format!("{text:?}"), expected)
        })
    }

    fn field(&self, text: &str) -> Resolved<Vec<String>> {
        let keys = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect::<Option<Vec<_>>>(),
            None => Some(vec![text.to_owned()]),
        };
        let keys = keys.ok_or_else(|| {
            let expected = "a JSON pointer in which ~0 stands for ~ and ~1 for /";
            (format!("{text:?}"), expected.to_owned())
        })?;
        if !self.is_nested && keys.len() > 1 {
            let expected =
                format!("a single name: {} has no values within values", self.format.name());
            return Err((format!("{text:?}"), expected));
        }
        let (Some(names), Some(key)) = (&self.names, keys.first()) else { return Ok(keys) };
        if names.contains(key) {
            return Ok(keys);
        }
        let what = match self.format {
            FormatName::Regex => "a capture of the pattern",
            FormatName::Csv => "a column",
            _ => "a part of the message: text has no fields",
        };
        let expected = match nearest(key, names.iter().map(String::as_str)) {
            Some(near) => format!("{what}; did you mean {near:?}?"),
            None if names.is_empty() => what.to_owned(),
            None => format!("{what}: {}", names.join(", ")),
        };
        Err((format!("{text:?}"), expected))
    }

    /// Text with references in braces; two braces stand for one.
    fn template(&self, text: &str) -> Resolved<Vec<Piece>> {
        const EXPECTED: &str = "references in braces, {name}; {{ and }} for braces themselves";
        let wrong = || (format!("{text:?}"), EXPECTED.to_owned());
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            plain.push_str(before);
            if let Some(doubled) = behind.strip_prefix("{{").or(behind.strip_prefix("}}")) {
                plain.push_str(behind.get(..1).unwrap_or_default());
                rest = doubled;
                continue;
            }
            let (name, behind) =
                behind.strip_prefix('{').and_then(|it| it.split_once('}')).ok_or_else(wrong)?;
            if name.is_empty() || name.contains('{') {
                return Err(wrong());
            }
            match self.piece(name)? {
                Piece::Text(known) => plain.push_str(&known),
                place @ Piece::From(_) => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(place);
                }
            }
            rest = behind;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(pieces)
    }
}

/// A part of a JSON pointer.
fn unescaped(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut characters = part.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '~' => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}
