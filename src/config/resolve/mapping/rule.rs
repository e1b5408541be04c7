//! How the fields of events are made: each rule against the field that the meter has.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::super::problem::nearest;
use super::super::super::raw;
use super::Scope;
use crate::mapping::unit::{Conversion, Factor, Ratio};
use crate::mapping::{Absent, Input, Piece, Reference, Rule};
use crate::meter::Meter;
use crate::pack::datetime;
use crate::pack::map::write_typed;
use crate::schema::{Field, FieldType};

/// The rules of `[sources.NAME.fields]` for each of `meters`, in the order of its fields: a rule is
/// for every meter that has its field.
pub(super) fn listed(
    source: &str,
    typed: &[raw::FieldRule],
    meters: &[Arc<Meter>],
    scope: &Scope<'_>,
) -> Vec<Vec<Rule>> {
    let known: Vec<_> = meters.iter().map(|meter| fields(meter)).collect();
    for typed in typed {
        if !known.iter().flatten().any(|field| *field.name == *typed.name) {
            unknown(typed, &known.concat(), scope);
        }
    }
    let of_meter = |known: &Vec<Field>| of_meter(source, typed, known, scope);
    known.iter().map(of_meter).collect()
}

fn of_meter(
    source: &str,
    typed: &[raw::FieldRule],
    known: &[Field],
    scope: &Scope<'_>,
) -> Vec<Rule> {
    for field in known.iter().filter(|field| field.required) {
        if !typed.iter().any(|rule| *rule.name == *field.name) {
            let found = format!("no rule for {:?}", field.name);
            let expected = "a rule for each field that the meter requires";
            scope.problem(&format!("{source}.fields"), found, expected);
        }
    }
    let rules = known.iter().filter_map(|field| {
        let typed = typed.iter().find(|typed| *typed.name == *field.name)?;
        rule(typed, field, scope)
    });
    rules.collect()
}

/// Without rules, each field of a meter is the value of the same name.
pub(super) fn implied(source: &str, meters: &[Arc<Meter>], scope: &Scope<'_>) -> Vec<Vec<Rule>> {
    meters.iter().map(|meter| implied_of(source, meter, scope)).collect()
}

fn implied_of(source: &str, meter: &Meter, scope: &Scope<'_>) -> Vec<Rule> {
    let is_there = |field: &Field| {
        let is_there =
            scope.names.as_ref().is_none_or(|names| names.iter().any(|name| **name == *field.name));
        // Without a pattern there is a problem already.
        if !is_there && field.required {
            let found = format!("no {:?} in the record", field.name);
            let expected = "the name of each field that the meter requires, or rules for fields";
            scope.problem(&format!("{source}.fields"), found, expected);
        }
        is_there
    };
    let rule = |field: Field| Rule {
        input: Input::From(Reference::Field(vec![field.name.to_string()])),
        absent: if field.required { Absent::Refuse } else { Absent::Omit },
        name: field.name,
        kind: field.kind,
        trim: false,
        lowercase: false,
        table: None,
        conversion: None,
        time: None,
    };
    fields(meter).into_iter().filter(|field| is_there(field)).map(rule).collect()
}

/// The fields that events can have; the id of an event need not be there.
fn fields(meter: &Meter) -> Vec<Field> {
    let mut fields = meter.schema.or_open().schema.fields().to_vec();
    if let Some(id) = &meter.event_id_field {
        match fields.iter_mut().find(|field| field.name == *id) {
            Some(field) => field.required = false,
            None => fields.push(Field {
                name: Arc::clone(id),
                kind: FieldType::String,
                required: false,
                format: None,
            }),
        }
    }
    fields
}

fn unknown(typed: &raw::FieldRule, known: &[Field], scope: &Scope<'_>) {
    let names = || known.iter().map(|field| &*field.name);
    let expected = match nearest(&typed.name, names()) {
        Some(near) => format!("a field of the meter; did you mean {near:?}?"),
        None => format!("a field of the meter: {}", names().collect::<Vec<_>>().join(", ")),
    };
    scope.problem(&typed.key, "a field that the meter does not have", expected);
}

fn rule(typed: &raw::FieldRule, field: &Field, scope: &Scope<'_>) -> Option<Rule> {
    let check = Check { typed, field, scope };
    check.conversions();
    // All of them first: each may have a problem of its own.
    let (input, absent, table) = (check.input(), check.absent(), check.table());
    Some(Rule {
        name: Arc::clone(&field.name),
        kind: field.kind,
        input: input?,
        absent: absent?,
        trim: typed.trim,
        lowercase: typed.lowercase,
        table: table.map(|rows| typed.map.is_some().then_some(rows))?,
        conversion: conversion(typed),
        time: typed.time.clone(),
    })
}

