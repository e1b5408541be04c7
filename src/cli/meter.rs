//! `meterd meter`: the meter APIs, a file a command.

pub mod audit;
pub mod export;
pub mod import;
pub mod run;
pub mod status;
pub mod stop;
pub mod summary;
pub mod test;
pub mod upload;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use super::log;
use super::output::print;
use super::run::runtime;
use super::runtime::Runtime;
use crate::agent::Settings;
use crate::config::{self, LoadFor};
use crate::control::{Client, MeterVersion};
use crate::meter::Meter;
use crate::units::Period;

/// The largest file that is sent.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Start a run; with a unique key it is started once, however often it is tried
    Run(run::Arguments),
    /// Stop a run
    Stop(stop::Arguments),
    /// Send events through a meter without a run, and show what comes out of each
    Test(test::Arguments),
    /// Upload a file for runs and tests
    Upload(upload::Arguments),
    /// Show where a meter stands
    Status(status::Arguments),
    /// Count what a meter took, put out and refused
    Summary(summary::Arguments),
    /// Fetch the whole definition of a meter
    Export(export::Arguments),
    /// Bring in an exported meter
    Import(import::Arguments),
    /// List events that a meter refused after they had been accepted
    Audit(audit::Arguments),
}

/// How Mediation is reached.
#[derive(Debug, clap::Args)]
pub struct TenantArguments {
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// How long each request is tried
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(super) timeout: Period,
}

/// Which meter is meant.
#[derive(Debug, clap::Args)]
pub struct MeterArguments {
    #[command(flatten)]
    pub(super) tenant: TenantArguments,
    /// The meter of the configuration
    #[arg(long, value_name = "NAME")]
    pub(super) meter: String,
}

/// A client, and what was configured.
pub(super) struct Connected {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    pub(super) settings: Settings,
    /// The meter that is meant, where one is.
    pub(super) meter: Option<Arc<Meter>>,
}

/// Runs the command.
pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Stop(arguments) => stop::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Upload(arguments) => upload::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Summary(arguments) => summary::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Audit(arguments) => audit::run(arguments),
    }
}

impl TenantArguments {
    fn connect(&self) -> Result<Connected, Failure> {
        let environment = config::process_environment();
        let loaded = config::load(LoadFor::Control, self.config.as_deref(), environment)?;
        log::start(&loaded.log);
        let settings = loaded.settings;
        let runtime = runtime()?;
        let client = {
            let _inside = runtime.enter();
            Client::connect(&settings.delivery.tenant, self.timeout.duration())?
        };
        Ok(Connected { runtime, client, settings, meter: None })
    }
}

impl MeterArguments {
    /// A client, and the meter, which has to have an id.
    pub(super) fn connect(&self) -> Result<(Connected, MeterVersion), Failure> {
        let mut connected = self.tenant.connect()?;
        let meter = Arc::clone(named(&self.meter, &connected.settings.meters)?);
        let version = version_of(&meter)?;
        connected.meter = Some(meter);
        Ok((connected, version))
    }
}

/// The meter of the configuration with this name.
pub(super) fn named<'m>(name: &str, meters: &'m [Arc<Meter>]) -> Result<&'m Arc<Meter>, Failure> {
    meters.iter().find(|meter| *meter.name == *name).ok_or_else(|| {
        let names: Vec<&str> = meters.iter().map(|meter| &*meter.name).collect();
        let message = format!("there is no meter {name:?}; there are {}", names.join(", "));
        Failure::new(Failure::CONFIGURATION, message)
    })
}

/// The meter as the APIs name it: it has to have an id.
pub(super) fn version_of(meter: &Meter) -> Result<MeterVersion, Failure> {
    let id = meter.id.clone().ok_or_else(|| {
        let (name, expected) = (&meter.name, "the meter's id in Mediation, such as 97");
        let message = format!(
            "configuration: 1 problem\n  meters.{name}.id: found nothing, expected {expected}"
        );
        Failure::new(Failure::CONFIGURATION, message)
    })?;
    Ok(MeterVersion { id, version: Arc::clone(&meter.version) })
}

/// Prints a JSON document as it came: every digit and every unknown field is in it.
fn print_body(body: &[u8]) -> Result<(), Failure> {
    print(String::from_utf8_lossy(body).trim_end())
}

/// The name and the bytes of a file.
fn read_file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((name.unwrap_or_default(), read_bytes(path)?))
}

/// The bytes of a file; `-` is standard input.
fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::of_io(Failure::USAGE, &format!("read {}", path.display()), &error)
    };
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{}: more than {FILE_BYTES_MAX} bytes", path.display());
        return Err(Failure::new(Failure::USAGE, message));
    }
    Ok(bytes)
}

/// `[PROCESSOR=]VALUE`. What has other characters than ids have is no processor but a path.
fn processor_and_value(text: &str) -> (Option<String>, &str) {
    let is_id = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    match text.split_once('=') {
        Some((processor, value)) if is_id(processor) => (Some(processor.to_owned()), value),
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_stands_before_the_equals_sign() {
        let check = |text: &str, processor: Option<&str>, value: &str| {
            let (found, rest) = processor_and_value(text);
            assert_eq!((found.as_deref(), rest), (processor, value), "{text}");
        };
        check("7=12", Some("7"), "12");
        check("12", None, "12");
        check("source-1=usage=2.csv", Some("source-1"), "usage=2.csv");
        check("./usage=2.csv", None, "./usage=2.csv");
        check("=x", None, "=x");
    }
}
