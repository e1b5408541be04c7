//! To bring a meter in: `POST /meters/import`, as a form with the exported meter as `file`, and
//! `globalId` to name the meter.

use serde::Deserialize;
use serde_json::Value;

use super::form::{Envelope, Id, Loose, Others, Text};
use super::status::RunStatus;

/// The data of the answer: the meter as it is now.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// Its id, for the meter APIs.
    pub id: Option<Loose<Id>>,
    /// Its name.
    pub name: Text,
    /// What it is for.
    pub description: Text,
    /// CUSTOM, STANDARD and so on.
    #[serde(rename = "type")]
    pub kind: Text,
    /// Its source and schema.
    pub type_definition: Option<Value>,
    /// The version that was imported last.
    pub latest_version: Text,
    /// Its id for ingestion.
    pub global_id: Option<Loose<Id>>,
    /// Where its events are posted to.
    pub unique_upload_url: Text,
    /// Where the version that runs stands.
    pub active_version_run_status: Option<RunStatus>,
    /// The same in words.
    pub active_version_run_status_description: Text,
    /// Where the latest version stands.
    pub latest_version_run_status: Option<RunStatus>,
    /// The same in words.
    pub latest_version_run_status_description: Text,
    /// When it was made.
    pub created_at: Text,
    /// When it was changed.
    pub updated_at: Text,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// The answer.
pub type Answer = Envelope<Imported>;

#[cfg(test)]
mod tests {
    use super::super::form::shown;
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_answer_is_read() {
        let text = r#"{"success":true,"data":{"id":98,"name":"m","description":null,"type":"CUSTOM",
            "typeDefinition":{"sourceType":"ZUORA_BULK_API"},"latestVersion":"0.0.1",
            "globalId":"8a8a","uniqueUploadUrl":"https://rest.zuora.com/usage/bulk/8a8a",
            "activeVersionRunStatus":1,"activeVersionRunStatusDescription":"NEVER_RUN",
            "latestVersionRunStatus":1,"latestVersionRunStatusDescription":"NEVER_RUN",
            "createdAt":"t","updatedAt":"t"}}"#;
        let answer = serde_json::from_str::<Answer>(text).ok();
        let meter = answer.as_ref().and_then(Envelope::known).cloned().unwrap_or_default();
        assert_eq!(shown(meter.global_id.as_ref()), "8a8a");
        assert_eq!(meter.latest_version_run_status, Some(RunStatus::Code(1)));
        assert!(meter.others.is_empty());
    }

    proptest! {
        #[test]
        fn any_object_is_a_meter(
            document in any_object(&["id", "globalId", "type", "activeVersionRunStatus"]),
        ) {
            prop_assert!(serde_json::from_value::<Imported>(document).is_ok());
        }
    }
}
