//! Bytes that come in pieces become lines. The first byte is the longest line, the second says how
//! long the pieces are, the third whether syslog messages come and what becomes of the last line.

use std::sync::{Arc, LazyLock};

use meterd::chunk::{Content, SourceTag};
use meterd::dead_letter::Reason;
use meterd::intake::{Intake, intake};
use meterd::source::Context;
use meterd::source::ready::Ready;
use meterd::source::stream::{Assembler, LastLine};
use meterd::stop::Stopper;
use tokio::runtime::{Builder, Runtime};

use super::formats::source;

/// A line as it left the assembler, or why it is none.
type Line = Result<Vec<u8>, (Reason, u64, Vec<u8>)>;

struct Surroundings {
    plain: Context,
    syslog: Context,
    _runtime: Runtime,
}

static SURROUNDINGS: LazyLock<Surroundings> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let stopper = Stopper::new().expect("a pipe");
    let context = |tag: SourceTag| {
        let (intake, _) = intake(1 << 20, runtime.handle().clone());
        Context {
            agent: "agent".into(),
            tag: Arc::new(tag),
            intake,
            stop: stopper.signal(),
            vitals: Arc::default(),
            pulse: Arc::default(),
        }
    };
    let (plain, syslog) = (context(source("")), context(source("format = \"syslog\"")));
    Surroundings { plain, syslog, _runtime: runtime }
});

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Some((&[limit, step, flags], bytes)) = input.split_first_chunk::<3>() else { return };
    let is_syslog = flags & 1 == 1;
    // A length alone has up to nine digits: no message is shorter.
    let limit = (usize::from(limit) + 1).max(if is_syslog { 16 } else { 1 });
    let last = if flags & 2 == 2 { LastLine::Keep } else { LastLine::Refuse };
    let context = if is_syslog { &SURROUNDINGS.syslog } else { &SURROUNDINGS.plain };
    let found = assembled(context, limit, last, bytes, usize::from(step) + 1);
    let whole = assembled(context, limit, last, bytes, bytes.len().max(1));
    assert_eq!(found, whole, "lines depend on the borders of reads");
    if is_syslog {
        let longest = found.iter().flatten().map(Vec::len).max();
        assert!(longest.unwrap_or(0) <= limit + 1, "a message is longer than is allowed");
    } else {
        assert_eq!(found, split(limit, last, bytes), "lines are not what a split gives");
    }
}

/// What an assembler makes of `bytes` that come in pieces of `step` bytes.
fn assembled(
    context: &Context,
    limit: usize,
    last: LastLine,
    bytes: &[u8],
    step: usize,
) -> Vec<Line> {
    let intake: &Intake = &context.intake;
    let mut assembler = Assembler::new(context, "fuzz".to_owned(), limit);
    let (mut lines, mut position) = (Vec::new(), 0);
    let mut take = |ready: Ready| {
        assert_eq!(ready.chunk.first, position, "a position was left out");
        position = ready.chunk.end;
        let before = lines.len() as u64;
        match ready.chunk.content {
            Content::Lines(bytes) => {
                assert_eq!(bytes.last(), Some(&b'\n'), "a chunk ends within a line");
                lines.extend(bytes.split_inclusive(|it| *it == b'\n').map(|it| Ok(it.to_vec())));
            }
            Content::Fault(fault) => {
                lines.push(Err((fault.reason, fault.length, fault.excerpt)));
            }
        }
        assert_eq!(lines.len() as u64 - before, ready.chunk.lines, "lines are miscounted");
    };
    for piece in bytes.chunks(step) {
        let mut buffer = assembler.begin(intake);
        buffer.extend_from_slice(piece);
        while let Some(ready) = assembler.next(&mut buffer, intake) {
            take(ready);
        }
        assembler.end(&buffer);
    }
    if let Some(ready) = assembler.finish(last) {
        take(ready);
    }
    lines
}

/// The same in the simplest way.
fn split(limit: usize, last: LastLine, bytes: &[u8]) -> Vec<Line> {
    let fault = |reason, line: &[u8]| {
        let excerpt = line.iter().copied().take(4096).collect();
        Err((reason, line.len() as u64, excerpt))
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|whole| {
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let has_end = whole.len() > line.len();
        if line.len() > limit {
            fault(Reason::LineTooLong, line)
        } else if has_end || last == LastLine::Keep {
            Ok([line, b"\n"].concat())
        } else {
            fault(Reason::PartialLine, line)
        }
    });
    lines.collect()
}
