//! The inside of JSON strings: where one ends, and what its escapes mean.
//!
//! Finding the end is the hottest loop of the agent. It looks at 16 bytes a step.

use wide::i8x16;

/// Where a run of plain string bytes stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Index of the first byte that is a quote, a backslash or a control character; the length
    /// of the input when there is none.
    pub at: usize,
    /// Whether bytes outside ASCII may stand before it. May be true without need, never false
    /// without right.
    pub beyond_ascii: bool,
}

/// Finds the first quote, backslash or control character of `bytes` at or behind `from`.
#[inline]
pub fn plain_run(bytes: &[u8], from: usize) -> Stop {
    let mut at = from;
    let mut beyond_ascii = false;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let (special, high) = masks(block);
        if special != 0 {
            let length = special.trailing_zeros();
            beyond_ascii |= high & ((1 << length) - 1) != 0;
            return Stop { at: at + length as usize, beyond_ascii };
        }
        beyond_ascii |= high != 0;
        at += 16;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        beyond_ascii |= byte >= 0x80;
        at += 1;
    }
    Stop { at, beyond_ascii }
}

/// Bit `i` of the first mask: byte `i` ends a plain run. Of the second: it is not ASCII.
#[inline]
fn masks(block: &[u8; 16]) -> (u32, u32) {
    let bytes = i8x16::new(block.map(u8::cast_signed));
    let quotes = bytes.simd_eq(i8x16::splat(b'"'.cast_signed()));
    let slashes = bytes.simd_eq(i8x16::splat(b'\\'.cast_signed()));
    // As signed numbers, bytes outside ASCII are below every control character.
    let low = bytes.simd_lt(i8x16::splat(0x20)).to_bitmask();
    let high = bytes.to_bitmask();
    ((quotes | slashes).to_bitmask() | (low & !high), high)
}

/// Reads the escape whose backslash is at `at`: the character and the index behind it.
///
/// A high surrogate must be followed by a low one; a surrogate alone is no character.
pub fn escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let plain = match bytes.get(at + 1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(bytes, at),
        _ => return None,
    };
    Some((plain, at + 2))
}

fn unicode_escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let first = four_digits(bytes, at + 2)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, at + 6));
    }
    if bytes.get(at + 6..at + 8)? != b"\\u" {
        return None;
    }
    let second = four_digits(bytes, at + 8)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Some((char::from_u32(code)?, at + 12))
}

fn four_digits(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .iter()
        .try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
}

/// The text of a string whose inside (between the quotes) is `inside`, known to be valid.
pub fn unescape(inside: &[u8]) -> String {
    let mut text = Vec::with_capacity(inside.len());
    let mut at = 0;
    while let Some(&byte) = inside.get(at) {
        if let (b'\\', Some((decoded, next))) = (byte, escape(inside, at)) {
            text.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            at = next;
        } else {
            text.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_stops_at_quote_backslash_and_control_characters() {
        for stopper in [b'"', b'\\', b'\n', 0, 0x1f] {
            for length in 0..40 {
                let mut bytes = vec![b'a'; length];
                bytes.push(stopper);
                bytes.extend_from_slice(&[b'b'; 20]);
                assert_eq!(plain_run(&bytes, 0), Stop { at: length, beyond_ascii: false });
            }
        }
    }

    #[test]
    fn escapes_have_their_meaning() {
        assert_eq!(
            unescape(br#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#),
            "a\"\\/\u{8}\u{c}\n\r\té😀z"
        );
    }

    #[test]
    fn a_surrogate_alone_is_no_character() {
        for bad in [r"\ud800", r"\ud800x", r"\ud800\n", r"\ud800\ud800", r"\udc00", r"\u12g4"] {
            assert_eq!(escape(bad.as_bytes(), 0), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_run_is_what_a_byte_by_byte_search_finds(bytes: Vec<u8>, from in 0_usize..64) {
            let from = from.min(bytes.len());
            let stop = plain_run(&bytes, from);
            let found = bytes[from..]
                .iter()
                .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
                .map_or(bytes.len(), |position| from + position);
            prop_assert_eq!(stop.at, found);
            prop_assert_eq!(stop.beyond_ascii, !bytes[from..found].is_ascii());
        }
    }
}
