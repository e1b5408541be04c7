//! Answers of the meter APIs, and the form that each operation's errors have.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::route::Operation;

/// A JSON document with its status.
#[derive(Debug)]
pub(in super::super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Reply {
    /// Status 200.
    pub(super) fn ok(document: &impl Serialize) -> Self {
        Self::with(StatusCode::OK, document)
    }

    fn with(status: StatusCode, document: &impl Serialize) -> Self {
        Self { status, body: serde_json::to_vec(document).unwrap_or_default().into() }
    }

    pub(super) fn response(self) -> Response {
        let mut response = Response::new(self.body.into());
        *response.status_mut() = self.status;
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// Why a call is not done.
#[derive(Debug)]
pub(in super::super) struct Refused {
    status: StatusCode,
    code: String,
    message: String,
}

impl Refused {
    pub(in super::super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// Status 400.
    pub(in super::super) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Status 404, or 400 for operations of which no 404 is documented.
    pub(in super::super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// In the form that is documented for the operation and the status; where none is, in that of
    /// its neighbours.
    pub(super) fn reply(&self, operation: Operation) -> Reply {
        let Self { status, code, message } = self;
        let has_404 = matches!(operation, Operation::Status | Operation::Export);
        let status = match status.as_u16() {
            404 if !has_404 => StatusCode::BAD_REQUEST,
            _ => *status,
        };
        let document = match (status.as_u16(), operation) {
            (400, Operation::Stop) => {
                json!({"success": false, "error": {"code": code, "message": message},
                       "previousPage": null, "nextPage": null})
            }
            (400, _) | (401, Operation::Run) => {
                json!({"errors": [{"code": code, "message": message}], "success": false})
            }
            (413 | 429, _) => json!({"message": message}),
            (500..=599, _) => json!({"reasons": [{"code": code, "message": message}]}),
            _ => json!({"success": false, "error": {"code": code, "message": message}}),
        };
        Reply::with(status, &document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_form_of_their_operation() {
        let rows = [
            (Operation::Run, 400),
            (Operation::Run, 401),
            (Operation::Run, 404),
            (Operation::Stop, 400),
            (Operation::Debug, 401),
            (Operation::Status, 404),
            (Operation::Summary, 500),
            (Operation::Export, 429),
        ];
        let shown = rows.map(|(operation, status)| {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let reply = Refused::new(status, "7", "m").reply(operation);
            format!(
                "{operation:?} {} {}",
                reply.status.as_u16(),
                String::from_utf8_lossy(&reply.body)
            )
        });
        insta::assert_snapshot!(shown.join("\n"), @r#"
        Run 400 {"errors":[{"code":"7","message":"m"}],"success":false}
        Run 401 {"errors":[{"code":"7","message":"m"}],"success":false}
        Run 400 {"errors":[{"code":"7","message":"m"}],"success":false}
        Stop 400 {"error":{"code":"7","message":"m"},"nextPage":null,"previousPage":null,"success":false}
        Debug 401 {"error":{"code":"7","message":"m"},"success":false}
        Status 404 {"error":{"code":"7","message":"m"},"success":false}
        Summary 500 {"reasons":[{"code":"7","message":"m"}]}
        Export 429 {"message":"m"}
        "#);
    }
}
