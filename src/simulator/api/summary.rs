//! Counts of a meter.

use jiff::fmt::strtime;
use serde::Deserialize;
use serde_json::json;

use super::super::meters::Meters;
use super::super::meters::session::nanoseconds;
use super::super::meters::trail::Filter;
use super::Call;
use super::reply::{Refused, Reply};
use crate::clock::Timestamp;

/// What counts can be grouped by.
const DIMENSIONS: [&str; 3] = ["errorCode", "processorId", "sessionId"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    run_type: String,
    session_ids: Option<Vec<String>>,
    operator_ids: Option<Vec<String>>,
    group_by: Option<Vec<String>>,
    query_from_time: Option<String>,
    query_to_time: Option<String>,
}

/// `POST /meters/{meterId}/summary`
pub(super) fn summary(meters: &mut Meters, id: &str, call: &Call) -> Result<Reply, Refused> {
    let bad = |message: String| Refused::bad("70000000", message);
    let body: Body = serde_json::from_slice(&call.body)
        .map_err(|error| bad(format!("Validation failed: {error}")))?;
    let group_by = body.group_by.clone().unwrap_or_default();
    if let Some(wrong) = group_by.iter().find(|name| !DIMENSIONS.contains(&name.as_str())) {
        return Err(bad(format!("groupBy has no {wrong}.")));
    }
    let filter = Filter {
        is_debug: is_debug(&body.run_type)?,
        from: body.query_from_time.as_deref().map(time).transpose()?,
        to: body.query_to_time.as_deref().map(time).transpose()?,
        sessions: body.session_ids.clone().unwrap_or_default(),
        operators: body.operator_ids.clone().unwrap_or_default(),
    };
    let output = meters.find(id, None)?.trail.summary(&filter, &group_by);
    let data = json!({
        "requestId": format!("{:032x}", meters.next_request()),
        "requestTime": nanoseconds(call.now),
        "query": {
            "runType": body.run_type,
            "sessionIds": body.session_ids,
            "operatorIds": body.operator_ids,
            "groupBy": body.group_by,
            "queryFromTime": body.query_from_time,
            "queryToTime": body.query_to_time,
        },
        "output": output,
    });
    Ok(Reply::ok(&json!({
        "success": true, "data": data, "previousPage": "null", "nextPage": "null",
    })))
}

/// NORMAL or DEBUG.
pub(super) fn is_debug(run_type: &str) -> Result<bool, Refused> {
    match run_type {
        "NORMAL" => Ok(false),
        "DEBUG" => Ok(true),
        other => Err(Refused::bad("70000000", format!("runType should be NORMAL, not {other}."))),
    }
}

/// `2026-11-21T06:14:11+0000`
pub(super) fn time(text: &str) -> Result<Timestamp, Refused> {
    let parsed = strtime::parse("%Y-%m-%dT%H:%M:%S%z", text).and_then(|time| time.to_timestamp());
    let time = parsed.map_err(|_| {
        let expected = "YYYY-MM-DDTHH:MM:SS with an offset such as +0000";
        Refused::bad("70000000", format!("{text} should be {expected}."))
    })?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_documented_form_only() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(time(text).ok().map(Timestamp::as_millis), expected, "{text}");
        };
        check("1970-01-01T00:00:01+0000", Some(1000));
        check("1970-01-01T01:00:01+0100", Some(1000));
        check("1970-01-01T00:00:01Z", None);
        check("1970-01-01 00:00:01+0000", None);
        check("1970-01-01T00:00:01 0000", None);
        check("1970-01-01T00:00:01.5+0000", None);
    }
}
