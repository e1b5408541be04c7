//! From what an operator typed to [`agent::Settings`].
//!
//! A file (TOML, or YAML or JSON by its ending) is the lower layer, the environment
//! (`METERD__SECTION__KEY`) the upper one. Everything that is wrong is reported at once, each
//! [`Problem`] with its key, what was found and what would be right. Two steps, two kinds of
//! types: `raw` is what may be typed, `resolve` is what it means.
//!
//! Loading reads the files that the configuration names. It creates, binds, connects and prints
//! nothing, and no secret is ever part of a problem, a warning or a `Debug` form.

mod environment;
mod problem;
mod raw;
mod reader;
mod resolve;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ::config::{Config, FileFormat, Format as _, Map, Source, Value, ValueKind};

pub use problem::{Problem, Warning};

use self::problem::Notes;
use crate::agent;

/// The file that is read when none is named.
pub const DEFAULT_PATH: &str = "/etc/meterd/meterd.toml";

/// The most bytes that a configuration file may have.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a configuration is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadFor {
    /// The daemon: at least one meter and one source.
    Run,
    /// Sending given files: at least one meter. Sources need not be there.
    Send,
    /// To put events back into the store: nothing is sent, so that only what says what events look
    /// like and where the store is has to be right. Secrets need not be readable.
    Mend,
    /// To ask the daemon: only what says where it answers has to be right.
    Ask,
    /// To ask the meter APIs: only what says where Mediation is, who we are there, and which meters
    /// there are has to be right. Meters may be missing, the base URL may not.
    Control,
    /// To compare the store with Mediation: what both say of it has to be right. The base URL may not be
    /// missing.
    Reconcile,
    /// To look at the store: only what says where it is has to be right. Secrets need not be
    /// readable by who looks.
    Look,
}

/// The language of a configuration text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How it is written.
    pub format: LogFormat,
    /// The least important level that is still written.
    pub level: tracing::Level,
}

/// A configuration without problems.
#[derive(Debug)]
pub struct Loaded {
    /// What the agent needs.
    pub settings: agent::Settings,
    /// How it logs.
    pub log: Log,
    /// What works and is probably not meant.
    pub warnings: Vec<Warning>,
}

/// Why there is no configuration. All of it is exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there or may not be read.
    #[error("read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file's ending names no known language.
    #[error("tell the language of the configuration {}: its name ends neither in .toml, .yaml, .yml nor .json", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// The text is not in its language.
    #[error("parse the configuration {place}: {message}")]
    Syntax {
        /// File, line and column, as far as they are known, such as `meterd.toml:3:7`.
        place: String,
        /// What the parser says, without the text of the line: it may hold a secret.
        message: String,
    },
    /// The text can be read and its values are wrong; at least one.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
}

