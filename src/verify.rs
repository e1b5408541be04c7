//! Tries lines as they would be sent: read, mapped, routed, checked and given their ids by the parts
//! that the agent does it with. Nothing is sent, and nothing is stored.
//!
//! Each line is a group of its own to the packer, so what comes out is known to be of that line.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tokio::runtime::Handle;

use crate::body::{self, CutError};
use crate::chunk::{Chunk, Content, SourceTag, Stream};
use crate::clock::Timestamp;
use crate::dead_letter::DeadLetter;
use crate::group::{Group, PackedGroup, Slice};
use crate::intake::intake;
use crate::pack::packer::Packer;
use crate::position::Numbering;
use crate::source::listen::Inherited;
use crate::source::{self, Context, Running};
use crate::stop::Stopper;

/// Bytes that are read ahead of what is looked at.
const AHEAD_BYTES_MAX: u32 = 4 << 20;

/// Bodies are taken apart at once: how small they are is of no interest.
const COMPRESSION_LEVEL: u32 = 1;

/// What is read, and as what.
#[derive(Debug)]
pub struct Input {
    /// The source that the lines are taken for: its name is part of event ids.
    pub source: SourceTag,
    /// Where they are; of a kind that has an end.
    pub settings: source::Settings,
}

/// A record, and what would become of it.
#[derive(Debug)]
pub struct Finding {
    /// `path:offset` or `peer#line`, as dead letters have it.
    pub position: String,
    /// The number of its line in its file or input, from 1.
    pub line: u64,
    /// The record as it came; of a line that is too long, its beginning.
    pub record: Vec<u8>,
    /// What would become of it.
    pub fate: Fate,
}

/// What would become of a record.
#[derive(Debug)]
pub enum Fate {
    /// An event.
    Valid {
        /// The name of its meter.
        meter: Arc<str>,
        /// As it would go out.
        event: Vec<u8>,
    },
    /// A dead letter.
    Refused(Box<DeadLetter>),
    /// Nothing: it is no usage.
    Ignored,
}

/// How many records would become what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Events.
    pub valid: u64,
    /// Dead letters.
    pub refused: u64,
    /// Neither.
    pub ignored: u64,
}

