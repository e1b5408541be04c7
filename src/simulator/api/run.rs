//! Runs, stops, tests, and the run status.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::meters::session::document;
use super::super::meters::{Meters, RunRequest};
use super::Call;
use super::reply::{Refused, Reply};

/// The body of run and debug.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Body {
    source_options: Vec<Source>,
    event_store_source_options: Vec<Value>,
    unique_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Source {
    processor_id: Option<String>,
    sample_file_id: Option<Value>,
    local_file_id: Option<Value>,
    test_data: Vec<Box<RawValue>>,
    save_test_data: Option<bool>,
    test_data_name: Option<String>,
    test_data_id: Option<Value>,
}

impl Source {
    /// Local and sample files are one here. Test data is not kept by name.
    fn file(&self) -> Result<Option<String>, Refused> {
        if self.test_data_id.is_some() {
            return Err(Refused::bad("70002202", "The test data does not exist."));
        }
        if self.save_test_data == Some(true) && self.test_data_name.is_none() {
            return Err(Refused::bad("70000000", "testDataName is wanted with saveTestData."));
        }
        if self.processor_id.as_deref() == Some("") {
            return Err(Refused::bad("70000000", "processorId is empty."));
        }
        let id = self.local_file_id.as_ref().or(self.sample_file_id.as_ref());
        Ok(id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)))
    }
}

fn body(call: &Call) -> Result<Body, Refused> {
    if call.body.is_empty() {
        return Ok(Body::default());
    }
    let body: Body = serde_json::from_slice(&call.body)
        .map_err(|error| Refused::bad("70000000", format!("Validation failed: {error}")))?;
    for option in &body.event_store_source_options {
        check_days(option)?;
    }
    Ok(body)
}

fn check_days(option: &Value) -> Result<(), Refused> {
    let day = |name: &str| option.get(name)?.as_str()?.parse::<jiff::civil::Date>().ok();
    match (option.get("processorId"), day("startDate"), day("endDate")) {
        (Some(Value::String(_)), Some(start), Some(end)) if start <= end => Ok(()),
        _ => {
            let message = "processorId, startDate and endDate such as 2025-01-01 are wanted.";
            Err(Refused::bad("70000000", message))
        }
    }
}

/// `POST /meters/run/{meterId}/{version}`
pub(super) fn run(
    meters: &mut Meters,
    (id, version): (&str, &str),
    call: &Call,
) -> Result<Reply, Refused> {
    let body = body(call)?;
    let files = body.source_options.iter().map(Source::file).collect::<Result<Vec<_>, _>>()?;
    let request = RunRequest {
        unique_key: body.unique_key,
        files: files.into_iter().flatten().collect(),
        is_event_store: !body.event_store_source_options.is_empty(),
    };
    let (meter, session) = meters.run((id, version), request, call.now)?;
    let mut data = document(meter, version, &session);
    let (code, name) = meter.state.code();
    data["status"] = code.into();
    data["statusDescription"] = name.into();
    Ok(Reply::ok(&json!({
        "success": true, "data": data, "previousPage": "null", "nextPage": "null",
    })))
}

/// `POST /meters/stop/{meterId}/{version}`
pub(super) fn stop(
    meters: &mut Meters,
    (id, version): (&str, &str),
    call: &Call,
) -> Result<Reply, Refused> {
    let is_forced = call.query.split('&').any(|pair| pair == "forceStop=true");
    meters.find(id, Some(version))?.stop(is_forced)?;
    Ok(Reply::ok(&json!({"success": true})))
}

/// `POST /meters/debug/{meterId}/{version}`
pub(super) fn debug(
    meters: &mut Meters,
    (id, version): (&str, &str),
    call: &Call,
) -> Result<Reply, Refused> {
    let body = body(call)?;
    if body.unique_key.is_some() {
        return Err(Refused::bad("70000000", "Validation failed: uniqueKey is for runs."));
    }
    let mut files = Vec::new();
    let mut events = Vec::new();
    for source in body.source_options {
        files.extend(source.file()?);
        events.extend(source.test_data);
    }
    let (meter, session) = meters.debug((id, version), events, &files, call.now)?;
    let mut data = document(meter, version, &session);
    data["runStatus"] = "2".into();
    data["runStatusDescription"] = "TESTING".into();
    Ok(Reply::ok(&data))
}

/// `GET /meters/{meterId}/{version}/runStatus`: who looks sees a state that passes once.
pub(super) fn status(meters: &mut Meters, (id, version): (&str, &str)) -> Result<Reply, Refused> {
    let meter = meters.find(id, Some(version))?;
    let (code, name) = meter.state.code();
    meter.state = meter.state.next();
    let data = json!({"runStatus": code, "runStatusDescription": name});
    Ok(Reply::ok(&json!({"success": true, "data": data})))
}
