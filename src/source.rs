//! Where lines come from. Every source cuts whole lines, keeps their bytes, and hands them to
//! the intake; it knows nothing of events.
//!
//! A source never changes a line, never waits for anything but input, its breaker, room in the
//! intake and the stop signal, and never moves a cursor: the committer does, with the lines.

pub mod connection;
pub mod file;
pub mod http;
pub mod lines;
pub mod listen;
pub mod once;
mod prepare;
pub mod ready;
pub mod stdin;
pub mod stream;
pub mod tcp;
pub mod unix;

use std::sync::Arc;

use crate::chunk::{Buffer, SourceTag};
use crate::intake::Intake;
use crate::stop::Stop;
use crate::telemetry::{Pulse, Vitals};
pub use prepare::{Error, Prepared, Running, check, prepare};

/// What every source gets from the agent.
#[derive(Debug, Clone)]
pub struct Context {
    /// The name of the agent: part of every origin.
    pub agent: Arc<str>,
    /// Name, meter and counters of the source.
    pub tag: Arc<SourceTag>,
    /// Where its lines go.
    pub intake: Intake,
    /// When it has to end.
    pub stop: Stop,
    /// Whether the store is full, among other things.
    pub vitals: Arc<Vitals>,
    /// Whether it makes progress.
    pub pulse: Arc<Pulse>,
}

/// The settings of one source, by its `type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// `type = "file"`.
    File(file::Settings),
    /// Files that are read to their end: the inputs of `meterd send`.
    Once(once::Settings),
    /// `type = "stdin"`.
    Stdin(stdin::Settings),
    /// `type = "tcp"`.
    Tcp(tcp::Settings),
    /// `type = "http"`.
    Http(http::Settings),
    /// `type = "unix"`.
    Unix(unix::Settings),
}

impl Settings {
    /// Whether it is standard input.
    pub fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin(_))
    }

    /// The name of the place where it listens, when it does.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Tcp(settings) => Some(settings.listen.to_string()),
            Self::Http(settings) => Some(settings.listen.to_string()),
            Self::Unix(settings) => Some(settings.place.to_string()),
            Self::File(_) | Self::Once(_) | Self::Stdin(_) => None,
        }
    }
}

/// A buffer that is mostly empty goes back to its pool and a small one takes its place: the
/// intake is bounded by the bytes of lines, so few lines must not keep a large buffer.
fn right_sized(buffer: Buffer) -> Buffer {
    if buffer.len() < buffer.capacity() / 4 { Buffer::from(buffer.to_vec()) } else { buffer }
}

#[cfg(test)]
mod testing;
