//! What a suite has shown, kept for the table of `docs/guarantees.md`.
//!
//! Each test leaves a figure in `target/tmp/scorecard`, one file for each profile. A test that begins
//! takes its last figure away, so a failure leaves none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::seed::{is_full, say};
use crate::harness::{Error, Result, text};

/// A row of the scorecard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Such as `L1`.
    pub(crate) id: &'static str,
    /// What is done.
    pub(crate) what: &'static str,
    /// What is wanted of it.
    pub(crate) wanted: &'static str,
    /// The parts that together are the row, each with a figure of its own.
    pub(crate) parts: &'static [&'static str],
}

/// Every row, in the order of the table.
pub(crate) const ROWS: [Row; 21] = [
    Row {
        id: "L1",
        what: "SIGKILL before and behind each file call, also during recovery and the first start",
        wanted: "lost 0, repeats without a record 0, over 2,000 points",
        parts: &["send", "file", "stdin", "tcp", "http", "recovery"],
    },
    Row {
        id: "L2",
        what: "power cut before each file call: a real file system, shut down",
        wanted: "lost 0, repeats without a record 0, over 1,000 points",
        parts: &["ext4, log written", "ext4, log lost", "xfs, log written", "xfs, log lost"],
    },
    Row {
        id: "L5",
        what: "a bug is put in on purpose (`tests/reliability/bugs`)",
        wanted: "12 of 12 caught; the other rows are the clean tree",
        parts: &["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"],
    },
    Row {
        id: "L6",
        what: "a file call fails (EIO, ENOSPC), writes half, or is torn: each of them",
        wanted: "no false acknowledgement, goes on by itself when it can",
        parts: &["EIO", "ENOSPC", "short write", "torn write"],
    },
    Row {
        id: "L7",
        what: "a bit, the end or the tail of a file of the store is another one",
        wanted: "lost without a word 0, panics 0, over 2,000 mutations",
        parts: &["bit flips", "truncations", "zeroed tails"],
    },
    Row {
        id: "D1",
        what: "the answers end at each byte, with and without a kill at a call",
        wanted: "repeats without a record 0",
        parts: &[""],
    },
    Row {
        id: "D2",
        what: "what is flagged as unknown against what came twice",
        wanted: "under-reporting 0, over-reporting printed",
        parts: &[""],
    },
    Row {
        id: "F1",
        what: "the real logrotate in each mode against a live writer; the agent up, down, killed",
        wanted: "0 lost, 0 read twice, over 30 cases",
        parts: &[
            "create",
            "dateext",
            "copytruncate",
            "delaycompress",
            "delaycompress, zstd",
            "delaycompress, xz",
            "compress",
            "copytruncate, compress",
        ],
    },
    Row {
        id: "J1",
        what: "lines of odd JSON and naughty texts, through each source to the far end",
        wanted: "what is valid arrives byte for byte, what is not is a dead letter or a 400",
        parts: &[
            "file",
            "stdin",
            "tcp",
            "unix stream",
            "unix datagram",
            "http lines",
            "http events",
            "send",
        ],
    },
    Row {
        id: "N1",
        what: "a network that swallows, half opens, resets, loses 30 %, is slow; names; TLS faults",
        wanted: "never in clear text, never stuck beyond the time-outs",
        parts: &["network", "names", "TLS"],
    },
    Row {
        id: "N2",
        what: "429 and 5xx storms, under way with a backlog",
        wanted: "requests over the allowed rate at most 1 %, full rate within twice Retry-After",
        parts: &["429", "503", "500"],
    },
    Row {
        id: "M1",
        what: "64 MiB of memory: connections, an endless line, gzip bombs both ways, a giant string",
        wanted: "no kill by memory, a good peer is served",
        parts: &["in", "answers"],
    },
    Row {
        id: "R1",
        what: "a start with stored events after SIGKILL in the full load",
        wanted: "first request within 2 s",
        parts: &[""],
    },
    Row {
        id: "R2",
        what: "a soak: something goes wrong every second or two, and events come by a file, a connection and requests",
        wanted: "lost 0, without a record 0, memory flat",
        parts: &[""],
    },
    Row {
        id: "L8",
        what: "the disk is full, then freed; inodes used up; no writes any more",
        wanted: "lost 0, at work again within 5 s",
        parts: &["no room", "no inodes", "read-only"],
    },
    Row {
        id: "F2",
        what: "a new file with the inode number and the first lines of a deleted one, over 1,000",
        wanted: "reads at a wrong offset 0",
        parts: &["with birth times", "without birth times", "another device"],
    },
    Row {
        id: "J2",
        what: "libFuzzer drives what reads foreign bytes (`fuzz/run`)",
        wanted: "no crash, hang or leak",
        parts: &[
            "answers",
            "body",
            "configuration",
            "formats",
            "framing",
            "json",
            "split",
            "times",
        ],
    },
    Row {
        id: "S1",
        what: "`systemd-analyze security --offline=true` of the service",
        wanted: "1.5 or less",
        parts: &[""],
    },
    Row {
        id: "S2",
        what: "marked secrets through a run with faults at the most talkative level",
        wanted: "0 hits in logs, store, pages, metrics, messages, /proc",
        parts: &[""],
    },
    Row {
        id: "S3",
        what: "links, pipes, devices, names, owners and modes in state and source paths",
        wanted: "0 successes of 20 cases and more",
        parts: &[""],
    },
    Row {
        id: "S4",
        what: "`cargo deny`; the release and its package, built in two places from one commit",
        wanted: "licences, bans, sources and advisories clean; equal bytes",
        parts: &["dependencies", "two builds"],
    },
];

