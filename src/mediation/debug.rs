//! To test a version of a meter without a run: `POST /meters/debug/{meterId}/{version}`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::form::{Flag, Id, Integer, Loose, Others, Text};
use super::run::EventStore;
use super::status::RunStatus;

/// The body of a request to test.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What the sources read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_options: Vec<Source>,
    /// Days for the sources that read an event store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_store_source_options: Vec<EventStore>,
}

/// What one source reads in a test.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The source; may be left out when there is one local file source only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor_id: Option<String>,
    /// A sample file of the meter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_file_id: Option<Id>,
    /// A file that was uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_file_id: Option<Id>,
    /// Events, each in the digits in which it came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test_data: Vec<Box<RawValue>>,
    /// Whether Mediation is to keep the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_test_data: Option<bool>,
    /// The name under which it keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_data_name: Option<String>,
    /// Events that it has kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_data_id: Option<Id>,
}

/// The answer: a run without an envelope.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The id of the test.
    pub id: Text,
    /// Its session: what the audit trail can be asked for.
    pub session_id: Text,
    /// Its job.
    pub job_id: Text,
    /// The meter.
    pub meter_id: Option<Loose<Id>>,
    /// The version of the meter.
    pub version: Text,
    /// The revision of the version.
    pub revision: Integer,
    /// 2: DEBUG.
    pub run_type: Integer,
    /// The same in words.
    pub run_type_description: Text,
    /// When it began.
    pub start_time: Text,
    /// When it ended.
    pub end_time: Text,
    /// Where it stands: a text here, a number elsewhere.
    pub run_status: Option<RunStatus>,
    /// The same in words.
    pub run_status_description: Text,
    /// For Zuora's own use.
    pub can_export_summary: Flag,
    /// For Zuora's own use.
    pub has_lineage_enabled: Flag,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

#[cfg(test)]
mod tests {
    use super::super::form::shown;
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_the_documented_form_and_keeps_digits() -> serde_json::Result<()> {
        let event = RawValue::from_string(r#"{"Quantity":1.10000000000000000001}"#.to_owned())?;
        let source = Source {
            processor_id: Some("1".to_owned()),
            sample_file_id: Some(Id::Number(3)),
            local_file_id: Some(Id::Number(4)),
            test_data: vec![event],
            save_test_data: Some(true),
            test_data_name: Some("n".to_owned()),
            test_data_id: Some(Id::Text("5".to_owned())),
        };
        let request = Request { source_options: vec![source], ..Request::default() };
        insta::assert_snapshot!(serde_json::to_string(&request)?, @r#"{"sourceOptions":[{"processorId":"1","sampleFileId":3,"localFileId":4,"testData":[{"Quantity":1.10000000000000000001}],"saveTestData":true,"testDataName":"n","testDataId":"5"}]}"#);
        Ok(())
    }

    #[test]
    fn the_documented_answer_is_read() -> serde_json::Result<()> {
        let answer: Answer = serde_json::from_str(
            r#"{"id":"1","sessionId":"D-00000001","jobId":"j","meterId":"97","version":"0.0.1",
                "revision":"1","runType":2,"runTypeDescription":"DEBUG","startTime":"t",
                "endTime":null,"runStatus":"2","runStatusDescription":"TESTING",
                "canExportSummary":true,"hasLineageEnabled":false}"#,
        )?;
        assert_eq!(answer.run_status, Some(RunStatus::Code(2)));
        assert_eq!(shown(answer.session_id.as_ref()), "D-00000001");
        assert!(answer.others.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn any_object_is_an_answer(
            document in any_object(&["id", "sessionId", "meterId", "runStatus", "endTime"]),
        ) {
            prop_assert!(serde_json::from_value::<Answer>(document).is_ok());
        }
    }
}
