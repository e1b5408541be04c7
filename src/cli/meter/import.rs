//! `meterd meter import`: brings in an exported meter.

use std::path::PathBuf;

use super::super::failure::Failure;
use super::super::output::{one_line, print};
use super::{TenantArguments, print_body, read_file};
use crate::control::import::import;
use crate::mediation::form::shown;
use crate::mediation::import::Imported;

/// The arguments of `meterd meter import`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    tenant: TenantArguments,
    /// The exported meter
    file: PathBuf,
    /// Update the meter with this global id, or make a new one under it
    #[arg(long, value_name = "ID")]
    global_id: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Brings the meter in and prints the ids that the configuration wants.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (name, bytes) = read_file(&arguments.file)?;
    let connected = arguments.tenant.connect()?;
    let global_id = arguments.global_id.as_deref();
    let imported = import(&connected.client, (&name, &bytes), global_id);
    let said = connected.runtime.block_on(imported)?;
    if arguments.json {
        return print_body(&said.body);
    }
    print(&text(&said.told.known().cloned().unwrap_or_default()))
}

fn text(meter: &Imported) -> String {
    let status = shown(meter.latest_version_run_status.as_ref());
    let rows = [
        ("name", shown(meter.name.as_ref())),
        ("id", shown(meter.id.as_ref())),
        ("global id", shown(meter.global_id.as_ref())),
        ("upload url", shown(meter.unique_upload_url.as_ref())),
        ("version", shown(meter.latest_version.as_ref())),
        ("status", status),
    ];
    let rows = rows.map(|(name, value)| format!("{name:10}  {}", one_line(&value, 200)));
    rows.join("\n")
}
