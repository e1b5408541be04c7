//! The whole agent against the bare loop, on the same data in the same run.
//!
//! The bare loop is what has to be done and nothing else: line ends, the same checks, gzip at the
//! same level, on one thread, from memory, with nothing kept. The agent is the real program: it
//! follows a file, validates, commits to a durable store and delivers to a counting simulator in
//! another process. Prints a table in Markdown; ratios are what to look at.
//!
//! `cargo bench --bench end_to_end`; `METERD_BENCH_EVENTS` and `METERD_BENCH_RUNS` change its size.

mod support;

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use flate2::{Compress, Compression, FlushCompress, Status};
use meterd::pack::validate::Validator;
use support::process::{
    Result, configuration, cpu_seconds, first_request_ms, median, peak_mib, run, schedstat_seconds,
    simulator, wait_accepted,
};

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
    let many = if is_bench { 10_000 } else { 200 };
    let mut followed = Vec::new();
    for (files, written) in [(100, 0), (many, 0), (many, 100)] {
        followed.push((
            files,
            written,
            follow(directory.path(), Following { files, written, time })?,
        ));
    }
    let trickle = trickle(directory.path(), time)?;
    let starts = starts(directory.path(), if is_bench { 20 } else { 1 })?;
    let mut out = std::io::stdout().lock();
    let length = f64::from(u32::try_from(data.len())?) / f64::from(events);
    writeln!(out, "{events} events of {length:.0} bytes, median of {runs} runs\n")?;
    print(&mut out, &rows)?;
    writeln!(out, "\n| files | written to | of a core | peak MiB | descriptors |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (files, written, Burden { share, peak_mib, descriptors }) in followed {
        let share = share * 100.0;
        writeln!(out, "| {files} | {written} | {share:.2} % | {peak_mib:.0} | {descriptors} |")?;
    }
    writeln!(out, "\n| at a sidecar's load | |")?;
    writeln!(out, "|---|---|")?;
    let share = trickle * 100.0;
    writeln!(
        out,
        "| of a core at {TRICKLE_PER_SECOND} events/s, one line at a time | {share:.2} % |"
    )?;
    writeln!(out, "| ms from the first start to the first request | {:.0} |", starts.first_ms)?;
    writeln!(out, "| ms from a later start to the first request | {:.0} |", starts.later_ms)?;
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
    let medians: Vec<Figures> = rows.iter().map(|row| medians(&row.runs)).collect();
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

fn medians(runs: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(runs.iter().map(figure));
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

/// One run of the agent, from its start until the last event has arrived.
fn agent(directory: &Path, setup: &Setup, events: u32) -> Result<Figures> {
    let _ = std::fs::remove_dir_all(directory.join("state"));
    let (_simulator, address) = simulator()?;
    let keys = (setup.meter, setup.source.as_str());
    let configuration = configuration(directory, &address, &setup.file, keys)?;
    let begin = Instant::now();
    let agent = run(&configuration)?;
    wait_accepted(&address, events, Duration::from_millis(2))?;
    let elapsed = begin.elapsed();
    let process = agent.id();
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
    let agent = run(&configuration)?;
    wait_accepted(&address, files * 10, Duration::from_millis(20))?;
    std::thread::park_timeout(Duration::from_secs(1).min(time));
    let process = agent.id();
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

/// Lines a second that an application with a sidecar writes.
const TRICKLE_PER_SECOND: u32 = 1000;

/// The part of a core that an agent takes whose one file gets a line every millisecond.
fn trickle(directory: &Path, time: Duration) -> Result<f64> {
    let _ = std::fs::remove_dir_all(directory.join("state"));
    let path = directory.join("trickle.jsonl");
    let line = support::events(1, 5);
    std::fs::write(&path, &line)?;
    let (_simulator, address) = simulator()?;
    let agent = run(&configuration(directory, &address, &path, ("", ""))?)?;
    wait_accepted(&address, 1, Duration::from_millis(20))?;
    let mut file = std::fs::OpenOptions::new().append(true).open(&path)?;
    let (begin, cpu) = (Instant::now(), schedstat_seconds(&agent.id())?);
    let mut lines = 0;
    while begin.elapsed() < time {
        let due = begin.elapsed().as_millis() * u128::from(TRICKLE_PER_SECOND) / 1000;
        while u128::from(lines) < due {
            file.write_all(&line)?;
            lines += 1;
        }
        std::thread::park_timeout(Duration::from_secs(1) / TRICKLE_PER_SECOND);
    }
    let share = (schedstat_seconds(&agent.id())? - cpu) / begin.elapsed().as_secs_f64();
    wait_accepted(&address, 1 + lines, Duration::from_millis(20))?;
    Ok(share)
}

/// Milliseconds from the start of the process to its first request, with a line that waits.
struct Starts {
    /// In a directory without a store.
    first_ms: f64,
    /// Where there is one.
    later_ms: f64,
}

/// Median of `runs` starts of each kind.
fn starts(directory: &Path, runs: u32) -> Result<Starts> {
    let path = directory.join("start.jsonl");
    let line = support::events(1, 5);
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let _ = std::fs::remove_dir_all(directory.join("state"));
        std::fs::write(&path, &line)?;
        for times in [&mut first, &mut later] {
            // Each with a simulator that has seen nothing.
            let (_simulator, address) = simulator()?;
            let configuration = configuration(directory, &address, &path, ("", ""))?;
            let begin = SystemTime::now();
            let agent = run(&configuration)?;
            times.push(first_request_ms(&address, begin)?);
            agent.stop()?;
            std::fs::OpenOptions::new().append(true).open(&path)?.write_all(&line)?;
        }
    }
    Ok(Starts { first_ms: median(first), later_ms: median(later) })
}
