//! `meterd run`: the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;

use super::failure::Failure;
use super::log::{self, Switch};
use crate::agent::{self, Load, Ready, Request, Wanted, signals};
use crate::config::{self, LoadFor};
use crate::source::listen::Inherited;

/// Threads of the runtime: it only waits for sockets, all else has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// The arguments of `meterd run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until it is asked to stop, or until every source has ended and everything is delivered.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let inherited = Inherited::from_environment();
    let environment = config::process_environment();
    let loaded = config::load(LoadFor::Run, arguments.config.as_deref(), environment)?;
    let log = Arc::new(log::start(&loaded.log));
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let load = load(arguments.config.clone(), log);
    runtime()?.block_on(async {
        agent::run(loaded.settings, inherited, requests()?, Some(load), log_ready).await?;
        Ok(())
    })
}

/// Reads the configuration at `path` again, with what logs when it holds.
fn load(path: Option<PathBuf>, log: Arc<Switch>) -> Load {
    Arc::new(move || {
        let environment = config::process_environment();
        let loaded = config::load(LoadFor::Run, path.as_deref(), environment);
        let loaded = loaded.map_err(|error| match error {
            config::Error::Problems(problems) => problems.iter().map(ToString::to_string).collect(),
            error => vec![Failure::from(error).message().to_owned()],
        })?;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        let (log, wanted) = (Arc::clone(&log), loaded.log);
        let adopt = Box::new(move || log.set(&wanted));
        Ok(Wanted { settings: loaded.settings, warnings, adopt })
    })
}

/// The runtime of the agent.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(RUNTIME_THREADS).thread_name("runtime").enable_all();
    builder.build().map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))
}

/// Requests to the agent, from signals.
pub(super) fn requests() -> Result<Receiver<Request>, Failure> {
    signals::requests().map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))
}

fn log_ready(ready: &Ready) {
    for (name, address) in &ready.listening {
        tracing::info!(source = &**name, %address, "listening");
    }
    if let Some(address) = ready.admin {
        tracing::info!(%address, "health, metrics and status are here");
    }
    let (sources, version) = (ready.sources.len(), env!("CARGO_PKG_VERSION"));
    tracing::info!(sources, version, "ready");
}
