use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::dead_letter::Reason;
use crate::source::testing::{Bench, Event};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("compressed");
    encoder.finish().expect("compressed")
}

struct Folder {
    root: TempDir,
    inputs: Vec<PathBuf>,
    cursors: Vec<Cursor>,
    line_bytes_max: usize,
}

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let write = |(name, bytes): &(&str, &[u8])| {
            let path = root.path().join(name);
            fs::write(&path, bytes).expect("written");
            path
        };
        let inputs = files.iter().map(write).collect();
        Self { root, inputs, cursors: Vec::new(), line_bytes_max: 1 << 20 }
    }

    fn settings(&self) -> Settings {
        Settings { inputs: self.inputs.clone(), line_bytes_max: self.line_bytes_max }
    }

    /// A run of which only the first `chunks_max` chunks are committed.
    fn run(&mut self, chunks_max: usize) -> (Result<Summary, Error>, Vec<Event>) {
        let bench = Bench::new();
        let result = run(&self.settings(), &bench.context, self.cursors.clone());
        let mut events = Vec::new();
        for chunk in bench.outlet.chunks.try_iter().take(chunks_max) {
            events.extend(Event::of(&chunk));
            let tail = chunk.tail_at(chunk.end);
            let (origin, offset) = (chunk.stream.origin, chunk.end);
            let file = *chunk.file.expect("a file mark");
            self.cursors.push(Cursor { file, origin, offset, tail });
        }
        (result, events)
    }

    fn texts(&mut self) -> Vec<String> {
        let (result, events) = self.run(usize::MAX);
        assert!(result.expect("read").is_complete);
        events.into_iter().map(|event| event.text).collect()
    }
}

#[test]
fn plain_and_compressed_files_are_read_to_their_end() {
    let members = [gzip(b"d\ne"), gzip(b"f\ng")].concat();
    let mut folder = Folder::with(&[("a", b"a\nb\nc"), ("empty", b""), ("b.gz", &members)]);
    let (summary, events) = folder.run(usize::MAX);
    let expected = Summary { inputs: 3, lines: 6, bytes: 11, is_complete: true };
    assert_eq!(summary.expect("read"), expected);
    let texts: Vec<_> = events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(texts, ["a", "b", "c", "d", "ef", "g"]);
    assert!(folder.texts().is_empty(), "a second run finds nothing new");
}

#[test]
fn a_file_that_is_given_twice_is_read_once() {
    for text in [b"a\nb".to_vec(), gzip(b"a\nb")] {
        let mut folder = Folder::with(&[("a", &text)]);
        folder.inputs.push(folder.inputs[0].clone());
        assert_eq!(folder.texts(), ["a", "b"]);
    }
}

#[test]
fn a_file_that_has_grown_is_read_from_where_it_ended() {
    let mut folder = Folder::with(&[("a", b"a\nb")]);
    assert_eq!(folder.texts(), ["a", "b"]);
    fs::write(folder.root.path().join("a"), b"a\nb\nc\n").expect("written");
    assert_eq!(folder.texts(), ["", "c"]);
}

#[test]
fn another_content_under_the_same_name_is_read_whole() {
    for (before, after) in [
        (b"a\nb\n".to_vec(), b"c\nd\ne\n".to_vec()),
        (gzip(b"a\nb\n"), gzip(b"c\nd\ne\n")),
        (gzip(b"a\nb\nlonger\n"), gzip(b"c\nd\ne\n")),
    ] {
        let mut folder = Folder::with(&[("a", &before)]);
        folder.texts();
        fs::write(folder.root.path().join("a"), after).expect("written");
        assert_eq!(folder.texts(), ["c", "d", "e"]);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut cut = gzip(&b"some lines\n".repeat(100_000));
    cut.truncate(cut.len() / 2);
    let mut folder = Folder::with(&[("cut.gz", &cut)]);
    let (result, _) = folder.run(usize::MAX);
    assert!(matches!(result, Err(Error::Read { .. })), "{result:?}");
    folder.inputs[0] = folder.root.path().to_owned();
    assert!(matches!(folder.run(0).0, Err(Error::NotAFile { .. })));
    folder.inputs[0].push("nowhere");
    assert!(matches!(folder.run(0).0, Err(Error::Open { .. })));
}

#[test]
fn lines_that_are_too_long_are_dead_letters_also_at_the_end() {
    for compress in [false, true] {
        let text = b"ab\nabcdef\nc\nabcdefg";
        let text = if compress { gzip(text) } else { text.to_vec() };
        let mut folder = Folder::with(&[("a", &text)]);
        folder.line_bytes_max = 5;
        let (_, events) = folder.run(usize::MAX);
        let fault = |at, length, text| Event::fault(at, Reason::LineTooLong, length, text);
        let expected = [
            Event::line(0, "ab"),
            fault(3, 6, "abcdef"),
            Event::line(10, "c"),
            fault(12, 7, "abcdefg"),
        ];
        assert_eq!(events, expected);
        assert!(folder.texts().is_empty());
    }
}

#[test]
fn a_stop_ends_a_run_early_and_says_so() {
    let mut bench = Bench::new();
    let folder = Folder::with(&[("a", b"a\n"), ("b", b"b\n")]);
    bench.stopper.drain();
    let summary =
        run(&Settings { line_bytes_max: 100, ..folder.settings() }, &bench.context, Vec::new())
            .expect("read");
    assert!(!summary.is_complete);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_run_that_is_killed_anywhere_continues_where_it_was(
        kills in prop::collection::vec(0_usize..3, 1..6),
        compress in any::<bool>(),
        lines in 1_usize..60_000,
        ends in any::<bool>(),
    ) {
        let expected: Vec<String> = (0..lines).map(|number| format!("line {number}")).collect();
        let mut text = expected.join("\n").into_bytes();
        if ends {
            text.push(b'\n');
        }
        let text = if compress { gzip(&text) } else { text };
        let mut folder = Folder::with(&[("a", &text)]);
        let mut events = Vec::new();
        for chunks_max in kills {
            events.extend(folder.run(chunks_max).1);
        }
        events.extend(folder.run(usize::MAX).1);
        let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
        prop_assert!(positions.is_sorted());
        let texts: Vec<String> = events.into_iter().map(|event| event.text).collect();
        prop_assert_eq!(texts, expected);
        prop_assert_eq!(folder.cursors.iter().map(|cursor| cursor.origin).collect::<std::collections::BTreeSet<_>>().len(), 1);
    }
}
