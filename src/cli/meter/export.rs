//! `meterd meter export`: the whole definition of a meter.

use std::path::PathBuf;

use super::super::failure::Failure;
use super::super::output::{Sink, print};
use super::MeterArguments;
use crate::control::export::export;
use crate::mediation::export::{EventSchema, Meter};
use crate::mediation::form::{Loose, shown};

/// The arguments of `meterd meter export`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    /// A new file to write to, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As it always is: the definition is JSON
    #[arg(long)]
    json: bool,
}

/// Writes the definition as it came; of a file, tells what is in it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let said = connected.runtime.block_on(export(&connected.client, &meter))?;
    let mut sink = Sink::open(arguments.output.as_deref())?;
    let to_file = arguments.output.is_some();
    let is_read = sink.write(|out| {
        out.write_all(&said.body)?;
        // A file gets what came, to the byte; a terminal is left on a line of its own.
        if to_file { Ok(()) } else { out.write_all(b"\n") }
    })?;
    if is_read {
        sink.finish()?;
    }
    match &arguments.output {
        Some(path) if !arguments.json => {
            print(&format!("{}\nwritten to {}", text(&said.told), path.display()))
        }
        _ => Ok(()),
    }
}

fn text(meter: &Meter) -> String {
    let definition = meter.type_definition.as_ref().and_then(Loose::known);
    let source = definition.and_then(|definition| definition.source_type.as_ref());
    let operators: Vec<String> = meter
        .tasks()
        .map(|task| format!("{} {}", shown(task.id.as_ref()), shown(task.operator_type.as_ref())))
        .collect();
    let fields: Vec<&str> =
        meter.event_schemas().flat_map(EventSchema::fields).map(|(name, _)| name).collect();
    format!(
        "meter {}, {}, version {}\nsource    {}\noperators {}\nfields    {}",
        shown(meter.name.as_ref()),
        shown(meter.kind.as_ref()),
        shown(meter.latest_version.as_ref()),
        shown(source),
        operators.join(", "),
        fields.join(", ")
    )
}