/// A test that has begun.
#[derive(Debug)]
pub(crate) struct Scored {
    id: &'static str,
    part: &'static str,
}

impl Scored {
    /// Begins the test that gives `part` of row `id` its figure.
    pub(crate) fn begin(id: &'static str, part: &'static str) -> Result<Self> {
        let row = ROWS.iter().find(|row| row.id == id).ok_or_else(|| format!("no row {id}"))?;
        if !row.parts.contains(&part) {
            return Err(format!("row {id} has no part {part:?}").into());
        }
        let scored = Self { id, part };
        match std::fs::remove_file(scored.path(profile())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(scored),
        }
    }

    /// It was shown, with this figure.
    pub(crate) fn shown(self, figure: &str) -> Result {
        let Self { id, part } = self;
        say(&format!("scorecard: {id} {part}: {figure}"));
        let path = self.path(profile());
        std::fs::create_dir_all(directory())?;
        let entry = json!({ "id": id, "part": part, "figure": figure });
        Ok(std::fs::write(path, entry.to_string())?)
    }

    /// It cannot be shown on this machine.
    pub(crate) fn skipped(self, why: &Error) {
        say(&format!("SKIPPED: {} {} is not shown: {why}", self.id, self.part));
    }

    fn path(&self, profile: &str) -> PathBuf {
        let part: String = self.part.chars().filter(char::is_ascii_alphanumeric).collect();
        directory().join(format!("{profile}-{}-{part}.json", self.id))
    }
}

/// The table, from the last figures of the full profile, and of the short one where there is none.
pub(crate) fn table() -> Result<String> {
    let mut figures = BTreeMap::new();
    for profile in ["short", "full"] {
        let Ok(entries) = std::fs::read_dir(directory()) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(profile) {
                let entry: Value = serde_json::from_slice(&std::fs::read(path)?)?;
                let key = (text(&entry, "/id")?.to_owned(), text(&entry, "/part")?.to_owned());
                let note = if profile == "short" { " (short profile)" } else { "" };
                figures.insert(key, format!("{}{note}", text(&entry, "/figure")?));
            }
        }
    }
    let mut table = "| | what is done | wanted | last figure |\n|---|---|---|---|\n".to_owned();
    for Row { id, what, wanted, parts } in ROWS {
        for (number, part) in parts.iter().enumerate() {
            let figure = figures.get(&(id.to_owned(), (*part).to_owned()));
            let figure = figure.map_or("**not shown**", String::as_str);
            // Said once for all parts.
            let (what, wanted) = if number == 0 { (what, wanted) } else { ("", "") };
            writeln!(
                table,
                "| {} | {what} | {wanted} | {figure} |",
                format!("{id} {part}").trim()
            )?;
        }
    }
    Ok(table)
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scorecard")
}

fn profile() -> &'static str {
    if is_full() { "full" } else { "short" }
}
