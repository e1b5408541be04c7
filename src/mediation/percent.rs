//! Percent-encoding, RFC 3986: for one segment of a path and one value of a form.

use std::fmt::Write;

/// `text` with everything but letters, digits and `-._~` as `%XX`.
pub fn encoded(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_unreserved_characters_are_encoded() {
        assert_eq!(encoded("a-b=c&ü/.~"), "a-b%3Dc%26%C3%BC%2F.~");
    }
}
