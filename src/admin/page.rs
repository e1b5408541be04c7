//! The page: one document, its style and its script, all of them in the program.
//!
//! It holds no number and no name; what it shows comes from `/events`. Nothing in it is made of text
//! that came from outside: the script writes text only, and the policy refuses markup.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// What the page may do: its own script and style, its own connections, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
pub(super) struct File {
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// The file of the page at `path`.
pub(super) fn file(path: &str) -> Option<File> {
    let (content_type, body) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page/page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("page/page.js")),
        "/charts.js" => ("text/javascript; charset=utf-8", include_str!("page/charts.js")),
        _ => return None,
    };
    Some(File { content_type, body: Bytes::from_static(body.as_bytes()) })
}

/// What every answer says to browsers.
pub(super) fn protect(headers: &mut HeaderMap) {
    const HEADERS: [(&str, &str); 7] = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ];
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
