//! The whole agent against the bare loop, on the same data in the same run.
//!
//! The bare loop is what has to be done and nothing else: line ends, the same checks, gzip at the
//! same level, on one thread, from memory, with nothing kept. The agent is the real program: it
//! follows a file, validates, commits to a durable store and delivers to a counting simulator in
//! another process. Prints a table in Markdown; ratios are what to look at.
//!
//! `cargo bench --bench end_to_end`; `METERD_BENCH_EVENTS` and `METERD_BENCH_RUNS` change its size.

mod support;

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress, Status};
use meterd::pack::validate::Validator;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    events_per_second: f64,
    cpu_seconds_per_million: f64,
    peak_mib: f64,
}

fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they work: a short run then.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let events: u32 = number("METERD_BENCH_EVENTS", if is_bench { 3_000_000 } else { 50_000 });
    let runs = number("METERD_BENCH_RUNS", if is_bench { 5 } else { 1 });
    let directory = tempfile::tempdir()?;
    let data = support::events(events as usize, 11);
    let mut rows = vec![Row::new("bare loop, one thread", None)];
    for setup in setups(directory.path(), &data)? {
        rows.push(Row::new(setup.name, Some(setup)));
    }
    // In turns, so that what else the machine does strikes all alike.
    for _ in 0..runs {
        for row in &mut rows {
            row.runs.push(match &row.setup {
                None => bare_loop(&data, events)?,
                Some(setup) => agent(directory.path(), setup, events)?,
            });
        }
    }
    let time = Duration::from_secs(if is_bench { 20 } else { 1 });
    let idle = follow(directory.path(), Following { files: 100, written: 0, time })?;
    let files = if is_bench { 10_000 } else { 200 };
    let many = follow(directory.path(), Following { files, written: 0, time })?;
    let busy = follow(directory.path(), Following { files, written: 100, time })?;
    let mut out = std::io::stdout().lock();
    let length = f64::from(u32::try_from(data.len())?) / f64::from(events);
    writeln!(out, "{events} events of {length:.0} bytes, median of {runs} runs\n")?;
    print(&mut out, &rows)?;
    writeln!(out, "\n| files | written to | of a core | peak MiB | descriptors |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (files, written, burden) in [(100, 0, idle), (files, 0, many), (files, 100, busy)] {
        let Burden { share, peak_mib, descriptors } = burden;
        let share = share * 100.0;
        writeln!(out, "| {files} | {written} | {share:.2} % | {peak_mib:.0} | {descriptors} |")?;
    }
    Ok(())
}

/// What the agent is made to do.
struct Setup {
    name: &'static str,
    /// Keys of the meter.
    meter: &'static str,
    /// Keys of the source, behind its paths.
    source: String,
    file: PathBuf,
}

/// A row of the table.
struct Row {
    name: &'static str,
    /// None: the bare loop.
    setup: Option<Setup>,
    runs: Vec<Figures>,
}

impl Row {
    fn new(name: &'static str, setup: Option<Setup>) -> Self {
        Self { name, setup, runs: Vec::new() }
    }
}

const WITH_IDS: &str = "event_id_field = \"EventId\"";

/// All that is measured, each with its file in `directory`.
fn setups(directory: &Path, data: &[u8]) -> Result<Vec<Setup>> {
    let file = directory.join("usage.jsonl");
    std::fs::write(&file, data)?;
    let plain = |name, meter| Setup { name, meter, source: String::new(), file: file.clone() };
    let mut setups =
        vec![plain("meterd, file to simulator", ""), plain("meterd, with event ids", WITH_IDS)];
    for mapped in support::mappings() {
        let file = directory.join(mapped.name);
        std::fs::write(&file, mapped.lines(data))?;
        setups.push(Setup { name: mapped.name, meter: "", source: mapped.keys, file });
    }
    Ok(setups)
}

