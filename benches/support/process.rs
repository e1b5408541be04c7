//! Real processes, and what they take: the agent and a simulator that counts.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A process that is ended when the bench is, however that comes.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// What `/proc` calls it.
    pub(crate) fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with `arguments`.
pub(crate) fn meterd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterd"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A simulator that only counts, and its address.
pub(crate) fn simulator() -> Result<(Process, String)> {
    let mut command = meterd(&["simulate", "--count", "--listen", "127.0.0.1:0"]);
    let mut process = Process(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.trim().rsplit('/').next().ok_or("no address")?.to_owned();
    Ok((process, address))
}

/// Starts an agent.
pub(crate) fn run(configuration: &str) -> Result<Process> {
    Ok(Process(meterd(&["run", "-c", configuration]).spawn()?))
}

/// Writes a configuration that follows `paths`.
pub(crate) fn configuration(
    directory: &Path,
    address: &str,
    paths: &Path,
    (meter, source): (&str, &str),
) -> Result<String> {
    let path = directory.join("meterd.toml");
    let text = format!(
        "[agent]\nname = \"bench\"\nstate_dir = \"{}\"\n\
         [mediation]\nbase_url = \"http://{address}\"\n[log]\nlevel = \"warn\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [meters.bench]\nglobal_id = \"bench\"\n{meter}\n\
         [sources.s]\ntype = \"file\"\nmeter = \"bench\"\npaths = [\"{}\"]\n{source}",
        directory.join("state").display(),
        paths.display()
    );
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// Waits until the simulator has so many events.
pub(crate) fn wait_accepted(address: &str, events: u32, between: Duration) -> Result<()> {
    let begin = Instant::now();
    while accepted(address)? < events {
        if begin.elapsed() > Duration::from_secs(120) {
            return Err("the events do not arrive".into());
        }
        std::thread::park_timeout(between);
    }
    Ok(())
}

/// Events that the simulator has accepted.
pub(crate) fn accepted(address: &str) -> Result<u32> {
    let accepted = stats(address)?["events_accepted"].as_u64().ok_or("no count")?;
    Ok(u32::try_from(accepted)?)
}

/// Waits for the first request that the simulator has ever had; gives the milliseconds from
/// `begin` to when it came.
pub(crate) fn first_request_ms(address: &str, begin: SystemTime) -> Result<f64> {
    wait_accepted(address, 1, Duration::from_millis(5))?;
    let came = stats(address)?["first_request_at"].as_str().ok_or("no request")?.to_owned();
    let came = SystemTime::from(came.parse::<jiff::Timestamp>()?);
    Ok(came.duration_since(begin).unwrap_or_default().as_secs_f64() * 1e3)
}

/// What the simulator has seen.
fn stats(address: &str) -> Result<serde_json::Value> {
    let mut stream = TcpStream::connect(address)?;
    let request = "GET /simulator/stats HTTP/1.1\r\nHost: simulator\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(serde_json::from_str(answer.split("\r\n\r\n").nth(1).ok_or("no body")?)?)
}

/// User and system time of a process, in seconds.
pub(crate) fn cpu_seconds(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything, field 3 comes first.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (ticks(11).ok_or("no time")?, ticks(12).ok_or("no time")?);
    // Linux counts a hundred ticks a second for user space on every architecture.
    Ok((user + system) / 100.0)
}

/// Time on a processor in seconds, of all threads, by the nanosecond.
pub(crate) fn schedstat_seconds(process: &str) -> Result<f64> {
    let mut nanos = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += stat.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
    }
    Ok(nanos / 1e9)
}

pub(crate) fn peak_mib(process: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no peak")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no peak")?.parse()?;
    Ok(kib / 1024.0)
}

/// The one in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
