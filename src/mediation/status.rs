//! The run status of a version of a meter: `GET /meters/{meterId}/{version}/runStatus`.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::form::{Envelope, Others, Text};

/// Every code that the reference lists, with its name.
pub const NAMES: [(i64, &str); 13] = [
    (1, "NEVER_RUN"),
    (2, "TESTING"),
    (3, "TESTING_FAILED"),
    (4, "TESTING_PASSED"),
    (5, "RUNNING"),
    (6, "PAUSED"),
    (7, "COMPLETED"),
    (8, "FAILED"),
    (9, "CANCELED"),
    (10, "INITIALIZING"),
    (11, "USAGE_PUSHING"),
    (12, "PUSH_COMPLETED"),
    (13, "CONSUME_COMPLETED"),
];

/// Where a run stands: a code, or a name where that came instead. Codes that are in no reference
/// exist, such as that of STOPPING.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Value")]
pub enum RunStatus {
    /// A code, listed or not.
    Code(i64),
    /// Anything else, as it came.
    Name(String),
}

impl From<Value> for RunStatus {
    fn from(value: Value) -> Self {
        let text = match &value {
            Value::String(text) => text.trim(),
            other => {
                return other.as_i64().map_or_else(|| Self::Name(other.to_string()), Self::Code);
            }
        };
        let listed = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        match listed.map(|(code, _)| *code).or_else(|| text.parse().ok()) {
            Some(code) => Self::Code(code),
            None => Self::Name(text.to_owned()),
        }
    }
}

impl RunStatus {
    /// The name, when the reference has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Code(code) => {
                NAMES.iter().find(|(listed, _)| listed == code).map(|(_, name)| *name)
            }
            Self::Name(name) => Some(name),
        }
    }

    /// Whether nothing more is to come of the run without somebody's doing.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Code(3 | 4 | 6 | 7 | 8 | 9 | 12))
    }

    /// Whether the run or the test ended badly.
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Code(3 | 8 | 9))
    }

    /// Whether it is a test that goes on.
    pub const fn is_testing(&self) -> bool {
        matches!(self, Self::Code(2 | 10))
    }
}

impl fmt::Display for RunStatus {
    /// `RUNNING (5)`; a code that is not listed stands alone.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (Self::Code(code), Some(name)) => write!(out, "{name} ({code})"),
            (Self::Code(code), None) => code.fmt(out),
            (Self::Name(name), _) => out.write_str(name),
        }
    }
}

/// The data of the answer.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where the version stands.
    pub run_status: Option<RunStatus>,
    /// The same in words.
    pub run_status_description: Text,
    /// What no reference names.
    #[serde(flatten)]
    pub others: Others,
}

/// The answer.
pub type Answer = Envelope<Status>;

impl fmt::Display for Status {
    /// `RUNNING (5)`; of a code that is not listed, what Mediation calls it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.run_status, &self.run_status_description) {
            (Some(status), Some(words)) if status.name().is_none() => {
                write!(out, "{words} ({status})")
            }
            (Some(status), _) => status.fmt(out),
            (None, Some(words)) => words.fmt(out),
            (None, None) => out.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    fn status(text: &str) -> Option<Status> {
        serde_json::from_str::<Answer>(text).ok()?.known().cloned()
    }

    #[test]
    fn every_code_has_its_name() {
        let shown = NAMES.map(|(code, _)| RunStatus::Code(code).to_string()).join("\n");
        insta::assert_snapshot!(shown, @r"
        NEVER_RUN (1)
        TESTING (2)
        TESTING_FAILED (3)
        TESTING_PASSED (4)
        RUNNING (5)
        PAUSED (6)
        COMPLETED (7)
        FAILED (8)
        CANCELED (9)
        INITIALIZING (10)
        USAGE_PUSHING (11)
        PUSH_COMPLETED (12)
        CONSUME_COMPLETED (13)
        ");
    }

    #[test]
    fn a_status_is_read_however_it_comes() {
        let check = |data: &str, expected: &str| {
            let answer = format!(r#"{{"success":true,"data":{data}}}"#);
            let shown = status(&answer).map(|status| status.to_string());
            assert_eq!(shown.as_deref(), Some(expected), "{data}");
        };
        check(r#"{"runStatus":5,"runStatusDescription":"RUNNING"}"#, "RUNNING (5)");
        check(r#"{"runStatus":"5"}"#, "RUNNING (5)");
        check(r#"{"runStatus":"paused"}"#, "PAUSED (6)");
        check(r#"{"runStatus":14,"runStatusDescription":"STOPPING"}"#, "STOPPING (14)");
        check(r#"{"runStatus":14}"#, "14");
        check(r#"{"runStatus":"STOPPING"}"#, "STOPPING");
        check(r#"{"runStatus":[5]}"#, "[5]");
        check(
            r#"{"runStatusDescription":"Job Submission In Progress"}"#,
            "Job Submission In Progress",
        );
        check("{}", "unknown");
    }

    proptest! {
        #[test]
        fn any_object_is_an_answer(
            document in any_object(&["success", "data", "runStatus", "nextPage", "error"]),
        ) {
            prop_assert!(serde_json::from_value::<Answer>(document).is_ok());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body: Vec<u8>) {
            let _ = serde_json::from_slice::<Answer>(&body);
        }
    }
}