/// Loads the file at `path` and `environment` above it.
///
/// Without a `path` it is the file at [`DEFAULT_PATH`], which then may be missing when there
/// are variables of ours in `environment`. `environment` also tells `STATE_DIRECTORY`.
///
/// # Errors
///
/// All problems at once, or why there is nothing to look at.
pub fn load(
    purpose: LoadFor,
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Error> {
    let environment: HashMap<_, _> = environment.collect();
    let file = path.unwrap_or(Path::new(DEFAULT_PATH));
    let (text, readable_by_others) = match read(file) {
        Err(error)
            if path.is_none()
                && error.kind() == ErrorKind::NotFound
                && environment::concerns_us(&environment) =>
        {
            let document = Document { file: None, readable_by_others: false };
            return evaluate(purpose, Map::new(), &environment, &document);
        }
        read => read.map_err(|source| Error::Unreadable { path: file.to_owned(), source })?,
    };
    let format = Format::of(file).ok_or_else(|| Error::Ending { path: file.to_owned() })?;
    let table = parse(&text, format, &file.display().to_string())?;
    let document = Document { file: Some(file), readable_by_others };
    evaluate(purpose, table, &environment, &document)
}

/// Loads a text as [`load`] does a file.
pub fn load_str(
    purpose: LoadFor,
    text: &str,
    format: Format,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Error> {
    let table = parse(text, format, "text")?;
    let document = Document { file: None, readable_by_others: false };
    evaluate(purpose, table, &environment.collect(), &document)
}

/// The environment of this process, without names that are not Unicode.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    })
}

impl Format {
    /// The language that the ending of `path` names.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Where a configuration comes from.
struct Document<'a> {
    file: Option<&'a Path>,
    readable_by_others: bool,
}

/// A parsed file as a layer.
#[derive(Debug, Clone)]
struct Parsed(Map<String, Value>);

impl Source for Parsed {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn evaluate(
    purpose: LoadFor,
    table: Map<String, Value>,
    environment: &HashMap<String, String>,
    document: &Document<'_>,
) -> Result<Loaded, Error> {
    let (loaded, _) = evaluate_with_known(purpose, table, environment, document);
    loaded
}

/// Also answers every key that the reader asked for.
fn evaluate_with_known(
    purpose: LoadFor,
    mut table: Map<String, Value>,
    environment: &HashMap<String, String>,
    document: &Document<'_>,
) -> (Result<Loaded, Error>, BTreeSet<String>) {
    let notes = Notes::default();
    // The builder takes names at the top for paths and would make lists as long as they say.
    table.retain(|key, _| {
        let plain = !key.contains(['.', '[']);
        if !plain {
            notes.problem(key, "an unknown key", "sections such as [agent] and [mediation]");
        }
        plain
    });
    let variables = environment::layer(environment, &table, &notes);
    let merged = Config::builder().add_source(Parsed(table)).add_source(variables).build();
    let merged = match merged.map(|config| config.cache.kind) {
        Ok(ValueKind::Table(table)) => table,
        Ok(_) => Map::new(),
        Err(error) => {
            let (place, message) = ("with the environment".to_owned(), error.to_string());
            return (Err(Error::Syntax { place, message }), BTreeSet::new());
        }
    };
    let raw = raw::Raw::read(&merged, &notes);
    let log = raw.log;
    let surroundings = resolve::Surroundings {
        purpose,
        file: document.file,
        readable_by_others: document.readable_by_others,
        state_directory: environment.get("STATE_DIRECTORY").map(String::as_str),
        environment,
    };
    let settings = resolve::resolve(raw, &surroundings, &notes);
    let (mut problems, warnings, known) = notes.into_parts();
    let sections: &[&str] = match purpose {
        LoadFor::Run | LoadFor::Send => &[],
        LoadFor::Mend => &["agent", "store", "batch", "mediation.limits", "meters", "sources"],
        LoadFor::Ask => &["admin"],
        LoadFor::Control => &["mediation", "delivery", "meters", "log"],
        LoadFor::Reconcile => {
            &["agent", "store", "mediation", "delivery", "meters", "log", "reconcile"]
        }
        LoadFor::Look => &["agent", "store"],
    };
    if !sections.is_empty() {
        problems.retain(|problem| sections.iter().any(|section| problem.is_in(section)));
    }
    if problems.is_empty() {
        (Ok(Loaded { settings, log, warnings }), known)
    } else {
        (Err(Error::Problems(problems)), known)
    }
}

/// The text of `path`, and whether others than owner and group may read it.
fn read(path: &Path) -> std::io::Result<(String, bool)> {
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "more than 4 MiB"));
    }
    Ok((text, mode & 0o004 != 0))
}

fn parse(text: &str, format: Format, name: &str) -> Result<Map<String, Value>, Error> {
    let language = match format {
        Format::Toml => FileFormat::Toml,
        Format::Yaml => FileFormat::Yaml,
        Format::Json => FileFormat::Json,
    };
    language.parse(None, text).map_err(|error| {
        // Errors without a place are about values, and some repeat them or the whole text.
        let (position, message) = if error.is::<Box<::config::ConfigError>>() {
            (None, String::new())
        } else {
            without_excerpt(&error.to_string())
        };
        let message = match (position, error.downcast_ref::<std::num::ParseIntError>()) {
            (Some(_), _) => message,
            (None, Some(number)) => number.to_string(),
            (None, None) => "the document is not a table of sections".to_owned(),
        };
        let place = position.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
        Error::Syntax { place: format!("{name}{place}"), message }
    })
}

/// Takes line and column out of what a parser said, and the excerpt of the document away.
fn without_excerpt(said: &str) -> (Option<(u64, u64)>, String) {
    let number_after = |word: &str| -> Option<u64> {
        let (_, rest) = said.lines().next()?.rsplit_once(word)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let position = number_after("line ").zip(number_after("column "));
    let message = if said.starts_with("TOML parse error") {
        // Three lines of excerpt follow the first; they begin with a number or a bar.
        said.lines().skip(4).collect::<Vec<_>>().join(" ")
    } else if position.is_some() {
        let end = said.find(" at byte ").or_else(|| said.find(" at line "));
        said[..end.unwrap_or(said.len())].to_owned()
    } else {
        said.to_owned()
    };
    (position, message.trim().to_owned())
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
