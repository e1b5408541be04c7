//! Meters out and in, and files.

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::meters::definition::Definition;
use super::super::meters::{Meters, events_of_json};
use super::Call;
use super::form::{File, Form};
use super::reply::{Refused, Reply};

/// `GET /meters/export/{meterId}`: without an envelope.
pub(super) fn export(meters: &mut Meters, id: &str) -> Result<Reply, Refused> {
    let definition = &meters.find(id, None)?.definition;
    Ok(Reply { status: StatusCode::OK, body: Bytes::from(definition.text.clone()) })
}

/// `POST /meters/import`
pub(super) fn import(meters: &mut Meters, call: &Call, host: &str) -> Result<Reply, Refused> {
    let mut form = Form::read(&call.headers, &call.body)?;
    let file = form.take_file()?;
    let bad = |error: String| Refused::bad("70002217", format!("The file is no meter: {error}."));
    let text = String::from_utf8(file.bytes).map_err(|error| bad(error.to_string()))?;
    let definition = Definition::read(&text).map_err(bad)?;
    let global_id = form.fields.remove("globalId").filter(|id| !id.is_empty());
    let meter = meters.import(definition, global_id, call.now);
    let (code, name) = meter.state.code();
    let of = |key: &str| meter.definition.document.get(key).cloned().unwrap_or_default();
    let data = json!({
        "id": meter.id,
        "name": of("name"),
        "description": of("description"),
        "type": of("type"),
        "typeDefinition": of("typeDefinition"),
        "latestVersion": of("latestVersion"),
        "globalId": meter.global_id,
        "uniqueUploadUrl": format!("http://{host}/meters/streaming/ingestion/{}", meter.global_id),
        "activeVersionRunStatus": code,
        "activeVersionRunStatusDescription": name,
        "latestVersionRunStatus": code,
        "latestVersionRunStatusDescription": name,
        "createdAt": meter.created_at,
        "updatedAt": meter.updated_at,
    });
    Ok(Reply::ok(&json!({"success": true, "data": data})))
}

/// `POST /meters/files`
pub(super) fn upload(meters: &mut Meters, call: &Call) -> Result<Reply, Refused> {
    let mut form = Form::read(&call.headers, &call.body)?;
    let file = form.take_file()?;
    let field = |name: &str| form.fields.get(name);
    let delimiter = field("delimiter").map_or(",", String::as_str);
    let (format, events) = events(&file, delimiter)?;
    let lines = events.len();
    let id = meters.upload(events);
    let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
    Ok(Reply::ok(&json!({
        "id": id,
        "name": file.name,
        "resourceId": format!("{id:032x}"),
        "format": format,
        "hasHeader": field("hasHeader").is_none_or(|text| text == "true"),
        "firstRow": number("firstRow").unwrap_or(1),
        "delimiter": delimiter,
        "sheet": field("sheet"),
        "dataRange": field("dataRange"),
        "lines": lines,
        "createdAt": call.now,
        "updatedAt": call.now,
    })))
}

/// The format of a file by its name, and the events in it.
fn events(file: &File, delimiter: &str) -> Result<(&'static str, Vec<Box<RawValue>>), Refused> {
    let bad = |message: String| Refused::bad("70000000", message);
    let text = std::str::from_utf8(&file.bytes).map_err(|error| bad(error.to_string()))?;
    let ending = file.name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "csv" => Ok(("CSV", rows(text, delimiter))),
        "json" => Ok(("JSON", events_of_json(text.as_bytes()))),
        "jsonl" => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let events = lines.map(|line| RawValue::from_string(line.to_owned()));
            let events = events.collect::<Result<Vec<_>, _>>();
            Ok(("JSONL", events.map_err(|error| bad(error.to_string()))?))
        }
        _ => Err(bad(format!("{} should end in .csv, .json or .jsonl.", file.name))),
    }
}

/// Rows under a header, without quotes. What is a number in JSON is one here.
fn rows(text: &str, delimiter: &str) -> Vec<Box<RawValue>> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(delimiter).collect();
    let row = |line: &str| {
        let cells = names.iter().zip(line.split(delimiter));
        let event: Map<String, Value> = cells
            .map(|(name, cell)| {
                let number = serde_json::from_str::<Value>(cell).ok().filter(Value::is_number);
                ((*name).to_owned(), number.unwrap_or_else(|| cell.into()))
            })
            .collect();
        serde_json::value::to_raw_value(&event).ok()
    };
    lines.filter(|line| !line.is_empty()).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_their_endings() {
        let check = |name: &str, text: &str, expected: &[&str]| {
            let file = File { name: name.to_owned(), bytes: text.as_bytes().to_vec() };
            let events = events(&file, ";").map(|(_, events)| events).unwrap_or_default();
            let found: Vec<&str> = events.iter().map(|event| event.get()).collect();
            assert_eq!(found, expected, "{name}");
        };
        check("a.csv", "A;B\nx;1.5\n\n", &[r#"{"A":"x","B":1.5}"#]);
        check("a.json", r#"[{"A":1},{}]"#, &[r#"{"A":1}"#, "{}"]);
        check("a.jsonl", "{}\n\n{\"A\":1}\n", &["{}", r#"{"A":1}"#]);
        check("a.txt", "{}", &[]);
    }
}
