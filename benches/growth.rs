//! What grows with what is kept: the agent beside a backlog, receipts, files and meters.
//!
//! For each of these, in some sizes: the time from the start to the first request, what the agent
//! takes while nothing happens, what an event costs when many come, and the most memory. Each is to be
//! compared with the smallest size. The agent and its far end are real processes. What waits was packed
//! and committed by the program's own code; receipts and hours, of which there are millions, are rows as
//! it writes them, in a store that it has made. Prints a table in Markdown; where `METERD_BENCH_PICTURE`
//! names a file and all sizes were measured, draws it there.
//!
//! `cargo bench --bench growth`, some half an hour and 5 GB of disk; `METERD_BENCH_RUNS=1` is a quick
//! look without the largest sizes.

#[path = "growth/picture.rs"]
mod picture;
mod support;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use meterd::clock::Timestamp;
use meterd::group::PackedGroup;
use meterd::meter::Meter;
use meterd::pack::packer::Packer;
use meterd::store::{FILE_NAME, Settings, Store, Work};
use picture::{Line, Panel};
use rusqlite::Connection;
use support::process::{
    Result, accepted, first_request_ms, median, peak_mib, run, schedstat_seconds, simulator,
    wait_accepted,
};

/// What one run of a case took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// From the start of the process to its first request.
    start_ms: f64,
    /// Of a core, while nothing happens.
    idle: f64,
    /// For one event of many.
    cpu_micros: f64,
    peak_mib: f64,
}

/// Something that there can be more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Batches of one event that wait for their far end.
    Batches,
    /// Mebibytes in batches of full requests that wait.
    Backlog,
    Receipts,
    /// Hours in which something was counted, of each of 50 meters.
    Hours,
    /// Files of one source, of which one is written to.
    Files,
    /// Meters, each with a source and a directory of its own that is written to.
    Meters,
}

/// A size of something.
struct Case {
    kept: Kept,
    size: u32,
    /// The files that are written to.
    files: Vec<PathBuf>,
    configuration: String,
    directory: PathBuf,
    runs: Vec<Figures>,
}

const ALL: [(Kept, [u32; 4]); 6] = [
    (Kept::Batches, [0, 1_000, 10_000, 100_000]),
    (Kept::Backlog, [0, 10, 100, 1_000]),
    (Kept::Receipts, [0, 100_000, 1_000_000, 10_000_000]),
    (Kept::Hours, [0, 100, 1_000, 10_000]),
    (Kept::Files, [1, 100, 1_000, 10_000]),
    (Kept::Meters, [1, 10, 50, 200]),
];

/// How much is done of everything.
struct Effort {
    runs: u32,
    /// Of the sizes, from the smallest.
    sizes: usize,
    /// Longer than it takes from one look at everything to the next.
    idle: Duration,
    events: u32,
}

fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they work: a short run then.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let runs = std::env::var("METERD_BENCH_RUNS").ok().and_then(|text| text.parse().ok());
    let effort = match runs.unwrap_or(3) {
        _ if !is_bench => {
            Effort { runs: 1, sizes: 1, idle: Duration::from_millis(100), events: 2_000 }
        }
        1 => Effort { runs: 1, sizes: 3, idle: Duration::from_secs(2), events: 300_000 },
        runs => Effort { runs, sizes: 4, idle: Duration::from_secs(21), events: 600_000 },
    };
    let directory = tempfile::tempdir()?;
    let mut cases = Vec::new();
    for (kept, sizes) in ALL {
        for size in sizes.into_iter().take(effort.sizes) {
            cases.push(Case::new(directory.path(), kept, size)?);
        }
    }
    let lines = support::events(effort.events as usize, 11);
    // In turns, so that what else the machine does strikes all alike.
    for _ in 0..effort.runs {
        for case in &mut cases {
            let figures = case.run(&lines, &effort)?;
            case.runs.push(figures);
        }
    }
    let mut out = std::io::stdout().lock();
    let Effort { runs, idle, events, .. } = effort;
    writeln!(out, "{events} events, {} s of rest, median of {runs} runs\n", idle.as_secs())?;
    out.write_all(table(&cases)?.as_bytes())?;
    let is_whole = effort.sizes == 4;
    if let Some(path) = std::env::var_os("METERD_BENCH_PICTURE").filter(|_| is_whole) {
        fs::write(path, picture::draw(&panels(&cases))?)?;
    }
    Ok(())
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Batches => "batches that wait",
            Self::Backlog => "MiB that wait",
            Self::Receipts => "receipts",
            Self::Hours => "hours counted",
            Self::Files => "files followed",
            Self::Meters => "meters",
        }
    }
}

