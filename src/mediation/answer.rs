//! Reads the body of an answer, whatever it is.
//!
//! Mediation answers in five forms: `{"success","message"}`, `{"errors":[{"code","message"}],
//! "success":false}`, `{"message"}`, `{"reasons":[{"code","message"}]}` and
//! `{"success":false,"error":{"code","message"}}`, with codes as strings or numbers. The token
//! endpoint adds `{"error","error_description"}`. All of them are read; a body that is none of
//! them says nothing, and that is no failure.

use serde_json::Value;

use super::error::{Error, errors};

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// The `success` flag, where there is one.
    pub success: Option<bool>,
    /// The first code.
    pub code: Option<String>,
    /// The first message, without control characters and of bounded length.
    pub message: Option<String>,
}

impl Words {
    /// Reads `body`; never fails.
    pub fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
            return Self::default();
        };
        let success = answer.get("success").and_then(Value::as_bool);
        let Error { code, message, .. } = errors(&answer).into_iter().next().unwrap_or_default();
        Self { success, code, message }
    }
}

impl std::fmt::Display for Words {
    /// `MESSAGE (code CODE)`, or as much of it as is known.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.message, &self.code) {
            (Some(message), Some(code)) => write!(out, "{message} (code {code})"),
            (Some(message), None) => out.write_str(message),
            (None, Some(code)) => write!(out, "code {code}"),
            (None, None) => out.write_str("no explanation"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(body: &str, success: Option<bool>, code: Option<&str>, message: Option<&str>) {
        let expected =
            Words { success, code: code.map(str::to_owned), message: message.map(str::to_owned) };
        assert_eq!(Words::read(body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn every_documented_form_is_read() {
        check(r#"{"success":true,"message":"ok"}"#, Some(true), None, Some("ok"));
        check(
            r#"{"errors":[{"code":"70000000","message":"bad"}],"success":false}"#,
            Some(false),
            Some("70000000"),
            Some("bad"),
        );
        check(r#"{"message":"Too many requests."}"#, None, None, Some("Too many requests."));
        check(
            r#"{"reasons":[{"code":70002005,"message":"slow"}]}"#,
            None,
            Some("70002005"),
            Some("slow"),
        );
        check(
            r#"{"success":false,"error":{"code":70002103,"message":"no meter"}}"#,
            Some(false),
            Some("70002103"),
            Some("no meter"),
        );
        check(
            r#"{"error":"invalid_client","error_description":"wrong"}"#,
            None,
            Some("invalid_client"),
            Some("wrong"),
        );
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for body in ["", "<html>", "[1]", "{\"success\":tr", "null", "{\"errors\":{}}"] {
            check(body, None, None, None);
        }
    }

    #[test]
    fn control_characters_and_long_texts_do_not_reach_a_log_line() {
        let body = format!("{{\"message\":\"a\\n\\u001b[31m{}\"}}", "x".repeat(1000));
        let message = Words::read(body.as_bytes()).message.unwrap_or_default();
        assert!(message.starts_with("a  [31mx") && message.len() == 300);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(body: Vec<u8>) {
            let _ = Words::read(&body).to_string();
        }
    }
}
