//! `meterd run`: the daemon.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::sync::mpsc::Receiver;

use super::failure::Failure;
use super::log::{self, Switch};
use super::runtime::Runtime;
use crate::agent::sandbox::{Sandbox, State};
use crate::agent::{self, Load, Ready, Request, Settings, Wanted, signals};
use crate::config::{self, LoadFor, Problem};
use crate::source::listen::Inherited;
use crate::store::{Store, is_open_to_others};

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
    // Before the first thread, so that it holds for all of them.
    let sandbox = enforce(&loaded.settings)?;
    let load = load(arguments.config.clone(), log, sandbox);
    runtime()?.block_on(async {
        agent::run(loaded.settings, inherited, requests()?, Some(load), log_ready).await?;
        Ok(())
    })
}

/// Restricts the process to what `settings` name, and tells what became of it.
fn enforce(settings: &Settings) -> Result<Sandbox, Failure> {
    // Only what is there can be let in.
    let directory = &settings.store.directory;
    Store::create_directory(directory).map_err(agent::Error::from)?;
    // One that cannot be looked at cannot be opened either.
    if is_open_to_others(directory).unwrap_or_default() {
        let path = directory.display();
        tracing::warn!(%path, "others may write to the state directory: they can take events away or make them up");
    }
    let environment: HashMap<_, _> = config::process_environment().collect();
    let sandbox = Sandbox::enforce(settings, &environment);
    match &sandbox.state {
        State::Enforced { version, is_full, above } => {
            tracing::info!(landlock = version, is_full, "the sandbox holds");
            for path in above {
                let path = path.display();
                tracing::warn!(%path, "a directory is not there yet: the sandbox lets in the one above");
            }
        }
        State::Unsupported => {
            tracing::info!("no sandbox: this kernel has no Landlock");
        }
        State::Off => {
            tracing::info!("no sandbox: agent.sandbox is false");
        }
        State::Failed(error) => {
            tracing::warn!(%error, "no sandbox: the kernel refused it");
        }
    }
    Ok(sandbox)
}

/// Reads the configuration at `path` again, with what logs when it holds.
fn load(path: Option<PathBuf>, log: Arc<Switch>, sandbox: Sandbox) -> Load {
    Arc::new(move || {
        let environment: HashMap<_, _> = config::process_environment().collect();
        let loaded = config::load(LoadFor::Run, path.as_deref(), environment.clone().into_iter());
        let loaded = loaded.map_err(|error| match error {
            config::Error::Problems(problems) => told(&problems, &sandbox),
            error => vec![Failure::from(error).message().to_owned()],
        })?;
        let refused = sandbox.refused(&loaded.settings, &environment);
        if !refused.is_empty() {
            return Err(refused);
        }
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        let (log, wanted) = (Arc::clone(&log), loaded.log);
        let adopt = Box::new(move || log.set(&wanted));
        Ok(Wanted { settings: loaded.settings, warnings, adopt })
    })
}

/// What is wrong, and a word more where the sandbox may be the reason.
fn told(problems: &[Problem], sandbox: &Sandbox) -> Vec<String> {
    let mut told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let denied = io::Error::from(Errno::ACCESS).to_string();
    let holds = matches!(sandbox.state, State::Enforced { .. });
    if holds && problems.iter().any(|problem| problem.found.ends_with(&denied)) {
        let word = "agent.sandbox: it lets in the directories of files that were named at the start: \
                    restart to let in others";
        told.push(word.to_owned());
    }
    told
}

/// The runtime of the agent.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Runtime::start().map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))
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
