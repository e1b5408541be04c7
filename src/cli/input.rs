//! The files or standard input that a command reads, and the source or meter that they are for.

use std::path::PathBuf;
use std::sync::Arc;

use super::failure::Failure;
use crate::agent::{self, Source};
use crate::mapping::{Mapping, Reference};
use crate::routing::Destination;
use crate::source::{self, once, stdin};
use crate::units::ByteSize;

/// What to read, and as what.
#[derive(Debug, clap::Args)]
pub(super) struct InputArguments {
    /// Files, plain or compressed with gzip, zstd or xz; `-` or nothing: standard input
    pub(super) files: Vec<PathBuf>,
    /// The meter of the configuration that the events are for; each line is one, in JSON
    #[arg(long, value_name = "NAME", required_unless_present = "source")]
    meter: Option<String>,
    /// The source of the configuration that the lines are read as: its meter or meters, its name in
    /// the store, its format, selection and fields
    #[arg(long, value_name = "NAME", conflicts_with = "meter")]
    source: Option<String>,
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The longest line, without its end
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    line_bytes_max: ByteSize,
}

/// How the lines are read.
struct Reading {
    /// Of the configured source that they are read as.
    name: Option<Arc<str>>,
    destination: Destination,
    mapping: Option<Arc<Mapping>>,
}

impl InputArguments {
    /// What the configuration says of the source or meter that was named.
    fn reading(&self, settings: &agent::Settings) -> Result<Reading, Failure> {
        let unknown = |what: &str, name: &str, known: Vec<&str>| {
            let message = format!("there is no {what} {name:?}; there are {}", known.join(", "));
            Failure::new(Failure::CONFIGURATION, message)
        };
        if let Some(name) = &self.source {
            let source = settings.sources.iter().find(|source| *source.name == **name);
            let source = source.ok_or_else(|| {
                let known = settings.sources.iter().map(|source| &*source.name).collect();
                unknown("source", name, known)
            })?;
            let (destination, mapping) = (source.destination.clone(), source.mapping.clone());
            return Ok(Reading { name: Some(Arc::clone(&source.name)), destination, mapping });
        }
        let name = self.meter.as_deref().unwrap_or_default();
        let meter = settings.meters.iter().find(|meter| *meter.name == *name).ok_or_else(|| {
            let known = settings.meters.iter().map(|meter| &*meter.name).collect();
            unknown("meter", name, known)
        })?;
        Ok(Reading { name: None, destination: Arc::clone(meter).into(), mapping: None })
    }

    /// Files are one source, standard input another.
    pub(super) fn sources(&self, settings: &agent::Settings) -> Result<Vec<Source>, Failure> {
        let reading = self.reading(settings)?;
        let line_bytes_max = usize::try_from(self.line_bytes_max.0).unwrap_or(usize::MAX);
        let is_stdin = |path: &&PathBuf| path.as_os_str() == "-";
        let files: Vec<PathBuf> =
            self.files.iter().filter(|path| !is_stdin(path)).cloned().collect();
        for file in &files {
            // Before anything is done: one wrong name must not leave half of the work done.
            std::fs::File::open(file).map_err(|error| {
                Failure::new(Failure::PERMISSION, format!("{}: {error}", file.display()))
            })?;
        }
        let mut sources = Vec::new();
        let mut add = |name: &str, settings| {
            let name = reading.name.clone().unwrap_or_else(|| name.into());
            let (destination, mapping) = (reading.destination.clone(), reading.mapping.clone());
            // A person runs it and waits: dead letters are the report, a hold would be in the way.
            sources.push(Source { name, destination, mapping, settings, breaker: None });
        };
        if !files.is_empty() {
            let settings = once::Settings { inputs: files, line_bytes_max };
            add("send", source::Settings::Once(settings));
        }
        if self.files.is_empty() || self.files.iter().any(|path| is_stdin(&path)) {
            let mapped = reading.mapping.iter().flat_map(|mapping| mapping.references());
            let routed = reading.destination.routing().map(|routing| &routing.route.from);
            if mapped.chain(routed).any(|place| matches!(place, Reference::File(_))) {
                let message = "the source takes values from paths: standard input has none";
                return Err(Failure::new(Failure::USAGE, message));
            }
            add("stdin", source::Settings::Stdin(stdin::Settings { line_bytes_max }));
        }
        Ok(sources)
    }
}
