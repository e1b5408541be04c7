//! `meterd simulate`: a Mediation on loopback.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::simulator::{
    self, Assumptions, Fault, Limits, MeterSettings, Mode, Settings, Simulator, WhenStopped,
};

/// What `--help` says about faults.
const FAULTS_HELP: &str = "\
Faults are written KIND[=VALUE][,retry-after=SECONDS][,code=CODE][:PROBABILITY][xCOUNT][@METER]:
  status=503         answers so; nothing is accepted, except with 2xx
  unauthorized       answers 401, nothing is accepted
  no-success         answers 200 with success: false, nothing is accepted
  reset-before       closes the connection before the body is taken, nothing is accepted
  reset-after        accepts, then closes the connection without an answer
  half-answer        accepts, then closes the connection in the middle of the answer
  hang=30s           accepts, then waits so long before it answers
  gateway=504        accepts, and something between answers so
  rubbish            accepts, answers 200 with bytes that mean nothing
  slow=200ms         takes so long before it accepts anything; goes with other faults
  token-status=500   answers so at the token endpoint
METER is a global id, or api/OPERATION for run, stop, debug, status, summary, export, import,
files and audit; without it, everything is struck.
Examples: status=429,retry-after=2:0.1  reset-afterx3@8a8a  slow=200ms  hang=30sx1@api/run

While it serves: GET /simulator/stats, GET /simulator/exchanges, GET /simulator/events/METER,
POST /simulator/faults with a JSON array of faults, POST /simulator/reset.";

/// A Mediation on loopback: OAuth, ingestion with limits, books of every event, and faults.
// Without `Debug`: it holds a secret.
#[derive(clap::Args)]
#[command(after_help = FAULTS_HELP)]
pub struct Args {
    /// The loopback address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8780")]
    listen: SocketAddr,
    /// The type of tenant whose limits hold.
    #[arg(long, value_name = "NAME", default_value = "production",
          value_parser = PossibleValuesParser::new(Limits::TENANTS))]
    tenant: String,
    /// Events in one request, instead of the tenant's limit.
    #[arg(long, value_name = "N")]
    rows_max: Option<u32>,
    /// Bytes of a body before compression, instead of the tenant's limit.
    #[arg(long, value_name = "N")]
    payload_bytes_max: Option<usize>,
    /// Requests within a minute, instead of the tenant's limit.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Count events only, at memory speed: no parsing, no ids.
    #[arg(long)]
    count: bool,
    /// Do not ask for the documented four fields.
    #[arg(long)]
    no_schema_check: bool,
    /// The field that names an event.
    #[arg(long, value_name = "NAME", default_value = "EventId")]
    event_id_field: String,
    /// A meter that runs, for the meter APIs; may be given more than once.
    #[arg(long = "meter", value_name = "ID=GLOBAL_ID", value_parser = MeterSettings::parse)]
    meters: Vec<MeterSettings>,
    /// The definition of all of them, as an export has it, instead of a simple one.
    #[arg(long, value_name = "FILE", requires = "meters")]
    definition: Option<PathBuf>,
    /// What becomes of events for a meter that does not run.
    #[arg(long, value_name = "WHAT", default_value = "keep", value_parser = when_stopped())]
    when_stopped: WhenStopped,
    /// Decides a question that the references leave open the other way; may be given more than once.
    #[arg(long = "assume", value_name = "NAME=VALUE")]
    assumptions: Vec<Assumptions>,
    /// The entity that requests to the meter APIs have to name.
    #[arg(long, value_name = "ID")]
    entity_id: Option<String>,
    /// By how much the clock that the meter APIs show is ahead.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    clock_ahead_seconds: i64,
    /// Something that goes wrong; may be given more than once.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Where the dice of faults with a probability begin.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The only client that gets a token; without it, nobody needs one.
    #[arg(long, value_name = "ID", requires = "client_secret")]
    client_id: Option<String>,
    /// Its secret.
    #[arg(long, value_name = "SECRET", requires = "client_id")]
    client_secret: Option<String>,
    /// How long a token is good.
    #[arg(long, value_name = "SECONDS", default_value_t = 3599)]
    token_ttl_seconds: u64,
    /// Threads that serve.
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    worker_threads: u16,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The definition of the meters cannot be read.
    #[error("read {}", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The simulator could not listen.
    #[error(transparent)]
    Simulator(#[from] simulator::Error),
}

