//! Strict JSON, one pass, nothing built: a cursor over the bytes of one line.
//!
//! Strict means RFC 8259 and more: no key twice in one object, no surrogate alone, no nesting
//! beyond [`DEPTH_MAX`]. Numbers are looked at, never converted. Whether the line is UTF-8 is
//! left to the caller, who is told when there is something to check.

use super::text;
use crate::dead_letter::Reason;

/// How deep objects and arrays may be nested, the event itself counted.
pub const DEPTH_MAX: u32 = 64;

/// From how many keys on one object's keys are sorted instead of compared pair by pair.
const PAIRWISE_KEYS_MAX: usize = 16;

/// What is wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The class of the mistake.
    pub reason: Reason,
    /// The index of the byte that is wrong.
    pub at: usize,
    /// What was expected or found, in words.
    pub what: &'static str,
}

/// A string in the line: the indices of its inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// Behind the opening quote.
    pub start: usize,
    /// At the closing quote.
    pub end: usize,
    /// Whether it holds escapes.
    pub escaped: bool,
}

impl Text {
    /// The bytes between the quotes.
    pub fn inside(self, line: &[u8]) -> &[u8] {
        line.get(self.start..self.end).unwrap_or_default()
    }

    /// What the string says.
    pub fn decode(self, line: &[u8]) -> String {
        text::unescape(self.inside(line))
    }
}

/// A place in a line that is being read.
#[derive(Debug)]
pub struct Scan<'l> {
    line: &'l [u8],
    /// The index of the next byte.
    pub at: usize,
    /// Whether bytes outside ASCII may have been passed.
    pub beyond_ascii: bool,
    /// Where a pair of surrogate escapes was passed last.
    pub surrogates_at: Option<usize>,
}

impl<'l> Scan<'l> {
    /// At the beginning of `line`.
    pub fn new(line: &'l [u8]) -> Self {
        Self { line, at: 0, beyond_ascii: false, surrogates_at: None }
    }

