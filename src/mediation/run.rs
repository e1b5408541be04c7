//! To run and to stop a version of a meter: `POST /meters/run/{meterId}/{version}` and
//! `POST /meters/stop/{meterId}/{version}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Error;
use super::form::{Envelope, Flag, Id, Integer, Loose, Others, Text};
use super::status::RunStatus;
use super::time::ApiDate;

/// The body of a request to run; all of it may be left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Local files for the sources that read files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_options: Vec<LocalFile>,
    /// Days for the sources that read an event store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_store_source_options: Vec<EventStore>,
    /// A second request of the meter with the same key starts nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
}

/// A file for a source.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalFile {
    /// The source; may be left out when there is one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor_id: Option<String>,
    /// What uploading the file answered: a text in the older reference, a number in the newer.
    pub local_file_id: Id,
}

/// The days that a source reads of an event store.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventStore {
    /// The source.
    pub processor_id: String,
    /// The first day.
    pub start_date: ApiDate,
    /// The last day.
    pub end_date: ApiDate,
}

/// A run, as the answer to a request to run has it, and answers of status 401 and 404.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub id: Text,
    /// Its session, such as `R-00005468`: what summary and audit trail can be asked for.
    pub session_id: Text,
    /// Its job.
    pub job_id: Text,
    /// The meter.
    pub meter_id: Option<Loose<Id>>,
    /// The version of the meter.
    pub version: Text,
    /// The revision of the version: a number here, a text elsewhere.
    pub revision: Integer,
    /// 1 NORMAL, 2 DEBUG.
    pub run_type: Integer,
    /// The same in words.
    pub run_type_description: Text,
    /// When it began.
    pub start_time: Text,
    /// When it ended.
    pub end_time: Text,
    /// Where it stands.
    pub status: Option<RunStatus>,
    /// The same in words.
    pub status_description: Text,
    /// For Zuora's own use.
    pub can_export_summary: Flag,
    /// For Zuora's own use.
    pub has_lineage_enabled: Flag,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// The answer to a request to run.
pub type Answer = Envelope<Run>;

/// The answer to a request to stop: it says no more than that the request was accepted.
pub type Stopped = Envelope<Value>;

/// Whether Mediation says that a run with this unique key exists. The reference names no code for it,
/// so it is the words that count.
pub fn is_duplicate_key(error: &Error) -> bool {
    let message = error.message.as_deref().unwrap_or_default();
    let letters: String = message.chars().filter(char::is_ascii_alphabetic).collect();
    let letters = letters.to_ascii_lowercase();
    letters.contains("uniquekey")
        && ["duplicate", "already", "exists"].iter().any(|word| letters.contains(word))
}

/// Codes of a version that is being stopped, and of one that does not run.
const STOPPED: [&str; 2] = ["70003043", "70002122"];

/// Whether Mediation says that there is nothing more to stop.
pub fn is_stopped(error: &Error) -> bool {
    error.code.as_deref().is_some_and(|code| STOPPED.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::super::form::shown;
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_the_documented_form() {
        let day = |day| ApiDate(jiff::civil::date(2025, 1, day));
        let request = Request {
            source_options: vec![
                LocalFile { processor_id: Some("7".to_owned()), local_file_id: Id::Number(12) },
                LocalFile { processor_id: None, local_file_id: Id::Text("f-1".to_owned()) },
            ],
            event_store_source_options: vec![EventStore {
                processor_id: "8".to_owned(),
                start_date: day(1),
                end_date: day(31),
            }],
            unique_key: Some("lms_meter2_2026-03-31T22:00:00Z".to_owned()),
        };
        insta::assert_json_snapshot!(request, @r#"
        {
          "sourceOptions": [
            {
              "processorId": "7",
              "localFileId": 12
            },
            {
              "localFileId": "f-1"
            }
          ],
          "eventStoreSourceOptions": [
            {
              "processorId": "8",
              "startDate": "2025-01-01",
              "endDate": "2025-01-31"
            }
          ],
          "uniqueKey": "lms_meter2_2026-03-31T22:00:00Z"
        }
        "#);
        assert_eq!(serde_json::to_string(&Request::default()).ok().as_deref(), Some("{}"));
    }

    #[test]
    fn the_documented_answer_is_read() {
        let text = r#"{"success":true,"data":{"id":"5468","sessionId":"R-00005468","jobId":"j1",
            "meterId":97,"version":"0.0.1","revision":"3","runType":1,"runTypeDescription":"NORMAL",
            "startTime":"2025-11-17T23:59:59.123456789Z","status":10,
            "statusDescription":"INITIALIZING","canExportSummary":false,"hasLineageEnabled":true,
            "extra":[1]},"previousPage":"null","nextPage":"null"}"#;
        let answer = serde_json::from_str::<Answer>(text).ok();
        let run = answer.as_ref().and_then(Envelope::known).cloned().unwrap_or_default();
        assert_eq!(shown(run.session_id.as_ref()), "R-00005468");
        assert_eq!(shown(run.meter_id.as_ref()), "97");
        assert_eq!(run.revision.and_then(|revision| revision.number()), Some(3));
        assert_eq!(run.status, Some(RunStatus::Code(10)));
        assert_eq!(run.end_time, None);
        assert!(run.others.contains_key("extra"));
        assert_eq!(answer.and_then(|answer| answer.next_page), None);
    }

    fn said(words: &str) -> Error {
        Error { message: Some(words.to_owned()), ..Error::default() }
    }

    #[test]
    fn a_duplicate_key_is_known_by_its_words() {
        for words in [
            "Duplicate uniqueKey: k",
            "A run with unique key k already exists.",
            "duplicate unique_key",
        ] {
            assert!(is_duplicate_key(&said(words)), "{words}");
        }
        for words in ["uniqueKey is too long", "duplicate event", ""] {
            assert!(!is_duplicate_key(&said(words)), "{words}");
        }
    }

    proptest! {
        #[test]
        fn any_object_is_a_run(
            document in any_object(&["id", "sessionId", "meterId", "revision", "status", "runType"]),
        ) {
            prop_assert!(serde_json::from_value::<Run>(document).is_ok());
        }

        #[test]
        fn arbitrary_words_and_bytes_do_no_harm(words: String, body: Vec<u8>) {
            let _ = is_duplicate_key(&said(&words));
            let _ = serde_json::from_slice::<Answer>(&body);
        }
    }
}