impl Case {
    /// Prepares `size` of `kept` below `parent`.
    fn new(parent: &Path, kept: Kept, size: u32) -> Result<Self> {
        let directory = parent.join(format!("{kept:?}-{size}"));
        let (state, logs) = (directory.join("state"), directory.join("logs"));
        fs::create_dir_all(&logs)?;
        let settings = Settings {
            directory: state.clone(),
            bytes_max: u64::MAX,
            receipts_keep: Duration::from_secs(90 * 24 * 60 * 60),
        };
        let store = Store::open(&settings, "bench")?;
        match kept {
            Kept::Batches => wait(store, 1, |_| u64::from(size))?,
            Kept::Backlog => {
                wait(store, support::EVENTS_PER_REQUEST, |bytes| (u64::from(size) << 20) / bytes)?;
            }
            Kept::Receipts | Kept::Hours => {
                drop(store);
                fill(&Connection::open(state.join(FILE_NAME))?, kept, size)?;
            }
            Kept::Files | Kept::Meters => {}
        }
        let (files, meters) = match kept {
            Kept::Files => (size, 1),
            Kept::Meters => (size, size),
            Kept::Batches | Kept::Backlog | Kept::Receipts | Kept::Hours => (1, 1),
        };
        let all: Vec<PathBuf> = (0..files)
            .map(|number| match kept {
                Kept::Meters => logs.join(number.to_string()).join("usage.jsonl"),
                _ => logs.join(format!("{number}.jsonl")),
            })
            .collect();
        for (seed, file) in (0..).zip(&all) {
            fs::create_dir_all(file.parent().unwrap_or(&logs))?;
            fs::write(file, support::events(1, seed))?;
        }
        let files = all.into_iter().take(meters as usize).collect();
        let configuration = directory.join("meterd.toml").display().to_string();
        Ok(Self { kept, size, files, configuration, directory, runs: Vec::new() })
    }

    /// Writes the configuration, for a far end at `address`.
    fn configure(&self, address: &str) -> Result<()> {
        let state = self.directory.join("state");
        let mut text = format!(
            "[agent]\nname = \"bench\"\nstate_dir = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [mediation]\nbase_url = \"http://{address}\"\n[log]\nlevel = \"error\"\n\
             [store]\nbytes_max = \"100GiB\"\n[meters.waiting]\nglobal_id = \"waiting\"\n",
            state.display()
        );
        for (number, file) in self.files.iter().enumerate() {
            let pattern = match self.kept {
                Kept::Files => file.with_file_name("*.jsonl"),
                _ => file.clone(),
            };
            write!(
                text,
                "[meters.m{number}]\nglobal_id = \"m{number}\"\n[sources.s{number}]\n\
                 type = \"file\"\nmeter = \"m{number}\"\npaths = [\"{}\"]\n",
                pattern.display()
            )?;
        }
        Ok(fs::write(&self.configuration, text)?)
    }

    /// One run: starts, rests, and takes `lines`.
    fn run(&self, lines: &[u8], effort: &Effort) -> Result<Figures> {
        // A far end for each run: it tells when its first request came.
        let (_simulator, address) = simulator()?;
        self.configure(&address)?;
        self.hold_waiting()?;
        append(self.files.first().ok_or("no file")?, &support::events(1, 5))?;
        let begin = SystemTime::now();
        let agent = run(&self.configuration)?;
        let start_ms = first_request_ms(&address, begin)?;
        settle(&address)?;
        let (began, before) = (Instant::now(), schedstat_seconds(&agent.id())?);
        std::thread::park_timeout(effort.idle);
        let rested = schedstat_seconds(&agent.id())?;
        let idle = (rested - before) / began.elapsed().as_secs_f64();
        let before = accepted(&address)?;
        let mut ends = memchr::memchr_iter(b'\n', lines);
        let share = effort.events as usize / self.files.len();
        let mut at = 0;
        for (number, file) in self.files.iter().enumerate() {
            let is_last = number + 1 == self.files.len();
            let end = if is_last { None } else { ends.nth(share - 1) };
            let end = end.map_or(lines.len(), |end| end + 1);
            append(file, lines.get(at..end).unwrap_or_default())?;
            at = end;
        }
        wait_accepted(&address, before + effort.events, Duration::from_millis(5))?;
        let busy = schedstat_seconds(&agent.id())? - rested;
        let peak_mib = peak_mib(&agent.id())?;
        agent.stop()?;
        Ok(Figures { start_ms, idle, cpu_micros: busy / f64::from(effort.events) * 1e6, peak_mib })
    }

    /// The far end wants nothing of the batches that wait for some time yet.
    fn hold_waiting(&self) -> Result<()> {
        let store = Connection::open(self.directory.join("state").join(FILE_NAME))?;
        let query = "INSERT OR REPLACE INTO lanes VALUES ('waiting', 'running', '', 0, ?1)";
        let later = Timestamp::now().after(Duration::from_secs(600));
        store.execute(query, [later.as_millis()])?;
        Ok(())
    }

    fn median(&self, figure: fn(&Figures) -> f64) -> f64 {
        median(self.runs.iter().map(figure))
    }
}

