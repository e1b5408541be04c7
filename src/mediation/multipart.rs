//! Forms with a file in them, RFC 7578: what imports and uploads send.

/// A form under way.
#[derive(Debug)]
pub struct Form {
    boundary: String,
    body: Vec<u8>,
}

/// A form that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The value of `Content-Type`, which names the boundary.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Form {
    /// An empty form. `boundary` must not come in any of its parts: a random one does not.
    pub fn new(boundary: u128) -> Self {
        Self { boundary: format!("meterd-{boundary:032x}"), body: Vec::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.part(&format!("name=\"{}\"", quoted(name)), "", value.as_bytes());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, name: &str, file_name: &str, content_type: &str, bytes: &[u8]) -> Self {
        let names = format!("name=\"{}\"; filename=\"{}\"", quoted(name), quoted(file_name));
        self.part(&names, &format!("Content-Type: {content_type}\r\n"), bytes);
        self
    }

    /// The whole form.
    pub fn finish(mut self) -> Encoded {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        let content_type = format!("multipart/form-data; boundary={}", self.boundary);
        Encoded { content_type, body: self.body }
    }

    fn part(&mut self, names: &str, headers: &str, bytes: &[u8]) {
        let boundary = &self.boundary;
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; {names}\r\n{headers}\r\n");
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
    }
}

/// `text` between quotes, as browsers write it.
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_parts_between_boundaries() {
        let form = Form::new(7)
            .field("globalId", "8a8a")
            .file("file", "a\"b\n.json", "application/json", b"{}")
            .finish();
        let boundary = "meterd-00000000000000000000000000000007";
        assert_eq!(form.content_type, format!("multipart/form-data; boundary={boundary}"));
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"globalId\"\r\n\r\n8a8a\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"a%22b%0A.json\"\r\nContent-Type: application/json\r\n\r\n{{}}\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(form.body).ok(), Some(expected));
    }
}