/// Serves until SIGINT or SIGTERM. Prints the address once it listens.
pub fn run(args: Args) -> Result<(), Error> {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(args.worker_threads.into()).enable_all();
    let runtime = runtime.build().map_err(Error::Runtime)?;
    runtime.block_on(serve(args.settings()?))
}

async fn serve(settings: Settings) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let simulator = Simulator::bind(settings).await?;
    // Nobody may be reading, which is no reason not to serve.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "listening on http://{}", simulator.address());
    let _ = out.flush();
    drop(out);
    let until = CancellationToken::new();
    let signals = async {
        // Whichever comes first.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        until.cancel();
        // The simulator ends, and with it this wait.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = simulator.serve(until.clone()) => Ok(served?),
        () = signals => Ok(()),
    }
}

impl Args {
    fn settings(mut self) -> Result<Settings, Error> {
        if let Some(path) = self.definition {
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|source| Error::Definition { path, source })?;
            for meter in &mut self.meters {
                meter.definition = Some(text.clone());
            }
        }
        let mut limits = Limits::for_tenant(&self.tenant).unwrap_or(Limits::PRODUCTION);
        limits.rows_max = self.rows_max.unwrap_or(limits.rows_max);
        limits.payload_bytes_max = self.payload_bytes_max.unwrap_or(limits.payload_bytes_max);
        limits.calls_per_minute = self.requests_per_minute.unwrap_or(limits.calls_per_minute);
        Ok(Settings {
            listen: self.listen,
            limits,
            mode: if self.count { Mode::Count } else { Mode::Validate },
            faults: self.faults,
            credentials: self.client_id.zip(self.client_secret),
            token_ttl: Duration::from_secs(self.token_ttl_seconds),
            event_id_field: Some(self.event_id_field),
            schema_check: !self.no_schema_check,
            meters: self.meters,
            when_stopped: self.when_stopped,
            assumptions: self
                .assumptions
                .into_iter()
                .fold(Assumptions::default(), Assumptions::and),
            entity_id: self.entity_id,
            clock_ahead_seconds: self.clock_ahead_seconds,
            seed: self.seed,
        })
    }
}

fn when_stopped() -> impl TypedValueParser<Value = WhenStopped> {
    PossibleValuesParser::new(["keep", "refuse"]).map(|name| match name.as_str() {
        "refuse" => WhenStopped::Refuse,
        _ => WhenStopped::Keep,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::simulator::faults;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn settings(arguments: &[&str]) -> Result<Settings, Box<dyn std::error::Error>> {
        let arguments = std::iter::once("simulate").chain(arguments.iter().copied());
        Ok(Command::try_parse_from(arguments)?.args.settings()?)
    }

    #[test]
    fn a_limit_of_its_own_goes_before_the_tenants() -> Result<(), Box<dyn std::error::Error>> {
        let settings =
            settings(&["--tenant", "api-sandbox", "--rows-max", "7", "--fault", "reset-afterx2"])?;
        let expected = Limits { rows_max: 7, payload_bytes_max: 1_000_000, calls_per_minute: 600 };
        assert_eq!(settings.limits, expected);
        assert_eq!(settings.faults.len(), 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(settings(&["--tenant", "staging"]).is_err());
        assert!(settings(&["--fault", "explode"]).is_err());
        assert!(settings(&["--client-id", "alone"]).is_err());
        assert!(settings(&["--meter", "x=8a"]).is_err());
        assert!(settings(&["--meter", "97=8a", "--definition", "/nowhere"]).is_err());
        assert!(settings(&["--worker-threads", "0"]).is_err());
    }

    #[test]
    fn every_kind_of_fault_is_in_the_help() {
        for kind in faults::NAMES {
            assert!(FAULTS_HELP.contains(&format!("\n  {kind}")), "{kind}");
        }
    }
}
