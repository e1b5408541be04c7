//! Which operation a path names.

use axum::http::Method;

/// An operation of the meter APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Operation {
    Run,
    Stop,
    Debug,
    Status,
    Summary,
    Export,
    Import,
    Files,
    Audit,
}

/// An operation with the meter that it is for; empty texts where it is for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Route {
    pub(super) operation: Operation,
    pub(super) id: String,
    pub(super) version: String,
}

impl Operation {
    /// As faults and statistics name it.
    pub(in super::super) const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Stop => "stop",
            Self::Debug => "debug",
            Self::Status => "status",
            Self::Summary => "summary",
            Self::Export => "export",
            Self::Import => "import",
            Self::Files => "files",
            Self::Audit => "audit",
        }
    }

    /// Whether its body is a form.
    pub(super) const fn is_form(self) -> bool {
        matches!(self, Self::Import | Self::Files)
    }
}

impl Route {
    /// The operation at `path`.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix("/meters/")?.split('/').collect();
        let (operation, id, version) = match (method.as_str(), segments.as_slice()) {
            ("POST", ["run", id, version]) => (Operation::Run, *id, *version),
            ("POST", ["stop", id, version]) => (Operation::Stop, *id, *version),
            ("POST", ["debug", id, version]) => (Operation::Debug, *id, *version),
            ("POST", ["import"]) => (Operation::Import, "", ""),
            ("POST", ["files"]) => (Operation::Files, "", ""),
            ("POST", [id, "summary"]) => (Operation::Summary, *id, ""),
            ("GET", ["export", id]) => (Operation::Export, *id, ""),
            ("GET", [id, version, "runStatus"]) => (Operation::Status, *id, *version),
            ("GET", [id, "auditTrail", "entries"]) => (Operation::Audit, *id, ""),
            _ => return None,
        };
        Some(Self { operation, id: id.to_owned(), version: version.to_owned() })
    }
}
