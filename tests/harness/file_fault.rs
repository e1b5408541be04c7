//! A fault in a chosen call that changes a file of the store: the program ends there, or the call
//! fails.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Folder, Result, compiled, fail};

/// What happens in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL just before it.
    KillBefore,
    /// SIGKILL just behind it.
    KillAfter,
    /// Half of a write, then SIGKILL.
    Torn,
    /// Half of a write, and the program is told so.
    Short,
    /// It fails: the device has an error.
    Eio,
    /// It fails: there is no space.
    Enospc,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::KillBefore => "before",
            Self::KillAfter => "after",
            Self::Torn => "torn",
            Self::Short => "short",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
        }
    }

    /// Whether the program ends by it.
    pub(crate) fn is_fatal(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter | Self::Torn)
    }
}

/// A fault in calls from one on.
#[derive(Debug, Clone)]
pub(crate) struct FileFault {
    pub(crate) kind: Kind,
    /// The first call that is meant, from 0.
    pub(crate) call: u64,
    /// How many are meant; 0: all from there on.
    pub(crate) times: u64,
    /// Only calls on files below it count.
    pub(crate) under: PathBuf,
}

impl FileFault {
    /// A fault in one call on a file below `under`.
    pub(crate) fn once(kind: Kind, call: u64, under: &Path) -> Self {
        Self { kind, call, times: 1, under: under.to_owned() }
    }

    /// Arms a command that was not started.
    pub(crate) fn arm(&self, command: &mut Command) -> Result {
        command
            .env("LD_PRELOAD", library()?)
            .env("METERD_FAULT_KIND", self.kind.name())
            .env("METERD_FAULT_AT", self.call.to_string())
            .env("METERD_FAULT_TIMES", self.times.to_string())
            .env("METERD_FAULT_UNDER", &self.under);
        Ok(())
    }

    /// Runs a command; whether it was ended. If it was not, it did not come so far.
    pub(crate) fn ends(&self, folder: &Folder, arguments: &[&str]) -> Result<bool> {
        let mut command = folder.prepare(arguments);
        self.arm(&mut command)?;
        let output = command.output()?;
        match (output.status.signal(), output.status.code()) {
            (Some(9), _) => Ok(true),
            (None, Some(0 | 1)) => Ok(false),
            _ => fail(format!("call {}: {output:?}", self.call)),
        }
    }
}

/// Has a command that was not started count its calls below `under`, into a file.
pub(crate) fn count(command: &mut Command, under: &Path, into: &Path) -> Result {
    FileFault::once(Kind::Short, u64::MAX >> 1, under).arm(command)?;
    command.env("METERD_FAULT_COUNT", into);
    Ok(())
}

/// The library, built once by the system's C compiler.
fn library() -> Result<&'static PathBuf> {
    static LIBRARY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let options = ["-shared", "-fPIC", "-ldl", "-lpthread"];
    let library = LIBRARY.get_or_init(|| {
        compiled("file_fault.c", "libfilefault", &options).map_err(|error| error.to_string())
    });
    library.as_ref().map_err(|error| error.clone().into())
}
