//! Ends a command in the middle, at a chosen call that changes a file.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::{Folder, Result, compiled, fail};

/// A SIGKILL just before a call that changes a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fatal {
    call: u64,
}

impl Fatal {
    /// Before the call with this number, from 0.
    pub(crate) fn at(call: u64) -> Self {
        Self { call }
    }

    /// Runs a command; whether it was ended. If it was not, it did not come so far.
    pub(crate) fn run(self, folder: &Folder, arguments: &[&str]) -> Result<bool> {
        use std::os::unix::process::ExitStatusExt;
        let mut command = folder.prepare(arguments);
        command.env("LD_PRELOAD", library()?).env("METERD_FATAL_AT", self.call.to_string());
        let output = command.output()?;
        match (output.status.signal(), output.status.code()) {
            (Some(9), _) => Ok(true),
            (None, Some(0 | 1)) => Ok(false),
            _ => fail(format!("call {}: {output:?}", self.call)),
        }
    }
}

/// The library, built once by the system's C compiler.
fn library() -> Result<&'static PathBuf> {
    static LIBRARY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let options = ["-shared", "-fPIC", "-ldl"];
    let library = LIBRARY.get_or_init(|| {
        compiled("fatal.c", "libfatal", &options).map_err(|error| error.to_string())
    });
    library.as_ref().map_err(|error| error.clone().into())
}
