//! What is different between two schemas, field by field, in words.

use super::{Field, Schema};

/// What somebody who knows `before` has to know of `after`; nothing when events are judged alike.
pub fn differences(before: &Schema, after: &Schema) -> Vec<String> {
    let of = |schema: &Schema, name: &str| {
        schema.fields().iter().find(|field| &*field.name == name).cloned()
    };
    let mut found = Vec::new();
    for field in after.fields() {
        match of(before, &field.name) {
            None => found.push(format!("{:?} is new: {}", field.name, described(field))),
            Some(known) if known != *field => {
                let (was, is) = (described(&known), described(field));
                found.push(format!("{:?} was {was}, is {is}", field.name));
            }
            Some(_) => {}
        }
    }
    let gone = before.fields().iter().filter(|field| of(after, &field.name).is_none());
    found.extend(gone.map(|field| format!("{:?} is gone, was {}", field.name, described(field))));
    let time = |schema: &Schema| {
        let field = schema.event_time().and_then(|index| schema.fields().get(index));
        field.map_or_else(|| "nothing".to_owned(), |field| format!("{:?}", field.name))
    };
    let (was, is) = (time(before), time(after));
    if was != is {
        found.push(format!("the time of the event was {was}, is {is}"));
    }
    found
}

/// `required datetime as yyyy-MM-dd`, `optional string`.
pub fn described(field: &Field) -> String {
    let need = if field.required { "required" } else { "optional" };
    let format = field.format.as_ref().map(|format| format!(" as {format}"));
    format!("{need} {}{}", field.kind.name(), format.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::FieldType;

    fn field(name: &str, kind: FieldType, required: bool, format: &str) -> Field {
        Field { name: name.into(), kind, required, format: format.parse().ok() }
    }

    #[test]
    fn each_field_that_is_judged_otherwise_is_told() -> Result<(), crate::schema::Error> {
        let before = vec![
            field("At", FieldType::DateTime, true, ""),
            field("Quantity", FieldType::Number, true, ""),
            field("Old", FieldType::Any, false, ""),
            field("Same", FieldType::String, false, ""),
        ];
        let after = vec![
            field("Same", FieldType::String, false, ""),
            field("Quantity", FieldType::Integer, false, ""),
            field("At", FieldType::DateTime, false, "yyyy-MM-dd"),
            field("New", FieldType::DateTime, true, ""),
        ];
        let (before, after) = (Schema::new(before)?, Schema::new(after)?);
        insta::assert_snapshot!(differences(&before, &after).join("\n"), @r#"
        "Quantity" was required number, is optional integer
        "At" was required datetime, is optional datetime as yyyy-MM-dd
        "New" is new: required datetime
        "Old" is gone, was optional any
        the time of the event was "At", is "New"
        "#);
        assert_eq!(differences(&after, &after), Vec::<String>::new());
        Ok(())
    }
}
