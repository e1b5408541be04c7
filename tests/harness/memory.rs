//! A bound on the memory of a program, by a control group. That takes root and the memory controller
//! of version 1; where it is missing, the test has to say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Result;

const ROOT: &str = "/sys/fs/cgroup/memory";

/// Distinguishes the groups of one process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A group of processes that together have so much memory. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    directory: PathBuf,
}

impl MemoryLimit {
    /// One of `bytes`. The error says what is missing for that.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let ours = groups.lines().find_map(|line| line.split_once(":memory:"));
        let (_, ours) = ours.ok_or("no memory controller of version 1")?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("meterd-{}-{number}", std::process::id());
        let directory = Path::new(ROOT).join(ours.trim_start_matches('/')).join(name);
        let failed = |error| format!("{}: {error}", directory.display());
        fs::create_dir(&directory).map_err(failed)?;
        let limit = Self { directory };
        fs::write(limit.directory.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(limit)
    }

    /// What a shell does to have itself bounded.
    pub(crate) fn enter(&self) -> String {
        format!("echo $$ > '{}'", self.directory.join("cgroup.procs").display())
    }

    /// How many processes were killed because there was no more.
    pub(crate) fn kills(&self) -> Result<u64> {
        let control = fs::read_to_string(self.directory.join("memory.oom_control"))?;
        let kills = control.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(kills.ok_or("no count of kills")?.trim().parse()?)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Its processes may be there still.
        let _ = fs::remove_dir(&self.directory);
    }
}
