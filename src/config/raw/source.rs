//! `[sources.NAME]` as it may be typed.

mod listener;

use super::super::reader::Reader;
use super::mapping::Mapping;
use super::{DAY, HOUR, MILLISECOND, SECOND};
use crate::breaker;
use crate::source::file::ReadFrom;
use crate::source::{file, http, stdin, tcp, unix};

/// What `line_bytes_max` is unless a request holds less.
pub(in super::super) const LINE_BYTES_MAX: usize = 256 << 10;

/// `[sources.NAME]`.
#[derive(Debug)]
pub(in super::super) struct Source {
    pub(in super::super) name: String,
    /// The whole key of the section.
    pub(in super::super) key: String,
    /// None: wrong or missing, and noted; or of a kind that has none.
    pub(in super::super) meter: Option<Target>,
    /// The default depends on the meter.
    pub(in super::super) line_bytes_max: Option<usize>,
    /// None: the source is never held.
    pub(in super::super) breaker: Option<breaker::Settings>,
    /// None: wrong or missing, and noted.
    pub(in super::super) kind: Option<Kind>,
    pub(in super::super) mapping: Mapping,
}

/// `meter`: the name of one, or how it is found.
#[derive(Debug)]
pub(in super::super) enum Target {
    Named(String),
    Routed(Route),
}

/// `meter = { from = ..., map = { ... }, default = ... }`.
#[derive(Debug)]
pub(in super::super) struct Route {
    /// The whole key.
    pub(in super::super) key: String,
    pub(in super::super) from: Option<String>,
    /// Values and the names of their meters; none: each value is the name.
    pub(in super::super) map: Option<Vec<(String, String)>>,
    pub(in super::super) default: Option<String>,
}

/// The settings by `type`, complete but for `line_bytes_max`.
#[derive(Debug)]
pub(in super::super) enum Kind {
    File(file::Settings),
    Stdin(stdin::Settings),
    Tcp(tcp::Settings),
    Unix(unix::Settings),
    /// With the names of its meters; none: all.
    Http(http::Settings, Vec<String>),
}

#[derive(Debug, Clone, Copy)]
enum Type {
    File,
    Stdin,
    Tcp,
    Unix,
    Http,
}

impl Source {
    pub(super) fn read(name: String, reader: Reader<'_>) -> Self {
        let line_bytes_max = reader.size("line_bytes_max", 1..=64 << 20);
        let breaker = read_breaker(&reader);
        let types = [
            ("file", Type::File),
            ("stdin", Type::Stdin),
            ("tcp", Type::Tcp),
            ("unix", Type::Unix),
            ("http", Type::Http),
        ];
        if !reader.is_set("type") {
            reader.missing("type", "one of \"file\", \"stdin\", \"tcp\", \"unix\", \"http\"");
        }
        let chosen = reader.choice("type", &types);
        // The clients of an HTTP source say which meter they mean.
        let has_meter = !matches!(chosen, Some(Type::Http));
        if has_meter && !reader.is_set("meter") {
            reader.missing("meter", "the name of one of the meters");
        }
        let kind = match chosen {
            Some(Type::File) => Some(Kind::File(read_file(&reader))),
            Some(Type::Stdin) => {
                Some(Kind::Stdin(stdin::Settings { line_bytes_max: LINE_BYTES_MAX }))
            }
            Some(Type::Tcp) => listener::read_tcp(&reader, &name).map(Kind::Tcp),
            Some(Type::Unix) => listener::read_unix(&reader, &name).map(Kind::Unix),
            Some(Type::Http) => {
                let mapped = ["format", "select", "on_unparsable", "fields"];
                for key in mapped.into_iter().chain(["transform", "transform_file"]) {
                    reader.unsupported(key, "the key to be left out: requests hold events in JSON");
                }
                listener::read_http(&reader, &name).map(|(http, meters)| Kind::Http(http, meters))
            }
            None => None,
        };
        let source = Self {
            name,
            key: reader.path().to_owned(),
            meter: if has_meter { Target::read(&reader) } else { None },
            line_bytes_max: line_bytes_max.and_then(|bytes| usize::try_from(bytes).ok()),
            breaker,
            kind,
            mapping: Mapping::read(&reader),
        };
        // Without a type nobody knows which keys are unknown.
        if chosen.is_some() {
            reader.finish();
        }
        source
    }
}

impl Target {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        if !reader.is_section("meter") {
            return reader.text("meter").map(Self::Named);
        }
        let section = reader.section("meter");
        if !section.is_set("from") {
            section.missing("from", "the value that names the meter, such as \"/meter\"");
        }
        let route = Route {
            key: section.path().to_owned(),
            from: section.text("from"),
            map: section.table("map"),
            default: section.text("default"),
        };
        section.finish();
        Some(Self::Routed(route))
    }
}

fn read_breaker(reader: &Reader<'_>) -> Option<breaker::Settings> {
    let default = breaker::Settings::default();
    let share = reader.number("invalid_share_max", 0.0..=1.0);
    let window = reader.integer("invalid_window", 1..=1_000_000);
    let hold = reader.duration("invalid_hold", MILLISECOND..=DAY);
    let settings = breaker::Settings {
        invalid_share_max: share.unwrap_or(default.invalid_share_max),
        invalid_window: window
            .and_then(|lines| u32::try_from(lines).ok())
            .unwrap_or(default.invalid_window),
        invalid_hold: hold.unwrap_or(default.invalid_hold),
    };
    // No share is larger than 1.
    (settings.invalid_share_max < 1.0).then_some(settings)
}

fn read_file(reader: &Reader<'_>) -> file::Settings {
    let patterns = |key| {
        let patterns = reader.texts(key).unwrap_or_default();
        for (index, pattern) in patterns.iter().enumerate() {
            check_pattern(reader, &format!("{key}[{index}]"), pattern);
        }
        patterns
    };
    let paths = patterns("paths");
    if paths.is_empty() && !reader.notes().is_bad(&reader.key("paths")) {
        reader.missing("paths", "at least one path or pattern, such as \"/var/log/app/*.jsonl\"");
    }
    let from = [("beginning", ReadFrom::Beginning), ("end", ReadFrom::End)];
    let open_files_max = reader.integer("open_files_max", 1..=1 << 20);
    file::Settings {
        paths,
        exclude: patterns("exclude"),
        read_from: reader.choice("read_from", &from).unwrap_or_default(),
        line_bytes_max: LINE_BYTES_MAX,
        poll_interval: reader.duration("poll_interval", MILLISECOND..=HOUR).unwrap_or(SECOND),
        open_files_max: open_files_max.and_then(|n| usize::try_from(n).ok()).unwrap_or(512),
        ignore_older: reader.duration("ignore_older", SECOND..=DAY * 3650),
        remove_after: reader.duration("remove_after", SECOND..=DAY * 3650),
    }
}

fn check_pattern(reader: &Reader<'_>, key: &str, pattern: &str) {
    let found = super::super::problem::quoted(pattern);
    if pattern.is_empty() {
        reader.notes().problem(reader.key(key), found, "a path or pattern");
    } else if let Err(error) = glob::Pattern::new(pattern) {
        let expected = format!("a valid pattern: {} at character {}", error.msg, error.pos + 1);
        reader.notes().problem(reader.key(key), found, expected);
    }
}
