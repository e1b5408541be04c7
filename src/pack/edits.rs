//! The values of one event that go out in other bytes than they came in.
//!
//! Everything between them is copied as it stands. The buffers are used again for every event.

/// Replacements in one line, in the order of their places.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<Edit>,
    /// What stands in their places, one behind the other.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Edit {
    /// The value in the line.
    start: usize,
    end: usize,
    /// What replaces it, in `Edits::text`.
    text_start: usize,
    text_end: usize,
}

impl Edits {
    /// Forgets all of them.
    #[inline]
    pub fn clear(&mut self) {
        self.edits.clear();
        self.text.clear();
    }

    /// Replaces the bytes `start..end` of the line, which are behind those replaced before, by
    /// what `write` appends. If it fails, nothing is replaced.
    pub fn replace<E>(
        &mut self,
        (start, end): (usize, usize),
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let text_start = self.text.len();
        write(&mut self.text)?;
        self.edits.push(Edit { start, end, text_start, text_end: self.text.len() });
        Ok(())
    }

    /// Appends the bytes `start..end` of `line` as they go out. No value stands half in them.
    #[inline]
    pub fn copy(&self, line: &[u8], (start, end): (usize, usize), out: &mut Vec<u8>) {
        if self.edits.is_empty() {
            out.extend_from_slice(line.get(start..end).unwrap_or_default());
        } else {
            self.copy_edited(line, (start, end), out);
        }
    }

    fn copy_edited(&self, line: &[u8], (start, end): (usize, usize), out: &mut Vec<u8>) {
        let mut at = start;
        let ahead = self.edits.iter().skip_while(|edit| edit.start < start);
        for edit in ahead.take_while(|edit| edit.end <= end) {
            out.extend_from_slice(line.get(at..edit.start).unwrap_or_default());
            out.extend_from_slice(
                self.text.get(edit.text_start..edit.text_end).unwrap_or_default(),
            );
            at = edit.end;
        }
        out.extend_from_slice(line.get(at..end).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_replaced_stays_as_it_came() {
        let mut edits = Edits::default();
        let mut replace = |place, text: &str| {
            let written = edits.replace(place, |out| {
                out.extend_from_slice(text.as_bytes());
                if text.is_empty() { Err(()) } else { Ok(()) }
            });
            assert_eq!(written.is_err(), text.is_empty());
        };
        replace((2, 4), "two");
        replace((4, 5), "");
        replace((6, 7), "6");
        let copy = |edits: &Edits, start, end| {
            let mut out = Vec::new();
            edits.copy(b"0123456789", (start, end), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(copy(&edits, 0, 10), "01two456789");
        assert_eq!(copy(&edits, 2, 4), "two");
        assert_eq!(copy(&edits, 4, 7), "456");
        assert_eq!(copy(&edits, 7, 9), "78");
        edits.clear();
        assert_eq!(copy(&edits, 0, 10), "0123456789");
    }
}
