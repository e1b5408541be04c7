//! Reads forms with files in them, RFC 7578, strictly.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use memchr::memmem;

use super::reply::Refused;

/// A form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) fields: BTreeMap<String, String>,
    pub(super) file: Option<File>,
}

/// The part with the name `file`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Form {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = content_type.and_then(|value| value.split_once("boundary="));
        let boundary = boundary.map(|(_, boundary)| boundary.trim_matches('"'));
        let read = boundary.and_then(|boundary| Self::parse(boundary, body));
        read.ok_or_else(|| Refused::bad("70000000", "The body is no form."))
    }

    fn parse(boundary: &str, body: &[u8]) -> Option<Self> {
        let mut form = Self::default();
        let line = format!("--{boundary}");
        let separator = format!("\r\n{line}");
        let mut rest = body.strip_prefix(line.as_bytes())?;
        while !rest.starts_with(b"--") {
            rest = rest.strip_prefix(b"\r\n")?;
            let head_end = memmem::find(rest, b"\r\n\r\n")?;
            let (head, content) =
                (std::str::from_utf8(&rest[..head_end]).ok()?, &rest[head_end + 4..]);
            let end = memmem::find(content, separator.as_bytes())?;
            let (bytes, behind) = (&content[..end], &content[end + separator.len()..]);
            let name = parameter(head, "name")?;
            match parameter(head, "filename") {
                Some(file) if name == "file" => {
                    form.file = Some(File { name: file, bytes: bytes.to_vec() });
                }
                Some(_) => return None,
                None => {
                    let value = String::from_utf8(bytes.to_vec()).ok()?;
                    form.fields.insert(name, value);
                }
            }
            rest = behind;
        }
        Some(form)
    }

    /// The file, which must be there.
    pub(super) fn take_file(&mut self) -> Result<File, Refused> {
        self.file.take().ok_or_else(|| Refused::bad("70000000", "file is missing."))
    }
}

/// `NAME="VALUE"` of a Content-Disposition.
fn parameter(head: &str, name: &str) -> Option<String> {
    let lines = head.split("\r\n");
    let mut values = lines.filter_map(|line| line.strip_prefix("Content-Disposition: form-data;"));
    let parameters = values.next()?.split(';');
    let found =
        parameters.filter_map(|part| part.trim().split_once('=')).find(|(key, _)| *key == name);
    Some(found?.1.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_form_is_read() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"globalId\"\r\n\r\n8a\r\n\
            --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"m.json\"\r\n\
            Content-Type: application/json\r\n\r\n{\r\n}\r\n--b--\r\n";
        let form = Form::parse("b", body);
        let file = File { name: "m.json".to_owned(), bytes: b"{\r\n}".to_vec() };
        let fields = BTreeMap::from([("globalId".to_owned(), "8a".to_owned())]);
        assert_eq!(form, Some(Form { fields, file: Some(file) }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(body: Vec<u8>) {
            let _ = Form::parse("b", &body);
            let _ = Form::parse("b", &[b"--b\r\n".as_slice(), &body].concat());
        }
    }
}
