//! The daemon as a child process.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Result, fail, until};

/// What the daemon has as standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    None,
    Pipe,
}

/// A daemon that was started; killed when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    log_path: PathBuf,
}

/// Distinguishes the logs of several runs in one folder.
static RUNS: AtomicU32 = AtomicU32::new(0);

impl Agent {
    /// Starts `meterd run`; its log goes to a file in `folder`.
    pub(crate) fn spawn(config: &Path, folder: &Path, input: Input) -> Result<Self> {
        Self::spawn_prepared(config, folder, input, |_| Ok(()))
    }

    /// The same, with these variables in its environment.
    pub(crate) fn spawn_with(
        config: &Path,
        folder: &Path,
        input: Input,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        Self::spawn_prepared(config, folder, input, |command| {
            command.envs(environment.iter().copied());
            Ok(())
        })
    }

    /// The same, after `prepare` has seen to the command.
    pub(crate) fn spawn_prepared(
        config: &Path,
        folder: &Path,
        input: Input,
        prepare: impl FnOnce(&mut Command) -> Result,
    ) -> Result<Self> {
        Self::spawn_command(
            Command::new(env!("CARGO_BIN_EXE_meterd")),
            config,
            folder,
            input,
            prepare,
        )
    }

    /// Starts `meterd run` from a shell with mounts of its own that has done `first` before it becomes
    /// the program. That takes root.
    pub(crate) fn spawn_after(first: &str, config: &Path, folder: &Path) -> Result<Self> {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-ec", &format!("{first}\nexec \"$0\" \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_meterd"));
        Self::spawn_command(shell, config, folder, Input::None, |_| Ok(()))
    }

    fn spawn_command(
        mut command: Command,
        config: &Path,
        folder: &Path,
        input: Input,
        prepare: impl FnOnce(&mut Command) -> Result,
    ) -> Result<Self> {
        let log_path = folder.join(format!("run-{}.log", RUNS.fetch_add(1, Ordering::Relaxed)));
        command.args(["run", "-c"]).arg(config).current_dir(folder).stdout(Stdio::null());
        command.stderr(File::create(&log_path)?).stdin(match input {
            Input::None => Stdio::null(),
            Input::Pipe => Stdio::piped(),
        });
        prepare(&mut command)?;
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, log_path })
    }

    /// Starts `meterd run` as a service manager does that has opened `sockets`, whose `names` have a
    /// colon between them.
    pub(crate) fn activated(
        config: &Path,
        folder: &Path,
        sockets: [OwnedFd; 2],
        names: &str,
    ) -> Result<Self> {
        let log_path = folder.join(format!("run-{}.log", RUNS.fetch_add(1, Ordering::Relaxed)));
        let [first, second] = sockets;
        // The number of the process is known to the shell, which then becomes the program.
        let script = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; \
                      LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" run -c \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_meterd")]).arg(config);
        command.current_dir(folder).env("LISTEN_FDNAMES", names).stdin(first).stdout(second);
        let child = command.stderr(File::create(&log_path)?).spawn()?;
        Ok(Self { child, stdin: None, log_path })
    }

    /// Everything that it logged.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log_path)?).into_owned())
    }

    /// The first log record with this message.
    pub(crate) fn logged(&self, message: &str) -> Result<Option<Value>> {
        Ok(self.all_logged(message)?.into_iter().next())
    }

    /// How many log records have this message.
    pub(crate) fn times_logged(&self, message: &str) -> Result<usize> {
        Ok(self.all_logged(message)?.len())
    }

    /// Every log record with this message.
    pub(crate) fn all_logged(&self, message: &str) -> Result<Vec<Value>> {
        let log = self.log()?;
        let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_wanted = |record: &Value| record.get("message").is_some_and(|said| said == message);
        Ok(records.filter(is_wanted).collect())
    }

    /// Waits for a log record with this message.
    pub(crate) fn wait_logged(&mut self, message: &str) -> Result<Value> {
        until(&format!("the log to say {message:?}"), || {
            if let Some(record) = self.logged(message)? {
                return Ok(Some(record));
            }
            match self.child.try_wait()? {
                Some(status) => fail(format!("the agent ended: {status}: {}", self.log()?)),
                None => Ok(None),
            }
        })
    }

    pub(crate) fn wait_ready(&mut self) -> Result {
        self.wait_logged("ready").map(|_| ())
    }

    /// Where its TCP source listens.
    pub(crate) fn tcp_address(&mut self) -> Result<SocketAddr> {
        let record = self.wait_logged("listening")?;
        Ok(super::text(&record, "/address")?.parse()?)
    }

    /// Where health, metrics, status and the page are.
    pub(crate) fn admin_address(&mut self) -> Result<SocketAddr> {
        let record = self.wait_logged("health, metrics and status are here")?;
        Ok(super::text(&record, "/address")?.parse()?)
    }

    /// Where this one of its sources listens.
    pub(crate) fn listening(&mut self, source: &str) -> Result<SocketAddr> {
        self.wait_ready()?;
        let log = self.log()?;
        let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = records.filter(|record| {
            super::text(record, "/message").is_ok_and(|said| said == "listening")
                && super::text(record, "/source").is_ok_and(|name| name == source)
        });
        let record = found.next().ok_or_else(|| format!("{source} does not listen"))?;
        Ok(super::text(&record, "/address")?.parse()?)
    }

    /// The memory that it holds now.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS")?;
        Ok(kibibytes.trim().parse::<u64>()? * 1024)
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input.
    pub(crate) fn stdin(&mut self) -> Result<&mut ChildStdin> {
        self.stdin.as_mut().ok_or_else(|| "the agent has no pipe".into())
    }

    /// Takes its standard input.
    pub(crate) fn take_stdin(&mut self) -> Result<ChildStdin> {
        self.stdin.take().ok_or_else(|| "the agent has no pipe".into())
    }

    /// Writes to its standard input.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result {
        Ok(self.stdin()?.write_all(bytes)?)
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        until("the agent to end", || Ok(self.child.try_wait()?))
    }

    /// Waits for its end with exit code 0.
    pub(crate) fn wait_success(&mut self) -> Result {
        let status = self.wait()?;
        if status.success() { Ok(()) } else { fail(format!("{status}: {}", self.log()?)) }
    }

    /// SIGTERM, and waits for its end with exit code 0.
    pub(crate) fn stop(&mut self) -> Result {
        self.signal(Signal::TERM)?;
        self.wait_success()
    }

    /// SIGTERM; SIGKILL where it came before anybody listened to signals.
    pub(crate) fn stop_or_kill(&mut self) -> Result {
        self.signal(Signal::TERM)?;
        self.wait().map(|_| ())
    }

    /// A size from `/proc/PID/status` in bytes, such as `VmHWM`.
    pub(crate) fn memory(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no size")?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    /// Ticks of the processor that it used, in user mode and in the kernel.
    pub(crate) fn processor_ticks(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // Behind the name, which may hold spaces: state is field 3, utime 14, stime 15.
        let rest = stat.rsplit_once(')').ok_or("no process name")?.1;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(ticks.sum::<std::result::Result<u64, _>>()?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
