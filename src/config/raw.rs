//! What may be typed: one type per section, each value checked on its own, defaults filled in
//! where they depend on nothing else. What the values mean together is the matter of `resolve`.

mod mapping;
mod mediation;
mod meter;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value};

use super::problem::Notes;
use super::reader::Reader;
use super::{Log, LogFormat};
use crate::control::reconcile;
use crate::delivery::OnUnknown;

pub(super) use mapping::{Condition, Field as FieldRule, FormatName, Input, Mapping};
pub(super) use mediation::{Auth, Limits, Mediation, Secret};
pub(super) use meter::{Field, Meter, Schema};
pub(super) use source::{Kind, LINE_BYTES_MAX, Route, Source, Target};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The whole document.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) agent: Agent,
    pub(super) mediation: Mediation,
    pub(super) store: Store,
    pub(super) batch: Batch,
    pub(super) delivery: Delivery,
    pub(super) reconcile: reconcile::Settings,
    pub(super) admin: Admin,
    pub(super) log: Log,
    pub(super) meters: Vec<Meter>,
    pub(super) sources: Vec<Source>,
}

/// `[agent]`.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) name: Option<String>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) shutdown_grace: Duration,
    pub(super) intake_bytes_max: Option<u64>,
    pub(super) sandbox: bool,
    pub(super) sandbox_read: Vec<String>,
}

/// `[store]`.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) bytes_max: u64,
    pub(super) receipts_keep: Duration,
}

/// `[batch]`.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) linger_max: Duration,
    pub(super) compression_level: u32,
    /// 0: one per core.
    pub(super) workers: usize,
}

/// `[delivery]`.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) backoff_base: Duration,
    pub(super) backoff_max: Duration,
    pub(super) retry_after_max: Duration,
    pub(super) hold_interval: Duration,
    pub(super) on_unknown: OnUnknown,
}

/// `[admin]`.
#[derive(Debug)]
pub(super) struct Admin {
    /// None: nowhere.
    pub(super) listen: Option<SocketAddr>,
    pub(super) token: Secret,
    pub(super) lag_max: Duration,
}

impl Raw {
    /// Reads the whole of `document`; what is wrong goes to `notes`.
    pub(super) fn read(document: &Map<String, Value>, notes: &Notes) -> Self {
        let root = Reader::root(document, notes);
        let raw = Self {
            agent: Agent::read(root.section("agent")),
            mediation: Mediation::read(root.section("mediation")),
            store: Store::read(root.section("store")),
            batch: Batch::read(root.section("batch")),
            delivery: Delivery::read(root.section("delivery")),
            reconcile: read_reconcile(root.section("reconcile")),
            admin: Admin::read(root.section("admin")),
            log: log(root.section("log")),
            meters: read_named(&root, "meters", Meter::read),
            sources: read_named(&root, "sources", Source::read),
        };
        root.finish();
        raw
    }
}

impl Admin {
    fn read(reader: Reader<'_>) -> Self {
        let default = SocketAddr::from(([127, 0, 0, 1], 9180));
        let listen = reader.text_that("listen", |text| {
            let expected = "an address and port, such as \"127.0.0.1:9180\", or \"\" for none";
            text.parse::<SocketAddr>().map(|_| ()).map_err(|_| expected.to_owned())
        });
        let listen = match listen {
            Some(text) => text.parse().ok(),
            None if reader.is_empty_text("listen") => None,
            None => Some(default),
        };
        let admin = Self {
            listen,
            token: Secret::read(&reader, "token", "token_file"),
            lag_max: reader.duration("lag_max", SECOND..=DAY * 365).unwrap_or(MINUTE * 15),
        };
        reader.finish();
        admin
    }
}

impl Agent {
    fn read(reader: Reader<'_>) -> Self {
        let agent = Self {
            name: reader.text_that("name", name),
            state_dir: reader.file("state_dir"),
            shutdown_grace: reader
                .duration("shutdown_grace", MILLISECOND..=HOUR)
                .unwrap_or(SECOND * 20),
            intake_bytes_max: reader.size("intake_bytes_max", 64 << 10..=1 << 30),
            sandbox: reader.boolean("sandbox").unwrap_or(true),
            sandbox_read: reader.texts("sandbox_read").unwrap_or_default(),
        };
        reader.finish();
        agent
    }
}

impl Store {
    fn read(reader: Reader<'_>) -> Self {
        let store = Self {
            bytes_max: reader.size("bytes_max", 256 << 10..=1 << 50).unwrap_or(10 << 30),
            receipts_keep: reader
                .duration("receipts_keep", SECOND..=DAY * 36_500)
                .unwrap_or(DAY * 90),
        };
        reader.finish();
        store
    }
}

impl Batch {
    fn read(reader: Reader<'_>) -> Self {
        let level = reader.integer("compression_level", 1..=9).and_then(|n| u32::try_from(n).ok());
        let workers = reader.integer("workers", 0..=256).and_then(|n| usize::try_from(n).ok());
        let batch = Self {
            linger_max: reader.duration("linger_max", MILLISECOND..=MINUTE).unwrap_or(SECOND),
            compression_level: level.unwrap_or(2),
            workers: workers.unwrap_or(0),
        };
        reader.finish();
        batch
    }
}

impl Delivery {
    fn read(reader: Reader<'_>) -> Self {
        let duration = |key, default| reader.duration(key, MILLISECOND..=DAY).unwrap_or(default);
        let on_unknown = [("resend", OnUnknown::Resend), ("hold", OnUnknown::Hold)];
        let delivery = Self {
            backoff_base: duration("backoff_base", SECOND),
            backoff_max: duration("backoff_max", MINUTE),
            retry_after_max: duration("retry_after_max", MINUTE * 15),
            hold_interval: duration("hold_interval", MINUTE),
            on_unknown: reader.choice("on_unknown", &on_unknown).unwrap_or_default(),
        };
        reader.finish();
        delivery
    }
}

/// `[reconcile]`.
fn read_reconcile(reader: Reader<'_>) -> reconcile::Settings {
    let default = reconcile::Settings::default();
    let settings = reconcile::Settings {
        every: reader.duration("every", SECOND..=DAY * 31),
        delay: reader.duration("delay", SECOND..=DAY * 31).unwrap_or(default.delay),
        window: reader.duration("window", SECOND..=DAY * 366).unwrap_or(default.window),
    };
    reader.finish();
    settings
}

fn log(reader: Reader<'_>) -> Log {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let log = Log {
        format: reader.choice("format", &formats).unwrap_or(LogFormat::Text),
        level: reader.choice("level", &levels).unwrap_or(tracing::Level::INFO),
    };
    reader.finish();
    log
}

/// Reads every section below `key`. A name that can't be a label makes a problem of its own.
fn read_named<T>(
    root: &Reader<'_>,
    key: &'static str,
    read: impl Fn(String, Reader<'_>) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for (typed, reader) in root.named(key) {
        if let Err(expected) = name(&typed) {
            let found = format!("the name {}", super::problem::quoted(&typed));
            root.notes().problem(reader.path(), found, expected);
        }
        all.push(read(typed, reader));
    }
    all
}

/// Whether `text` can be a name: it becomes a label, a part of a header and of a path.
fn name(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
        Ok(())
    } else {
        Err("1 to 64 letters, digits, '.', '_' or '-'".to_owned())
    }
}
