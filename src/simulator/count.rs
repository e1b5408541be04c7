//! Counts the elements of a JSON document at memory speed, without parsing it.
//!
//! The scanner knows strings, escapes and nesting, nothing else: of a well-formed document it
//! counts what a parser counts; of a malformed one it only promises to end, and to refuse what
//! is not balanced. It is fed in blocks, so that a document is never whole in memory.
//!
//! Inside of the outermost container 64 bytes are looked at in one step, unless a backslash is among
//! them: which bytes are brackets, commas or inside of strings is told by the bits of numbers.

use wide::i8x16;

/// Bytes that are looked at in one step: one bit of a number for each.
const STEP_BYTES: usize = 64;

/// Why a document cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// The first byte that is no white space begins neither an object nor an array.
    #[error("the body is neither an object nor an array")]
    NoContainer,
    /// Something stands behind the document.
    #[error("the body goes on behind its end")]
    Trailing,
    /// The document ended inside of a string, an object or an array.
    #[error("the body ends too early")]
    Truncated,
}

/// Where the scanner stands, seen from the outermost container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before it.
    Before,
    /// Behind its `[`: a `]` here means that there are no elements.
    First,
    /// Inside of it.
    Inside,
    /// Behind it.
    Behind,
}

/// A structural scan under way.
#[derive(Debug)]
pub(super) struct Scanner {
    place: Place,
    is_array: bool,
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    elements: u64,
}

impl Scanner {
    /// A scanner before the first byte.
    pub(super) const fn new() -> Self {
        Self {
            place: Place::Before,
            is_array: false,
            depth: 0,
            in_string: false,
            is_escaped: false,
            elements: 0,
        }
    }

    /// Takes the next block of the document.
    pub(super) fn feed(&mut self, block: &[u8]) -> Result<(), Malformed> {
        let mut rest = block;
        while let Some(step) = rest.first_chunk::<STEP_BYTES>() {
            if self.place != Place::Inside || !self.take_step(step) {
                step.iter().try_for_each(|byte| self.take_byte(*byte))?;
            }
            rest = rest.get(STEP_BYTES..).unwrap_or_default();
        }
        rest.iter().try_for_each(|byte| self.take_byte(*byte))
    }

    /// The number of elements, once the document is whole: those of an array, or one object.
    pub(super) const fn finish(&self) -> Result<u64, Malformed> {
        match self.place {
            Place::Before => Err(Malformed::NoContainer),
            Place::First | Place::Inside => Err(Malformed::Truncated),
            Place::Behind if self.is_array => Ok(self.elements),
            Place::Behind => Ok(1),
        }
    }

    fn take_byte(&mut self, byte: u8) -> Result<(), Malformed> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.place {
            Place::Before | Place::First | Place::Behind if is_space => {}
            Place::Before => {
                self.is_array = byte == b'[';
                (self.place, self.depth) = match byte {
                    b'[' => (Place::First, 1),
                    b'{' => (Place::Inside, 1),
                    _ => return Err(Malformed::NoContainer),
                };
            }
            Place::First if byte == b']' => self.place = Place::Behind,
            Place::First => {
                (self.place, self.elements) = (Place::Inside, 1);
                self.take_inner_byte(byte);
            }
            Place::Inside => self.take_inner_byte(byte),
            Place::Behind => return Err(Malformed::Trailing),
        }
        Ok(())
    }

    fn take_inner_byte(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_string => self.is_escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.place = Place::Behind;
                }
            }
            b',' => self.elements += u64::from(self.depth == 1),
            _ => {}
        }
    }

    /// Takes what lies inside of the container. False, and nothing is taken: a byte has to be looked at
    /// by itself.
    fn take_step(&mut self, step: &[u8; STEP_BYTES]) -> bool {
        let marks = Marks::of(step);
        if marks.backslashes != 0 || self.is_escaped {
            return false;
        }
        // An opening quote is inside, a closing one is not.
        let inside = parities(marks.quotes) ^ if self.in_string { u64::MAX } else { 0 };
        let (opening, closing) = (marks.opening & !inside, marks.closing & !inside);
        let mut commas = marks.commas & !inside;
        let (mut depth, mut elements) = (self.depth, self.elements);
        let mut brackets = opening | closing;
        while brackets != 0 {
            let bracket = brackets & brackets.wrapping_neg();
            let before = bracket - 1;
            if depth == 1 {
                elements += u64::from((commas & before).count_ones());
            }
            if opening & bracket != 0 {
                depth += 1;
            } else if depth == 1 {
                return false;
            } else {
                depth -= 1;
            }
            commas &= !before;
            brackets &= !bracket;
        }
        if depth == 1 {
            elements += u64::from(commas.count_ones());
        }
        (self.depth, self.elements) = (depth, elements);
        self.in_string = inside >> (STEP_BYTES - 1) != 0;
        true
    }
}

