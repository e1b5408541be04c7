//! `meterd meter status`: where a meter stands.

use super::super::failure::Failure;
use super::super::output::{one_line, print};
use super::{Connected, MeterArguments, print_body};
use crate::control::status::{follow, status};
use crate::control::{MeterVersion, Said};
use crate::mediation::status::{Answer, RunStatus, Status};
use crate::units::Period;

/// The arguments of `meterd meter status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    /// Go on and print each change, until nothing more is to come
    #[arg(long)]
    watch: bool,
    /// How often it is looked at
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    interval: Period,
    /// Print the answer as JSON; with --watch one a line
    #[arg(long)]
    json: bool,
}

/// Prints where the meter stands.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let show = |said: &Said<Answer>| {
        let status = said.told.known().cloned().unwrap_or_default();
        if arguments.json { print_body(&said.body) } else { print(&line(&status)) }
    };
    if !arguments.watch {
        return show(&connected.runtime.block_on(status(&connected.client, &meter))?);
    }
    follow_until(&connected, &meter, arguments.interval, RunStatus::is_end, show).map(|_| ())
}

/// Prints each change by `tell`, until nothing more is to come of the run.
pub(super) fn follow_to_end(
    connected: &Connected,
    meter: &MeterVersion,
    interval: Period,
    tell: impl Fn(&str) -> Result<(), Failure>,
) -> Result<Status, Failure> {
    let show = |said: &Said<Answer>| tell(&line(&said.told.known().cloned().unwrap_or_default()));
    follow_until(connected, meter, interval, RunStatus::is_end, show)
}

/// Shows each change until `is_over`.
pub(super) fn follow_until(
    connected: &Connected,
    meter: &MeterVersion,
    interval: Period,
    is_over: impl Fn(&RunStatus) -> bool,
    show: impl Fn(&Said<Answer>) -> Result<(), Failure>,
) -> Result<Status, Failure> {
    let mut shown = Ok(());
    let tell = |said: &Said<Answer>| {
        if shown.is_ok() {
            shown = show(said);
        }
    };
    let followed = follow(&connected.client, meter, interval.duration(), is_over, tell);
    let ended = connected.runtime.block_on(followed)?;
    shown.map(|()| ended)
}

fn line(status: &Status) -> String {
    one_line(&status.to_string(), 100)
}