fn print(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    writeln!(out, "| | events/s | CPU seconds per million | of the bare loop | peak MiB |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    let medians: Vec<Figures> = rows.iter().map(|row| median(&row.runs)).collect();
    for (row, figures) in rows.iter().zip(&medians) {
        let Figures { events_per_second, cpu_seconds_per_million, peak_mib } = *figures;
        let ratio = cpu_seconds_per_million / medians[0].cpu_seconds_per_million;
        let peak = if peak_mib > 0.0 { format!("{peak_mib:.0}") } else { "-".into() };
        writeln!(
            out,
            "| {} | {events_per_second:.0} | {cpu_seconds_per_million:.3} | {ratio:.2} | {peak} |",
            row.name
        )?;
    }
    Ok(())
}

fn median(runs: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        events_per_second: of(|run| run.events_per_second),
        cpu_seconds_per_million: of(|run| run.cpu_seconds_per_million),
        peak_mib: of(|run| run.peak_mib),
    }
}

/// Line ends, checks and gzip: nothing else.
fn bare_loop(data: &[u8], events: u32) -> Result<Figures> {
    let mut validator = Validator::new(&support::meter(None));
    let mut deflate = Compress::new_gzip(Compression::new(support::LEVEL), 15);
    let mut piece = Vec::with_capacity(80 * 1024);
    let mut body = Vec::with_capacity(1 << 20);
    let (begin, cpu) = (Instant::now(), cpu_seconds("self")?);
    let mut rest = data;
    while !rest.is_empty() {
        deflate.reset();
        body.clear();
        let mut count = 0;
        while count < support::EVENTS_PER_REQUEST
            && let Some(end) = memchr::memchr(b'\n', rest)
        {
            let (line, behind) = rest.split_at(end + 1);
            validator.check(line).map_err(|refusal| refusal.detail)?;
            piece.push(if count == 0 { b'[' } else { b',' });
            piece.extend_from_slice(&line[..end]);
            if piece.len() >= 64 * 1024 {
                compress(&mut deflate, &mut piece, &mut body, FlushCompress::None)?;
            }
            count += 1;
            rest = behind;
        }
        piece.push(b']');
        compress(&mut deflate, &mut piece, &mut body, FlushCompress::Finish)?;
        black_box(&body);
    }
    Ok(Figures {
        events_per_second: f64::from(events) / begin.elapsed().as_secs_f64(),
        cpu_seconds_per_million: (cpu_seconds("self")? - cpu) / f64::from(events) * 1e6,
        peak_mib: 0.0,
    })
}

fn compress(
    deflate: &mut Compress,
    piece: &mut Vec<u8>,
    body: &mut Vec<u8>,
    flush: FlushCompress,
) -> Result<()> {
    let begin = deflate.total_in();
    loop {
        body.reserve(64 * 1024);
        let done = usize::try_from(deflate.total_in() - begin)?;
        let status = deflate.compress_vec(&piece[done..], body, flush)?;
        let is_taken = deflate.total_in() - begin == piece.len() as u64;
        let is_finished = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => is_taken,
        };
        if is_finished {
            piece.clear();
            return Ok(());
        }
    }
}

/// A process that is ended when the bench is, however that comes.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn meterd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterd"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn simulator() -> Result<(Process, String)> {
    let mut command = meterd(&["simulate", "--count", "--listen", "127.0.0.1:0"]);
    let mut process = Process(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.trim().rsplit('/').next().ok_or("no address")?.to_owned();
    Ok((process, address))
}

