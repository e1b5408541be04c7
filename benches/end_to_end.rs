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
use std::path::Path;
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
    let file = directory.path().join("usage.jsonl");
    std::fs::write(&file, &data)?;
    let (mut bare, mut plain, mut stamped, mut idle) = (vec![], vec![], vec![], vec![]);
    for _ in 0..runs {
        bare.push(bare_loop(&data, events)?);
        plain.push(agent(directory.path(), &file, events, false)?);
        stamped.push(agent(directory.path(), &file, events, true)?);
    }
    idle.push(idle_share(
        directory.path(),
        100,
        Duration::from_secs(if is_bench { 20 } else { 1 }),
    )?);
    let (bare, plain, stamped) = (median(&bare), median(&plain), median(&stamped));
    print(events, u32::try_from(data.len())?, runs, [bare, plain, stamped], idle[0])
}

fn print(events: u32, bytes: u32, runs: u32, rows: [Figures; 3], idle: f64) -> Result<()> {
    let [bare, plain, stamped] = rows;
    let mut out = std::io::stdout().lock();
    let length = f64::from(bytes) / f64::from(events);
    writeln!(out, "{events} events of {length:.0} bytes, median of {runs} runs\n")?;
    writeln!(out, "| | events/s | CPU seconds per million | of the bare loop | peak MiB |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    let rows = [
        ("bare loop, one thread", bare),
        ("meterd, file to simulator", plain),
        ("meterd, with event ids", stamped),
    ];
    for (name, row) in rows {
        let ratio = row.cpu_seconds_per_million / bare.cpu_seconds_per_million;
        let peak = if row.peak_mib > 0.0 { format!("{:.0}", row.peak_mib) } else { "-".into() };
        writeln!(
            out,
            "| {name} | {:.0} | {:.3} | {ratio:.2} | {peak} |",
            row.events_per_second, row.cpu_seconds_per_million
        )?;
    }
    writeln!(out, "\nidle, 100 files followed: {:.3} % of a core", idle * 100.0)?;
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
    is_stamped: bool,
) -> Result<String> {
    let path = directory.join("meterd.toml");
    let id = if is_stamped { "event_id_field = \"EventId\"" } else { "" };
    let text = format!(
        "[agent]\nname = \"bench\"\nstate_dir = \"{}\"\n\
         [mediation]\nbase_url = \"http://{address}\"\n[log]\nlevel = \"warn\"\n\
         [meters.bench]\nglobal_id = \"bench\"\n{id}\n\
         [sources.app]\ntype = \"file\"\nmeter = \"bench\"\npaths = [\"{}\"]\n",
        directory.join("state").display(),
        paths.display()
    );
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// One run of the agent, from its start until the last event has arrived.
fn agent(directory: &Path, file: &Path, events: u32, is_stamped: bool) -> Result<Figures> {
    let _ = std::fs::remove_dir_all(directory.join("state"));
    let (_simulator, address) = simulator()?;
    let configuration = configuration(directory, &address, file, is_stamped)?;
    let begin = Instant::now();
    let agent = Process(meterd(&["run", "-c", &configuration]).spawn()?);
    while accepted(&address)? < events {
        if begin.elapsed() > Duration::from_secs(120) {
            return Err("the events do not arrive".into());
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let elapsed = begin.elapsed();
    let process = agent.0.id().to_string();
    Ok(Figures {
        events_per_second: f64::from(events) / elapsed.as_secs_f64(),
        cpu_seconds_per_million: cpu_seconds(&process)? / f64::from(events) * 1e6,
        peak_mib: peak_mib(&process)?,
    })
}

/// The share of a core that an agent takes that follows `files` files to which nobody writes.
fn idle_share(directory: &Path, files: u32, time: Duration) -> Result<f64> {
    let _ = std::fs::remove_dir_all(directory.join("state"));
    let logs = directory.join("logs");
    std::fs::create_dir_all(&logs)?;
    for number in 0..files {
        std::fs::write(
            logs.join(format!("{number}.jsonl")),
            support::events(10, u64::from(number)),
        )?;
    }
    let (_simulator, address) = simulator()?;
    let configuration = configuration(directory, &address, &logs.join("*.jsonl"), false)?;
    let agent = Process(meterd(&["run", "-c", &configuration]).spawn()?);
    while accepted(&address)? < files * 10 {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    std::thread::park_timeout(Duration::from_secs(1).min(time));
    let process = agent.0.id().to_string();
    let (begin, cpu) = (Instant::now(), schedstat_seconds(&process)?);
    while begin.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(begin.elapsed()));
    }
    Ok((schedstat_seconds(&process)? - cpu) / begin.elapsed().as_secs_f64())
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
