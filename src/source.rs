//! Where lines come from. Every source cuts whole lines, keeps their bytes, and hands them to
//! the intake; it knows nothing of events.

pub mod file;
pub mod stdin;
pub mod tcp;

use std::sync::Arc;

use crate::chunk::SourceTag;
use crate::intake::Intake;
use crate::stop::Stop;

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
}

/// The settings of one source, by its `type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// `type = "file"`.
    File(file::Settings),
    /// `type = "stdin"`.
    Stdin(stdin::Settings),
    /// `type = "tcp"`.
    Tcp(tcp::Settings),
}
