//! Where log lines go: standard error, as text or JSON. Both can be changed while the process runs.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Lets events of a level pass. A layer of its own: a filter that is part of another layer cannot
/// be replaced together with it.
type Sieve = Layered<reload::Layer<LevelFilter, Registry>, Registry>;

type Writer = Box<dyn Layer<Sieve> + Send + Sync>;

/// Changes how the log is written.
pub(super) struct Switch {
    level: reload::Handle<LevelFilter, Registry>,
    writer: reload::Handle<Writer, Sieve>,
}

/// Starts logging for the rest of the process.
pub(super) fn start(log: &Log) -> Switch {
    let (sieve, level) = reload::Layer::new(LevelFilter::from_level(log.level));
    let (layer, writer) = reload::Layer::new(self::writer(log.format));
    // Fails when a log was started before in this process, as tests do.
    let _ = tracing_subscriber::registry().with(sieve).with(layer).try_init();
    Switch { level, writer }
}

impl Switch {
    /// Writes it as `log` says from now on.
    pub(super) fn set(&self, log: &Log) {
        // Both fail when nobody logs: there is nothing to change then.
        let _ = self.level.reload(LevelFilter::from_level(log.level));
        let _ = self.writer.reload(writer(log.format));
    }
}

fn writer(format: LogFormat) -> Writer {
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}
