//! Which store a command looks at, and `meterd store`: whether it is damaged, and what can be
//! taken out of it.

mod check;
mod salvage;

use std::path::PathBuf;

use super::failure::Failure;
use crate::agent::Settings;
use crate::config::{self, LoadFor, Loaded};
use crate::store::reader::Reader;

/// What to do with the store as a whole.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check its structure, the bodies of its batches and its counts; the daemon may run
    Check(check::Arguments),
    /// Take what can be read of a damaged one to a new one
    Salvage(salvage::Arguments),
}

/// Runs the subcommand.
pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check(arguments) => arguments.run(),
        Command::Salvage(arguments) => arguments.run(),
    }
}

/// Where the store is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreArguments {
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the store, instead of the one in the configuration
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
}

/// A store to read, and its limit where the configuration was read.
pub(super) struct Opened {
    pub(super) reader: Reader,
    pub(super) bytes_max: Option<u64>,
}

impl StoreArguments {
    /// Opens the store for reading; the daemon may run meanwhile.
    pub(super) fn open(&self) -> Result<Opened, Failure> {
        if let Some(directory) = &self.state_dir {
            return Ok(Opened { reader: Reader::open(directory)?, bytes_max: None });
        }
        let store = self.load(LoadFor::Look)?.store;
        Ok(Opened { reader: Reader::open(&store.directory)?, bytes_max: Some(store.bytes_max) })
    }

    /// The directory of the store.
    pub(super) fn directory(&self) -> Result<PathBuf, Failure> {
        match &self.state_dir {
            Some(directory) => Ok(directory.clone()),
            None => Ok(self.load(LoadFor::Look)?.store.directory),
        }
    }

    /// The settings of the configuration, with the directory of the store that was asked for.
    pub(super) fn load(&self, purpose: LoadFor) -> Result<Settings, Failure> {
        Ok(self.loaded(purpose)?.settings)
    }

    /// The same, with everything else that the configuration says.
    pub(super) fn loaded(&self, purpose: LoadFor) -> Result<Loaded, Failure> {
        let environment = config::process_environment();
        let mut loaded = config::load(purpose, self.config.as_deref(), environment)?;
        if let Some(directory) = &self.state_dir {
            loaded.settings.store.directory.clone_from(directory);
        }
        Ok(loaded)
    }
}