    /// The next byte; 0, which is never right outside a string, at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.line.get(self.at).copied().unwrap_or(0)
    }

    /// Skips blanks, tabs and line ends.
    #[inline]
    pub fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Whether the bytes ahead are `expected`; if so, goes behind them.
    #[inline]
    pub fn eat(&mut self, expected: &[u8]) -> bool {
        let ahead = self.line.get(self.at..).and_then(|ahead| ahead.get(..expected.len()));
        let found = ahead.is_some_and(|ahead| is_same(ahead, expected));
        if found {
            self.at += expected.len();
        }
        found
    }

    /// A mistake in the syntax at this place.
    #[cold]
    pub fn syntax(&self, what: &'static str) -> Fault {
        Fault { reason: Reason::InvalidJson, at: self.at, what }
    }

    /// Reads a string; the next byte is its opening quote.
    #[inline]
    pub fn string(&mut self) -> Result<Text, Fault> {
        let start = self.at + 1;
        let mut from = start;
        let mut escaped = false;
        loop {
            let stop = text::plain_run(self.line, from);
            self.beyond_ascii |= stop.beyond_ascii;
            self.at = stop.at;
            match self.line.get(stop.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { start, end: stop.at, escaped });
                }
                Some(b'\\') => {
                    let (character, next) = text::escape(self.line, stop.at)
                        .ok_or_else(|| self.syntax("a valid escape was expected"))?;
                    if character > '\u{ffff}' {
                        self.surrogates_at = Some(stop.at);
                    }
                    escaped = true;
                    from = next;
                }
                Some(b'\n') | None => return Err(self.syntax("the string has no end")),
                Some(_) => return Err(self.syntax("a control character must be escaped")),
            }
        }
    }

    /// Reads a key and the colon behind it.
    pub fn key(&mut self) -> Result<Text, Fault> {
        if self.peek() != b'"' {
            return Err(self.syntax("a key in quotes was expected"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != b':' {
            return Err(self.syntax("a colon was expected"));
        }
        self.at += 1;
        Ok(key)
    }

    /// Reads a number; tells whether it has neither fraction nor exponent.
    #[inline]
    pub fn number(&mut self) -> Result<bool, Fault> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.peek() == b'.' {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            is_integer = false;
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(is_integer)
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax("a digit was expected")) } else { Ok(()) }
    }

    /// Reads `true`, `false` or `null`, whichever begins with the next byte.
    pub fn word(&mut self) -> Result<(), Fault> {
        if self.eat(b"true") || self.eat(b"false") || self.eat(b"null") {
            Ok(())
        } else {
            Err(self.syntax("a value was expected"))
        }
    }

    /// Reads any value at nesting `depth`. `keys` is scratch space, left as it was.
    pub fn value(&mut self, depth: u32, keys: &mut Vec<Text>) -> Result<(), Fault> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b'{' => self.object(depth + 1, keys),
            b'[' => self.array(depth + 1, keys),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: u32, keys: &mut Vec<Text>) -> Result<(), Fault> {
        self.open(depth)?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        let first_key = keys.len();
        loop {
            keys.push(self.key()?);
            self.skip_space();
            self.value(depth, keys)?;
            if self.closes(b'}')? {
                break;
            }
        }
        let repeated = repeated_key(self.line, keys.get_mut(first_key..).unwrap_or_default());
        keys.truncate(first_key);
        match repeated {
            Some(key) => Err(duplicate(key)),
            None => Ok(()),
        }
    }

    fn array(&mut self, depth: u32, keys: &mut Vec<Text>) -> Result<(), Fault> {
        self.open(depth)?;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth, keys)?;
            if self.closes(b']')? {
                return Ok(());
            }
        }
    }

    fn open(&mut self, depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            let what = "objects and arrays are nested deeper than 64 levels";
            return Err(Fault { reason: Reason::TooDeep, at: self.at, what });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// Behind a member or element: reads `close` (true), or a comma and the space behind it.
    #[inline]
    pub fn closes(&mut self, close: u8) -> Result<bool, Fault> {
        self.skip_space();
        let next = self.peek();
        if next != close && next != b',' {
            return Err(self.syntax("a comma or the closing bracket was expected"));
        }
        self.at += 1;
        if next == close {
            return Ok(true);
        }
        self.skip_space();
        Ok(false)
    }
}

/// Whether both, which are of one length, have the same bytes. Most keys are as long as two words, which
/// may overlap: a call of `memcmp` takes longer than that.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    match other.len() {
        8..=16 => {
            one.first_chunk::<8>() == other.first_chunk()
                && one.last_chunk::<8>() == other.last_chunk()
        }
        17..=32 => {
            one.first_chunk::<16>() == other.first_chunk()
                && one.last_chunk::<16>() == other.last_chunk()
        }
        _ => one == other,
    }
}

/// A repeated key as a fault.
#[cold]
pub fn duplicate(key: Text) -> Fault {
    let what = "the key stands twice in one object";
    Fault { reason: Reason::DuplicateKey, at: key.start, what }
}

/// Finds a key that stands twice in `keys`, which may be reordered.
pub fn repeated_key(line: &[u8], keys: &mut [Text]) -> Option<Text> {
    if keys.len() < 2 {
        return None;
    }
    if keys.iter().any(|key| key.escaped) {
        // Escaped and plain spellings of one key are one key.
        let mut decoded: Vec<(String, Text)> =
            keys.iter().map(|key| (key.decode(line), *key)).collect();
        decoded.sort_by(|(left, _), (right, _)| left.cmp(right));
        return decoded.windows(2).find_map(|pair| match pair {
            [(left, _), (right, key)] if left == right => Some(*key),
            _ => None,
        });
    }
    if keys.len() <= PAIRWISE_KEYS_MAX {
        return keys.iter().enumerate().find_map(|(index, key)| {
            let mut earlier = keys.iter().take(index);
            earlier.any(|other| other.inside(line) == key.inside(line)).then_some(*key)
        });
    }
    keys.sort_unstable_by(|left, right| left.inside(line).cmp(right.inside(line)));
    keys.windows(2).find_map(|pair| match pair {
        [left, right] if left.inside(line) == right.inside(line) => Some(*right),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