/// Commits requests of `events` events that wait; `count` tells of the bytes of one how many.
fn wait(mut store: Store, events: usize, count: impl FnOnce(u64) -> u64) -> Result<()> {
    let meter = Arc::new(Meter::new("waiting", String::new()));
    let group = support::group_of(&support::stream(&meter), &support::events(events, 7));
    let now = Timestamp::now();
    let packed = Packer::new(support::LEVEL).pack(&group, now)?;
    let bytes: u64 = packed.batches.iter().map(|batch| batch.body.len() as u64).sum();
    let mut left = count(bytes);
    while left > 0 {
        let together = left.min(256);
        left -= together;
        let groups: Vec<PackedGroup> = (0..together).map(|number| again(&packed, number)).collect();
        store.commit(&Work { groups: &groups, settlements: &[], now })?;
    }
    Ok(())
}

/// Another group that is the same.
fn again(packed: &PackedGroup, number: u64) -> PackedGroup {
    PackedGroup {
        number,
        destination: packed.destination.clone(),
        batches: packed.batches.clone(),
        dead_letters: Vec::new(),
        cursors: Vec::new(),
        tallies: packed.tallies.clone(),
        origins: Vec::new(),
        permits: Vec::new(),
        notices: Vec::new(),
    }
}

/// Puts `size` of `kept` into a store.
fn fill(store: &Connection, kept: Kept, size: u32) -> Result<()> {
    const NUMBERS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    let now = Timestamp::now();
    if size == 0 {
        return Ok(());
    }
    if kept == Kept::Receipts {
        let query = format!(
            "{NUMBERS} INSERT INTO receipts (batch, meter, track_id, events, payload_bytes, \
             wire_bytes, sha256, attempts, outcome_unknown_attempts, created_at, delivered_at, \
             status) SELECT i, 'm0', 'bench-0123456789abcdef-' || i, 1000, 115000, 20000, \
             zeroblob(32), 1, 0, ?2 - ?1 + i, ?2 - ?1 + i, 200 FROM n"
        );
        store.execute(&query, (size, now.as_millis()))?;
        store.execute("INSERT INTO sqlite_sequence VALUES ('batches', ?1)", [size])?;
        return Ok(());
    }
    // What is delivered is counted without its source.
    for (source, column) in [("'s' || number", "read"), ("''", "delivered")] {
        let query = format!(
            "{NUMBERS}, m(number) AS (SELECT i - 1 FROM n WHERE i <= 50) \
             INSERT INTO tallies (hour, meter, source, {column}) \
             SELECT ?2 - ?1 + i, 'm' || number, {source}, 1000 FROM n, m"
        );
        store.execute(&query, (size, now.hour()))?;
    }
    Ok(())
}

fn append(file: &Path, lines: &[u8]) -> Result<()> {
    Ok(OpenOptions::new().append(true).open(file)?.write_all(lines)?)
}

/// Waits until all that was there at the start has arrived.
fn settle(address: &str) -> Result<()> {
    let mut before = 0;
    loop {
        std::thread::park_timeout(Duration::from_millis(1500));
        let now = accepted(address)?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
}

/// What the figures are of the smallest size of the same.
fn table(cases: &[Case]) -> Result<String> {
    let mut text = String::from(
        "| | | us of CPU an event | of the smallest | of a core at rest | ms to the first request | peak MiB |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut smallest = 0.0;
    for case in cases {
        let cpu_micros = case.median(|run| run.cpu_micros);
        if ALL.iter().any(|(kept, sizes)| *kept == case.kept && sizes[0] == case.size) {
            smallest = cpu_micros;
        }
        writeln!(
            text,
            "| {} | {} | {cpu_micros:.3} | {:.2} | {:.2} % | {:.0} | {:.0} |",
            case.kept.name(),
            case.size,
            cpu_micros / smallest,
            case.median(|run| run.idle) * 100.0,
            case.median(|run| run.start_ms),
            case.median(|run| run.peak_mib),
        )?;
    }
    Ok(text)
}

fn panels(cases: &[Case]) -> [Panel; 4] {
    let lines = |figure: fn(&Figures) -> f64| {
        let line = |(kept, _): &(Kept, _)| {
            let own = cases.iter().filter(|case| case.kept == *kept);
            let points = own.map(|case| (f64::from(case.size), case.median(figure))).collect();
            Line { name: kept.name(), points }
        };
        ALL.iter().map(line).collect()
    };
    [
        Panel { title: "CPU for an event, us", lines: lines(|run| run.cpu_micros) },
        Panel { title: "of a core at rest, %", lines: lines(|run| run.idle * 100.0) },
        Panel { title: "start to first request, ms", lines: lines(|run| run.start_ms) },
        Panel { title: "memory, MiB at most", lines: lines(|run| run.peak_mib) },
    ]
}
