//! Every form in which Mediation says that something is wrong.
//!
//! | status | form |
//! |---|---|
//! | 400 of most, 401 of run | `{"errors":[{"code","message"}],"success"}` |
//! | 400 of stop, 401 and 404 of others | `{"success":false,"data"?,"error":{"code","message","detail"?}}` |
//! | 500 | `{"reasons":[{"code","message"}]}` |
//! | 401, 404, 413, 429 of ingestion | `{"message"}` |
//! | the token endpoint | `{"error","error_description"}` |

use serde_json::{Map, Value};

/// The code of an event that came before: Mediation has it, and drops the repeat.
pub const DUPLICATE_EVENT: &str = "70001204";

/// The longest text that is kept of an answer.
const WORDS_CHARS_MAX: usize = 300;

/// So many errors of one answer are kept.
const ERRORS_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Error {
    /// Its code, which comes as a text or a number.
    pub code: Option<String>,
    /// In words, without control characters and of bounded length.
    pub message: Option<String>,
    /// More words.
    pub detail: Option<String>,
}

/// All that an answer says to be wrong, in its order; nothing for a body in none of the forms.
pub fn errors(answer: &Map<String, Value>) -> Vec<Error> {
    let listed = ["errors", "reasons"]
        .into_iter()
        .filter_map(|key| answer.get(key)?.as_array())
        .find(|list| !list.is_empty());
    let mut errors: Vec<Error> = match (listed, answer.get("error")) {
        (Some(list), _) => list.iter().take(ERRORS_MAX).map(error).collect(),
        (None, Some(nested)) if !nested.is_null() => vec![error(nested)],
        _ => Vec::new(),
    };
    // What stands beside the list or the object stands in for what is not in it.
    if errors.is_empty() {
        errors.push(Error::default());
    }
    if let Some(first) = errors.first_mut() {
        fill(&mut first.code, || field(answer, "code"));
        fill(&mut first.message, || field(answer, "message"));
        fill(&mut first.message, || field(answer, "error_description"));
    }
    errors.retain(|error| *error != Error::default());
    errors
}

fn fill(place: &mut Option<String>, read: impl FnOnce() -> Option<String>) {
    if place.is_none() {
        *place = read();
    }
}

fn error(value: &Value) -> Error {
    match value {
        Value::Object(object) => Error {
            code: field(object, "code"),
            message: field(object, "message"),
            detail: field(object, "detail"),
        },
        // `"error": "invalid_client"`.
        other => Error { code: text(other), ..Error::default() },
    }
}

fn field(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(text)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(clean(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `text` as it may stand in a log line.
pub fn clean(text: &str) -> String {
    text.chars()
        .take(WORDS_CHARS_MAX)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

impl std::fmt::Display for Error {
    /// `MESSAGE: DETAIL (code CODE)`, or as much of it as is known.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = match (&self.message, &self.detail) {
            (Some(message), Some(detail)) => Some(format!("{message}: {detail}")),
            (Some(words), None) | (None, Some(words)) => Some(words.clone()),
            (None, None) => None,
        };
        match (words, &self.code) {
            (Some(words), Some(code)) => write!(out, "{words} (code {code})"),
            (Some(words), None) => out.write_str(&words),
            (None, Some(code)) => write!(out, "code {code}"),
            (None, None) => out.write_str("no explanation"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::any_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_with_all_that_it_lists() {
        let check = |body: &str, expected: &[&str]| {
            let answer = serde_json::from_str(body).unwrap_or_default();
            let found: Vec<String> = errors(&answer).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{body}");
        };
        check(
            r#"{"errors":[{"code":"1","message":"a"},{"code":2,"message":"b"}],"success":false}"#,
            &["a (code 1)", "b (code 2)"],
        );
        check(
            r#"{"success":false,"data":{"id":"1"},"error":{"code":"70002103","message":"no","detail":"97"}}"#,
            &["no: 97 (code 70002103)"],
        );
        check(
            r#"{"reasons":[{"code":"ObjectNotFound","message":"gone"}]}"#,
            &["gone (code ObjectNotFound)"],
        );
        check(r#"{"message":"Unauthorized."}"#, &["Unauthorized."]);
        check(
            r#"{"error":"invalid_client","error_description":"wrong"}"#,
            &["wrong (code invalid_client)"],
        );
        check(r#"{"errors":[],"error":null,"success":true}"#, &[]);
        check("{}", &[]);
    }

    proptest! {
        #[test]
        fn any_object_is_read(
            document in any_object(&["errors", "error", "reasons", "message", "code"]),
        ) {
            for error in document.as_object().map(errors).unwrap_or_default() {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
