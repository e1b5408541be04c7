//! The audit trail: what an operator refused or let through, event by event.
//! `GET /meters/{meterId}/auditTrail/entries`.
//!
//! Entries are handed on in the digits in which they came: their payloads are events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::form::{Flag, Text, page};
use super::summary::RunType;
use super::time::ApiTime;

/// The most entries of one page.
pub const PAGE_SIZE_MAX: u32 = 500;

/// Which entries are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportType {
    /// Records of success.
    Sample,
    /// Errors.
    Error,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Successes or errors.
    pub export_type: ExportType,
    /// Runs or tests.
    pub run_type: RunType,
    /// Nothing before.
    pub from: ApiTime,
    /// Nothing after.
    pub to: ApiTime,
    /// Only this session.
    pub session_id: Option<String>,
    /// Only this operator.
    pub operator_id: Option<String>,
    /// Entries of a page; 30 when it is left out, at most [`PAGE_SIZE_MAX`].
    pub page_size: Option<u32>,
}

impl Query {
    /// The pairs of the query; `cursor` is the `nextPage` of the page before.
    pub fn pairs(&self, cursor: Option<&str>) -> Vec<(&'static str, String)> {
        let export_type = match self.export_type {
            ExportType::Sample => "SAMPLE",
            ExportType::Error => "ERROR",
        };
        let run_type = match self.run_type {
            RunType::Normal => "NORMAL",
            RunType::Debug => "DEBUG",
        };
        let mut pairs = vec![
            ("exportType", export_type.to_owned()),
            ("runType", run_type.to_owned()),
            ("queryFromTime", self.from.to_string()),
            ("queryToTime", self.to.to_string()),
        ];
        pairs.extend(self.session_id.iter().map(|id| ("sessionId", id.clone())));
        pairs.extend(self.operator_id.iter().map(|id| ("operatorId", id.clone())));
        pairs.extend(self.page_size.map(|size| ("pageSize", size.to_string())));
        pairs.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        pairs
    }
}

/// A page of entries.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<'a> {
    /// Whether the request succeeded.
    pub success: Flag,
    /// The entries, each as it came.
    #[serde(borrow, default)]
    pub data: Option<Vec<&'a RawValue>>,
    /// The page before.
    #[serde(default, deserialize_with = "page")]
    pub previous_page: Option<String>,
    /// The cursor of the next page; none: this is the last.
    #[serde(default, deserialize_with = "page")]
    pub next_page: Option<String>,
}

/// What an entry says. What no reference names is in the text that it was read from.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// When: milliseconds since 1970 as a text.
    pub error_time: Text,
    /// When, in words.
    pub timestamp: Text,
    /// The code of the error.
    pub error_code: Text,
    /// The error in words.
    pub error_message: Text,
    /// The event.
    #[serde(borrow)]
    pub payload: Option<&'a RawValue>,
    /// Mediation's own id of the event: `uuid|index`.
    pub event_id: Text,
    /// Mediation's own trace of it.
    pub trace_id: Text,
    /// The kind of the operator, such as `STREAMING_API_SOURCE` or `DEDUPLICATE`.
    pub operator_type: Text,
    /// Its name.
    pub operator_name: Text,
    /// Its id.
    pub operator_id: Text,
}

impl<'a> Page<'a> {
    /// Reads a page.
    pub fn read(body: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(body)
    }
}

impl<'a> Entry<'a> {
    /// Reads an entry; one that is no object says nothing.
    pub fn read(entry: &'a RawValue) -> Self {
        serde_json::from_str(entry.get()).unwrap_or_default()
    }
}

/// `json` on one line: without the white space between its parts, every digit as it was.
pub fn one_line(json: &str) -> Cow<'_, str> {
    if !json.contains(['\n', '\r']) {
        return Cow::Borrowed(json);
    }
    let (mut line, mut in_string, mut is_escaped) =
        (String::with_capacity(json.len()), false, false);
    for letter in json.chars() {
        if in_string {
            in_string = is_escaped || letter != '"';
            is_escaped = !is_escaped && letter == '\\';
        } else if letter.is_ascii_whitespace() {
            continue;
        } else {
            in_string = letter == '"';
        }
        line.push(letter);
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::super::form::shown;
    use super::super::form::tests::any_value;
    use super::*;
    use crate::clock::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn a_query_has_the_documented_pairs() {
        let at = |millis| ApiTime(Timestamp::from_millis(millis));
        let query = Query {
            export_type: ExportType::Error,
            run_type: RunType::Normal,
            from: at(1_763_337_600_000),
            to: at(1_763_423_999_000),
            session_id: Some("R-1".to_owned()),
            operator_id: Some("2".to_owned()),
            page_size: Some(500),
        };
        let pairs: Vec<String> =
            query.pairs(Some("c")).iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(pairs.join("\n"), @r"
        exportType=ERROR
        runType=NORMAL
        queryFromTime=2025-11-17T00:00:00+0000
        queryToTime=2025-11-17T23:59:59+0000
        sessionId=R-1
        operatorId=2
        pageSize=500
        cursor=c
        ");
    }

    #[test]
    fn the_documented_page_is_read_and_digits_stay() -> serde_json::Result<()> {
        let body = br#"{"success":true,"data":[{"errorTime":"1763705651123",
            "timestamp":"2025-11-21T06:14:11.123Z","errorCode":70000000,"errorMessage":"bad",
            "payload":{"Quantity":1.10000000000000000001},"eventId":"u|0","traceId":"t",
            "operatorType":"BILLING-RATING","operatorName":"n","operatorId":"3","new":1}, 7],
            "previousPage":"null","nextPage":"c2"}"#;
        let page = Page::read(body)?;
        assert_eq!(page.next_page.as_deref(), Some("c2"));
        let data = page.data.unwrap_or_default();
        let [first, second] = data.as_slice() else { return assert_len(data.len()) };
        let entry = Entry::read(first);
        assert_eq!(shown(entry.error_code.as_ref()), "70000000");
        assert_eq!(shown(entry.operator_type.as_ref()), "BILLING-RATING");
        let payload = entry.payload.map(RawValue::get);
        assert_eq!(payload, Some(r#"{"Quantity":1.10000000000000000001}"#));
        assert!(Entry::read(second).payload.is_none());
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "ends a test that cannot go on")]
    fn assert_len(found: usize) -> serde_json::Result<()> {
        assert_eq!(found, 2);
        Ok(())
    }

    proptest! {
        #[test]
        fn one_line_says_the_same(document in any_value()) {
            let pretty = serde_json::to_string_pretty(&document).unwrap_or_default();
            let line = one_line(&pretty);
            prop_assert!(!line.contains('\n'));
            let pretty = serde_json::from_str::<serde_json::Value>(&pretty).ok();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).ok(), pretty);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body: Vec<u8>, text: String) {
            let _ = Page::read(&body);
            let _ = one_line(&text);
        }
    }
}
