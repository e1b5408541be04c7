//! What the tests of the sources share: a context whose chunks are collected, and a splitter
//! that is too simple to be wrong.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::chunk::{Chunk, Content, SourceTag};
use crate::dead_letter::Reason;
use crate::intake::{Outlet, intake};
use crate::mapping::Mapping;
use crate::meter::Meter;
use crate::source::Context;
use crate::stop::Stopper;

/// A source's surroundings.
pub(super) struct Bench {
    pub(super) context: Context,
    pub(super) outlet: Outlet,
    pub(super) stopper: Stopper,
    pub(super) runtime: Runtime,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::of(tag(None))
    }

    /// With a source that has a mapping.
    pub(super) fn with_mapping(mapping: Arc<Mapping>) -> Self {
        Self::of(tag(Some(mapping)))
    }

    fn of(tag: Arc<SourceTag>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let stopper = Stopper::new().expect("a pipe");
        let (intake, outlet) = intake(64 << 20, runtime.handle().clone());
        let context = Context {
            agent: "agent".into(),
            tag,
            intake,
            stop: stopper.signal(),
            vitals: Arc::default(),
            pulse: Arc::default(),
        };
        Self { context, outlet, stopper, runtime }
    }
}

/// A source called `source`.
pub(super) fn tag(mapping: Option<Arc<Mapping>>) -> Arc<SourceTag> {
    let meter = Meter::new("meter", String::new());
    Arc::new(SourceTag { mapping, ..SourceTag::new("source", Arc::new(meter)) })
}

/// One line as it left a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) position: u64,
    pub(super) fault: Option<(Reason, u64)>,
    pub(super) text: String,
}

impl Event {
    pub(super) fn line(position: u64, text: &str) -> Self {
        Self { position, fault: None, text: text.into() }
    }

    pub(super) fn fault(position: u64, reason: Reason, length: u64, text: &str) -> Self {
        Self { position, fault: Some((reason, length)), text: text.into() }
    }

    /// The lines of `chunk`; checks that its positions agree with them.
    pub(super) fn of(chunk: &Chunk) -> Vec<Self> {
        let by_byte = chunk.file.is_some();
        let mut position = chunk.first;
        let mut events = Vec::new();
        match &chunk.content {
            Content::Fault(fault) => {
                let text = String::from_utf8_lossy(&fault.excerpt);
                events.push(Self::fault(position, fault.reason, fault.length, &text));
                assert!(chunk.end > chunk.first);
                return events;
            }
            Content::Lines(lines) => {
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    let text = String::from_utf8_lossy(line.strip_suffix(b"\n").expect("an end"));
                    events.push(Self::line(position, &text));
                    position += if by_byte { line.len() as u64 } else { 1 };
                }
            }
        }
        assert!(position == chunk.end || (by_byte && position == chunk.end + 1));
        events
    }
}

/// The lines of `text`, numbered, the slow way.
pub(super) fn naive(text: &[u8], line_bytes_max: usize) -> Vec<Event> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    let numbered = (0..).zip(lines);
    numbered
        .map(|(number, line)| {
            if line.len() > line_bytes_max {
                Event::fault(number, Reason::LineTooLong, line.len() as u64, line)
            } else {
                Event::line(number, line)
            }
        })
        .collect()
}