/// Why not all of it was looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only a daemon fetches it, and none has.
    #[error(
        "the schema of the meter {meter} comes from Mediation and is not in the store: start meterd once, or \
         give it by schema.file"
    )]
    NoSchema {
        /// Its name.
        meter: Arc<str>,
    },
    /// It could not be read.
    #[error("read the lines")]
    Source(#[from] source::Error),
    /// The system gave no thread or pipe.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Compression failed.
    #[error("pack a line: {0}")]
    Pack(#[from] body::Error),
    /// What was packed could not be read again.
    #[error("unpack a line: {0}")]
    Unpack(#[from] CutError),
}

/// Looks at the lines of `inputs`, one after the other, as the agent called `agent` would, and `tell`s
/// each finding; ends early when that answers false. To be called outside of the `runtime`.
pub fn run(
    agent: &Arc<str>,
    inputs: Vec<Input>,
    runtime: &Handle,
    tell: &mut dyn FnMut(&Finding) -> bool,
) -> Result<Summary, Error> {
    let mut look = Look {
        packer: Packer::new(COMPRESSION_LEVEL),
        stream: None,
        line: 0,
        summary: Summary::default(),
        is_over: false,
        tell,
    };
    for input in inputs {
        if let Some(meter) = input.source.destination.without_schema() {
            return Err(Error::NoSchema { meter: Arc::clone(&meter.name) });
        }
        if !look.is_over {
            look.input(agent, input, runtime)?;
        }
    }
    Ok(look.summary)
}

struct Look<'t> {
    packer: Packer,
    /// Of the line that was looked at last.
    stream: Option<Arc<Stream>>,
    /// Its number in there.
    line: u64,
    summary: Summary,
    /// Nobody wants to hear more.
    is_over: bool,
    tell: &'t mut dyn FnMut(&Finding) -> bool,
}

impl Look<'_> {
    /// Reads as the source does: on a thread of its own, through an intake.
    fn input(&mut self, agent: &Arc<str>, input: Input, runtime: &Handle) -> Result<(), Error> {
        let system = |what| move |source| Error::System { what, source };
        let mut stopper = Stopper::new().map_err(system("stop signal"))?;
        let (intake, outlet) = intake(AHEAD_BYTES_MAX, runtime.clone());
        let context = Context {
            agent: Arc::clone(agent),
            tag: Arc::new(input.source),
            intake,
            stop: stopper.signal(),
            vitals: Arc::default(),
            pulse: Arc::default(),
        };
        // Without cursors: whatever was sent before, it is read from its beginning.
        let no_store = Path::new("");
        let prepared =
            source::prepare(&input.settings, Vec::new(), no_store, &mut Inherited::default())?;
        let runtime = runtime.clone();
        let read = move || match prepared.into_running(context) {
            Running::Blocking(read) => read(),
            Running::Async(read) => runtime.block_on(read),
        };
        let reader = std::thread::Builder::new().name("source".to_owned()).spawn(read);
        let reader = reader.map_err(system("a thread"))?;
        let mut looked = Ok(());
        for chunk in &outlet.chunks {
            // Behind the end the rest is taken and dropped, so that the source can end.
            if looked.is_ok() && !self.is_over {
                looked = self.chunk(chunk);
                if looked.is_err() || self.is_over {
                    stopper.abandon();
                }
            }
        }
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        looked?;
        Ok(read?)
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), Error> {
        chunk.learn_header();
        if !self.stream.as_ref().is_some_and(|known| Arc::ptr_eq(known, &chunk.stream)) {
            self.stream = Some(Arc::clone(&chunk.stream));
            self.line = 0;
        }
        let chunk = Arc::new(chunk);
        let (mut first, mut at) = (chunk.first, 0);
        let Content::Lines(lines) = &chunk.content else {
            let (chunk, end) = (Arc::clone(&chunk), chunk.end);
            return self.look(&Slice { chunk, range: 0..0, first, end, lines: 1 });
        };
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let range = at..at + line.len();
            at = range.end;
            let end = first
                + match chunk.stream.numbering {
                    Numbering::ByteOffset => line.len() as u64,
                    Numbering::LineNumber => 1,
                };
            self.look(&Slice { chunk: Arc::clone(&chunk), range, first, end, lines: 1 })?;
            if self.is_over {
                break;
            }
            first = end;
        }
        Ok(())
    }

    /// Looks at a line.
    fn look(&mut self, line: &Slice) -> Result<(), Error> {
        self.line += 1;
        let destination = line.chunk.stream.source.destination.clone();
        let group = Group { number: 0, destination, slices: vec![line.clone()] };
        let packed = self.packer.pack(&group, Timestamp::now())?;
        let PackedGroup { batches, dead_letters, tallies, .. } = packed;
        let ignored = tallies.iter().map(|tally| tally.ignored).sum();
        for batch in batches {
            let mut events = Vec::new();
            body::each(&batch.body, batch.payload_bytes, |event| events.push(event.to_vec()))?;
            for event in events {
                self.summary.valid += 1;
                let meter = Arc::clone(&batch.meter);
                self.found(line, Fate::Valid { meter, event });
            }
        }
        for letter in dead_letters {
            self.summary.refused += 1;
            self.found(line, Fate::Refused(Box::new(letter)));
        }
        for _ in 0..ignored {
            self.summary.ignored += 1;
            self.found(line, Fate::Ignored);
        }
        Ok(())
    }

    fn found(&mut self, line: &Slice, fate: Fate) {
        let (position, record) = match &fate {
            Fate::Refused(letter) => (letter.position.clone(), letter.event.clone()),
            Fate::Valid { .. } | Fate::Ignored => {
                let lines: &[u8] = match &line.chunk.content {
                    Content::Lines(lines) => lines,
                    Content::Fault(_) => &[],
                };
                let record = lines.get(line.range.clone()).unwrap_or_default();
                let record = record.strip_suffix(b"\n").unwrap_or(record);
                let record = record.strip_suffix(b"\r").unwrap_or(record).to_vec();
                (line.chunk.stream.describe(line.first), record)
            }
        };
        let finding = Finding { position, line: self.line, record, fate };
        self.is_over |= !(self.tell)(&finding);
    }
}