/// Which of 64 bytes are what: bit `i` stands for byte `i`.
#[derive(Debug, Default)]
struct Marks {
    quotes: u64,
    backslashes: u64,
    /// Brackets of both forms.
    opening: u64,
    closing: u64,
    commas: u64,
}

impl Marks {
    #[inline]
    fn of(step: &[u8; STEP_BYTES]) -> Self {
        let mut marks = Self::default();
        for (number, bytes) in step.as_chunks::<16>().0.iter().enumerate() {
            let bytes = i8x16::new(bytes.map(u8::cast_signed));
            let are = |bytes: i8x16, byte: u8| {
                let same = bytes.simd_eq(i8x16::splat(byte.cast_signed())).to_bitmask();
                u64::from(same) << (16 * number)
            };
            // Square and curly brackets differ in this bit.
            let folded = bytes | i8x16::splat(0x20);
            marks.quotes |= are(bytes, b'"');
            marks.backslashes |= are(bytes, b'\\');
            marks.opening |= are(folded, b'{');
            marks.closing |= are(folded, b'}');
            marks.commas |= are(bytes, b',');
        }
        marks
    }
}

/// Bit `i`: whether an odd number of the bits up to `i` is set.
#[inline]
fn parities(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(bits, |bits, shift| bits ^ bits << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn count(document: &[u8], block_bytes: usize) -> Result<u64, Malformed> {
        let mut scanner = Scanner::new();
        for block in document.chunks(block_bytes) {
            scanner.feed(block)?;
        }
        scanner.finish()
    }

    fn check(document: &str, expected: Result<u64, Malformed>) {
        for block_bytes in [1, 2, 3, 7, 64, 1024] {
            assert_eq!(count(document.as_bytes(), block_bytes), expected, "{document}");
        }
    }

    #[test]
    fn elements_of_the_outermost_array_are_counted() {
        check("[]", Ok(0));
        check(" [ \n ] ", Ok(0));
        check("[{}]", Ok(1));
        check(r#"[{"a":[1,2,{"b":","}]},{"c":"]}"}]"#, Ok(2));
        check(r#"[1,"x",null]"#, Ok(3));
        check(r#"{"a":1,"b":[1,2]}"#, Ok(1));
    }

    #[test]
    fn quotes_and_brackets_inside_of_strings_do_not_count() {
        check(r#"[{"a":"\"},{"},{"b":"\\"},{"c":"\\\""}]"#, Ok(3));
        check(r#"{"a\"}":"[,"}"#, Ok(1));
    }

    #[test]
    fn what_is_not_balanced_is_refused() {
        check("", Err(Malformed::NoContainer));
        check("17", Err(Malformed::NoContainer));
        check("[{}", Err(Malformed::Truncated));
        check(r#"[{"a":"]}"#, Err(Malformed::Truncated));
        check("[{}] {}", Err(Malformed::Trailing));
        check("{}\n{}", Err(Malformed::Trailing));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"[\\"{}\[\], a-zé\n]{0,60}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(r#"[\\"{}\[\],a-z]{0,6}"#, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_scanner_counts_what_a_parser_counts(
            elements in prop::collection::vec(any_value(), 0..40),
            pretty in any::<bool>(),
            block_bytes in 1_usize..200,
        ) {
            let document = Value::from(elements.clone());
            let text = if pretty {
                serde_json::to_string_pretty(&document)
            } else {
                serde_json::to_string(&document)
            };
            let text = text.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(count(text.as_bytes(), block_bytes), Ok(elements.len() as u64));
        }

        #[test]
        fn any_bytes_come_to_an_end(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(br#"[]{},"\ "#.to_vec())], 0..300,
            ),
            block_bytes in 1_usize..200,
        ) {
            // By blocks of any size as byte by byte.
            prop_assert_eq!(count(&bytes, block_bytes), count(&bytes, 1));
        }
    }
}
