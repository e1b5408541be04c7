//! What commands wait on.

use std::io;
use std::ops::Deref;

use tokio::runtime::{Builder, Handle};

/// Threads of the runtime: it only waits for sockets, all else has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// A runtime at whose end nobody waits for what the system still does for it: a look-up of a name
/// that no server answers takes half a minute, whatever its time-out.
#[derive(Debug)]
pub(super) struct Runtime {
    handle: Handle,
    /// None once it has ended.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Runtime {
    /// Starts its threads.
    pub(super) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(RUNTIME_THREADS).thread_name("runtime").enable_all();
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Deref for Runtime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