/// A rule as it was typed, against the field that it is for.
struct Check<'a> {
    typed: &'a raw::FieldRule,
    field: &'a Field,
    scope: &'a Scope<'a>,
}

impl Check<'_> {
    fn problem(&self, part: &str, found: impl Into<String>, expected: impl Into<String>) {
        self.scope.problem(&format!("{}.{part}", self.typed.key), found, expected);
    }

    /// A constant as JSON; that it does not fit the field is a problem.
    fn constant(&self, part: &str, text: &str) -> Option<String> {
        let kind = self.field.kind;
        let json = constant(kind, text);
        if let Err(expected) = json {
            let found = format!("{text:?}, for a field of type {}", kind.name());
            self.problem(part, found, expected);
        }
        json.ok()
    }

    fn input(&self) -> Option<Input> {
        let (part, resolved) = match self.typed.input.as_ref()? {
            raw::Input::Value(text) => return self.constant("value", text).map(Input::Constant),
            raw::Input::From(text) => {
                let input = self.scope.piece(text).map(|piece| match piece {
                    Piece::From(place) => Input::From(place),
                    known @ Piece::Text(_) => Input::Template(vec![known]),
                });
                ("from", input)
            }
            raw::Input::Template(text) => {
                ("template", self.scope.template(text).map(Input::Template))
            }
        };
        resolved.map_err(|(found, expected)| self.problem(part, found, expected)).ok()
    }

    fn absent(&self) -> Option<Absent> {
        let Self { typed, field, .. } = self;
        if typed.optional && field.required {
            self.problem("optional", "true, for a field that the meter requires", "false");
        }
        match &typed.default {
            Some(_) if typed.optional => {
                self.problem("default", "both default and optional", "one of the two");
                None
            }
            Some(text) => self.constant("default", text).map(Absent::Default),
            None if typed.optional => Some(Absent::Omit),
            None => Some(Absent::Refuse),
        }
    }

    /// Empty: there is none.
    fn table(&self) -> Option<HashMap<String, String>> {
        let rows: Vec<_> = self
            .typed
            .map
            .iter()
            .flatten()
            .map(|(found, becomes)| {
                Some((found.clone(), self.constant(&format!("map.{found}"), becomes)?))
            })
            .collect();
        rows.into_iter().collect()
    }

    /// Whether a conversion fits the field, and there is one at most.
    fn conversions(&self) {
        use FieldType::{Any, DateTime, Integer, Number, String};
        let Self { typed, field, .. } = self;
        let numbers = [Number, Integer].as_slice();
        for (part, is_set, kinds) in [
            ("scale", typed.scale.is_some(), numbers),
            ("unit", typed.unit.is_some(), numbers),
            ("decimals", typed.decimals.is_some(), numbers),
            ("time_format", typed.time.is_some(), &[DateTime, String, Any]),
        ] {
            if is_set && !kinds.contains(&field.kind) {
                let found = format!("a conversion, for a field of type {}", field.kind.name());
                let expected = "a field of another type, or the key to be left out";
                self.problem(part, found, expected);
            } else if is_set && typed.map.is_some() {
                self.problem(part, "a conversion beside a table", "one of the two");
            }
        }
    }
}

/// A constant as JSON, or what would be right.
fn constant(kind: FieldType, text: &str) -> Result<String, &'static str> {
    let mut json = String::new();
    write_typed(kind, text, &mut json)?;
    if kind == FieldType::DateTime && datetime::instant(json.as_bytes()).is_none() {
        return Err("a time such as 2026-11-21T06:14:11Z");
    }
    if kind == FieldType::Integer && json.contains(['.', 'e', 'E']) {
        return Err("a whole number");
    }
    Ok(json)
}

fn conversion(typed: &raw::FieldRule) -> Option<Conversion> {
    let scale = typed.scale.unwrap_or(Ratio::ONE);
    let factor = match &typed.unit {
        None if typed.scale.is_none() && typed.decimals.is_none() => return None,
        None => Factor::Fixed(scale),
        Some(change) => match change.from {
            Some(from) => Factor::Fixed(from.in_terms_of(change.to)?.times(scale)),
            None => Factor::Written(change.to, scale),
        },
    };
    Some(Conversion { factor, decimals: typed.decimals })
}
