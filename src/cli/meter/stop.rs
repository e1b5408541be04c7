//! `meterd meter stop`: asks a run to stop.

use super::super::failure::Failure;
use super::super::output::print;
use super::{MeterArguments, print_body, status};
use crate::control::run::{Stop, stop};
use crate::units::Period;

/// The arguments of `meterd meter stop`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    /// At once, which may lose data that the meter has under way
    #[arg(long)]
    force: bool,
    /// Follow the meter until it stands
    #[arg(long)]
    wait: bool,
    /// How often it is looked at meanwhile
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    interval: Period,
    /// Print the answer as JSON
    #[arg(long, conflicts_with = "wait")]
    json: bool,
}

/// Asks a run to stop.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let stopped = stop(&connected.client, &meter, arguments.force);
    let text = match connected.runtime.block_on(stopped)? {
        Stop::Accepted(said) if arguments.json => return print_body(&said.body),
        Stop::Before if arguments.json => return print(r#"{"success":true}"#),
        Stop::Accepted(_) => "the stop was accepted",
        Stop::Before => "it stops, or stands already",
    };
    print(&format!("meter {} version {}: {text}", meter.id, meter.version))?;
    if arguments.wait {
        status::follow_to_end(&connected, &meter, arguments.interval, print)?;
    }
    Ok(())
}