/// Writes a configuration that follows `paths`.
fn configuration(
    directory: &Path,
    address: &str,
    paths: &Path,
    (meter, source): (&str, &str),
) -> Result<String> {
    let path = directory.join("meterd.toml");
    let text = format!(
        "[agent]\nname = \"bench\"\nstate_dir = \"{}\"\n\
         [mediation]\nbase_url = \"http://{address}\"\n[log]\nlevel = \"warn\"\n\
         [meters.bench]\nglobal_id = \"bench\"\n{meter}\n\
         [sources.s]\ntype = \"file\"\nmeter = \"bench\"\npaths = [\"{}\"]\n{source}",
        directory.join("state").display(),
        paths.display()
    );
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// One run of the agent, from its start until the last event has arrived.
fn agent(directory: &Path, setup: &Setup, events: u32) -> Result<Figures> {
    let _ = std::fs::remove_dir_all(directory.join("state"));
    let (_simulator, address) = simulator()?;
    let keys = (setup.meter, setup.source.as_str());
    let configuration = configuration(directory, &address, &setup.file, keys)?;
    let begin = Instant::now();
    let agent = Process(meterd(&["run", "-c", &configuration]).spawn()?);
    wait_accepted(&address, events, Duration::from_millis(2))?;
    let elapsed = begin.elapsed();
    let process = agent.0.id().to_string();
    Ok(Figures {
        events_per_second: f64::from(events) / elapsed.as_secs_f64(),
        cpu_seconds_per_million: cpu_seconds(&process)? / f64::from(events) * 1e6,
        peak_mib: peak_mib(&process)?,
    })
}

/// Files that are followed for a time.
#[derive(Debug, Clone, Copy)]
struct Following {
    files: u32,
    /// So many of them get [`LINES_PER_SECOND`] lines each.
    written: u32,
    time: Duration,
}

/// What following files takes.
struct Burden {
    /// Of a core.
    share: f64,
    peak_mib: f64,
    /// Open at the end.
    descriptors: usize,
}

/// Lines that go to each file that is written to, one at a time.
const LINES_PER_SECOND: u32 = 10;

/// What an agent takes that follows files, once it has read what was in them.
fn follow(directory: &Path, following: Following) -> Result<Burden> {
    let Following { files, written, time } = following;
    for left in ["state", "logs"] {
        let _ = std::fs::remove_dir_all(directory.join(left));
    }
    let logs = directory.join("logs");
    std::fs::create_dir_all(&logs)?;
    let path = |number: u32| logs.join(format!("{number}.jsonl"));
    for number in 0..files {
        std::fs::write(path(number), support::events(10, u64::from(number)))?;
    }
    let (_simulator, address) = simulator()?;
    let configuration = configuration(directory, &address, &logs.join("*.jsonl"), ("", ""))?;
    let agent = Process(meterd(&["run", "-c", &configuration]).spawn()?);
    wait_accepted(&address, files * 10, Duration::from_millis(20))?;
    std::thread::park_timeout(Duration::from_secs(1).min(time));
    let process = agent.0.id().to_string();
    let mut open = Vec::new();
    for number in 0..written {
        let step = (files / written.max(1)).max(1);
        open.push(std::fs::OpenOptions::new().append(true).open(path(number * step))?);
    }
    let line = support::events(1, 5);
    let (begin, cpu) = (Instant::now(), schedstat_seconds(&process)?);
    let mut lines = 0;
    while begin.elapsed() < time {
        for file in &mut open {
            file.write_all(&line)?;
            lines += 1;
        }
        std::thread::park_timeout(Duration::from_secs(1) / LINES_PER_SECOND);
    }
    wait_accepted(&address, files * 10 + lines, Duration::from_millis(20))?;
    Ok(Burden {
        share: (schedstat_seconds(&process)? - cpu) / begin.elapsed().as_secs_f64(),
        peak_mib: peak_mib(&process)?,
        descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))?.count(),
    })
}

/// Waits until the simulator has so many events.
fn wait_accepted(address: &str, events: u32, between: Duration) -> Result<()> {
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
fn accepted(address: &str) -> Result<u32> {
    let mut stream = TcpStream::connect(address)?;
    let request = "GET /simulator/stats HTTP/1.1\r\nHost: simulator\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split("\r\n\r\n").nth(1).ok_or("no body")?;
    let stats: serde_json::Value = serde_json::from_str(body)?;
    let accepted = stats["events_accepted"].as_u64().ok_or("no count")?;
    Ok(u32::try_from(accepted)?)
}

/// User and system time of a process, in seconds.
fn cpu_seconds(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything, field 3 comes first.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (ticks(11).ok_or("no time")?, ticks(12).ok_or("no time")?);
    // Linux counts a hundred ticks a second for user space on every architecture.
    Ok((user + system) / 100.0)
}

/// Time on a processor in seconds, of all threads, by the nanosecond.
fn schedstat_seconds(process: &str) -> Result<f64> {
    let mut nanos = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += stat.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
    }
    Ok(nanos / 1e9)
}

fn peak_mib(process: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no peak")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no peak")?.parse()?;
    Ok(kib / 1024.0)
}
