//! Counts of what a meter took and put out: `POST /meters/{meterId}/summary`.

use serde::{Deserialize, Serialize};

use super::form::{Envelope, Integer, Loose, Others, Text, list, object};
use super::time::ApiTime;

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Runs or tests.
    pub run_type: RunType,
    /// Only these sessions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub session_ids: Vec<String>,
    /// Only these operators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operator_ids: Vec<String>,
    /// One row for each value of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<Dimension>,
    /// Nothing before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_from_time: Option<ApiTime>,
    /// Nothing after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_to_time: Option<ApiTime>,
}

/// Which runs are meant; of the audit trail as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunType {
    /// Runs.
    Normal,
    /// Tests.
    Debug,
}

/// What counts can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Dimension {
    /// By operator.
    ProcessorId,
    /// By code of error.
    ErrorCode,
    /// By session.
    SessionId,
}

impl Dimension {
    /// As the answer names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessorId => "processorId",
            Self::ErrorCode => "errorCode",
            Self::SessionId => "sessionId",
        }
    }
}

/// The data of the answer.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Names the request.
    pub request_id: Text,
    /// When it was made.
    pub request_time: Text,
    /// What was asked for.
    pub query: Option<Loose<Query>>,
    /// The counts.
    #[serde(default, deserialize_with = "list")]
    pub output: Vec<Loose<Row>>,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// The request as the answer repeats it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// NORMAL or DEBUG.
    pub run_type: Text,
    /// Sessions, or null.
    pub session_ids: Option<Loose<Vec<String>>>,
    /// Operators, or null.
    pub operator_ids: Option<Loose<Vec<String>>>,
    /// Dimensions, or null.
    pub group_by: Option<Loose<Vec<String>>>,
    /// The beginning, or null.
    pub query_from_time: Text,
    /// The end, or null.
    pub query_to_time: Text,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// One count.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The group: for each dimension its value.
    #[serde(default, deserialize_with = "object")]
    pub dimensions: Others,
    /// Events that came out.
    pub output: Integer,
    /// Errors.
    pub total_error_count: Integer,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// The answer.
pub type Answer = Envelope<Summary>;

#[cfg(test)]
mod tests {
    use super::super::form::tests::any_object;
    use super::*;
    use crate::clock::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_the_documented_form() {
        let at = |millis| Some(ApiTime(Timestamp::from_millis(millis)));
        let request = Request {
            run_type: RunType::Normal,
            session_ids: vec!["R-00002283".to_owned()],
            operator_ids: vec!["1".to_owned()],
            group_by: vec![Dimension::ErrorCode, Dimension::ProcessorId, Dimension::SessionId],
            query_from_time: at(1_763_337_600_000),
            query_to_time: at(1_763_423_999_000),
        };
        insta::assert_json_snapshot!(request, @r#"
        {
          "runType": "NORMAL",
          "sessionIds": [
            "R-00002283"
          ],
          "operatorIds": [
            "1"
          ],
          "groupBy": [
            "errorCode",
            "processorId",
            "sessionId"
          ],
          "queryFromTime": "2025-11-17T00:00:00+0000",
          "queryToTime": "2025-11-17T23:59:59+0000"
        }
        "#);
        for dimension in request.group_by {
            let json = serde_json::to_value(dimension).ok();
            assert_eq!(json, Some(dimension.name().into()));
        }
    }

    #[test]
    fn the_documented_answer_is_read() {
        let text = r#"{"success":true,"data":{"requestId":"q","requestTime":"t","query":{
            "runType":"NORMAL","sessionIds":null,"operatorIds":null,"groupBy":["sessionId"],
            "queryFromTime":null,"queryToTime":"2025-11-17 23:59:59.000000000 +00:00"},
            "output":[{"dimensions":{"sessionId":"R-00002283"},"output":10000000,
            "totalErrorCount":0}]},"previousPage":null,"nextPage":"null","error":null}"#;
        let answer = serde_json::from_str::<Answer>(text).ok();
        let rows = answer.as_ref().and_then(Envelope::known).map(|data| data.output.clone());
        let rows = rows.unwrap_or_default();
        let [Loose::Known(row)] = rows.as_slice() else { return assert_eq!(rows, []) };
        assert_eq!(row.output.as_ref().and_then(Loose::number), Some(10_000_000));
        assert_eq!(row.total_error_count.as_ref().and_then(Loose::number), Some(0));
        assert_eq!(row.dimensions.get("sessionId"), Some(&"R-00002283".into()));
    }

    proptest! {
        #[test]
        fn any_object_is_a_row(
            document in any_object(&["output", "totalErrorCount", "dimensions"]),
        ) {
            prop_assert!(serde_json::from_value::<Row>(document).is_ok());
        }

        #[test]
        fn any_object_is_an_answer(document in any_object(&["success", "data", "error"])) {
            prop_assert!(serde_json::from_value::<Answer>(document).is_ok());
        }
    }
}
