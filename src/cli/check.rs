//! `meterd check`: whether a configuration is good, before it is used.
//!
//! It prints every problem and every warning, and looks at the directories that the
//! configuration names. It creates nothing, binds nothing and sends nothing; with `--online` it asks
//! Mediation, and changes nothing there.

mod online;

use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::{self, LoadFor, Loaded, Warning};
use crate::units::Period;
use crate::{source, tenant};

/// The arguments of `meterd check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Arguments {
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask Mediation as well: for a token, the meters and their schemas
    #[arg(long)]
    pub online: bool,
    /// How long each request is tried with --online
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub timeout: Period,
}

/// Why the configuration cannot be called good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mediation does not say what it should; each problem was printed.
    #[error("use the configuration with Mediation: {problems} problems")]
    Online {
        /// How many.
        problems: usize,
        /// Whether something was not answered in time.
        is_unreachable: bool,
    },
    /// Mediation could not be asked: the HTTP client.
    #[error(transparent)]
    Client(tenant::transport::Error),
    /// The system gave nothing to wait with.
    #[error("start the runtime")]
    Runtime(#[source] std::io::Error),
    /// It has problems; each was printed.
    #[error("use the configuration: {0} problems")]
    Problems(usize),
    /// It could not be looked at. Nothing was printed.
    #[error(transparent)]
    Configuration(config::Error),
    /// The result could not be printed.
    #[error("print the result")]
    Print(#[source] std::io::Error),
}

impl Error {
    /// The exit code of the program.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Online { is_unreachable: false, .. } => 1,
            Self::Online { is_unreachable: true, .. } => 69,
            Self::Runtime(_) => 70,
            Self::Print(_) => 74,
            Self::Problems(_) | Self::Configuration(_) | Self::Client(_) => 78,
        }
    }
}

/// Checks the configuration and prints the result to `output`.
///
/// # Errors
///
/// Problems, after they were printed; warnings are none.
pub fn run(
    arguments: &Arguments,
    environment: impl Iterator<Item = (String, String)>,
    output: &mut impl Write,
) -> Result<(), Error> {
    let loaded = config::load(LoadFor::Run, arguments.config.as_deref(), environment);
    match loaded {
        Ok(loaded) => {
            let mut lines: Vec<_> = loaded.warnings.iter().map(warning_line).collect();
            lines.extend(directory_warnings(&loaded).iter().map(warning_line));
            lines.push("configuration is good".to_owned());
            if !arguments.online {
                return print(&lines, output);
            }
            let online::Report { lines: seen, problems, is_unreachable } =
                online::look_at(&loaded.settings, arguments.timeout.duration())?;
            lines.extend(seen);
            print(&lines, output)?;
            if problems == 0 { Ok(()) } else { Err(Error::Online { problems, is_unreachable }) }
        }
        Err(config::Error::Problems(problems)) => {
            let lines: Vec<_> = problems.iter().map(config::Problem::to_string).collect();
            print(&lines, output)?;
            Err(Error::Problems(problems.len()))
        }
        Err(other) => Err(Error::Configuration(other)),
    }
}

fn warning_line(warning: &Warning) -> String {
    format!("warning: {warning}")
}

fn print(lines: &[String], output: &mut impl Write) -> Result<(), Error> {
    let printed = lines.iter().try_for_each(|line| writeln!(output, "{line}"));
    match printed.and_then(|()| output.flush()) {
        // Whoever read it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Error::Print),
    }
}

/// What is odd about the directories, for the user that runs the check: the daemon's user may
/// see it otherwise, and a directory may come later.
fn directory_warnings(loaded: &Loaded) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let state = &loaded.settings.store.directory;
    if let Some(message) = state_directory_flaw(state) {
        warnings.push(Warning { key: "agent.state_dir".to_owned(), message });
    }
    for configured in &loaded.settings.sources {
        let source::Settings::File(file) = &configured.settings else { continue };
        for (index, pattern) in file.paths.iter().enumerate() {
            if let Some(message) = pattern_flaw(pattern) {
                let key = format!("sources.{}.paths[{index}]", configured.name);
                warnings.push(Warning { key, message });
            }
        }
    }
    warnings
}

/// Why the store could not be created or written in `directory`.
fn state_directory_flaw(directory: &Path) -> Option<String> {
    // What is not there will be created in the nearest directory that is.
    let existing = directory.ancestors().map(or_here).find(|path| path.exists())?;
    let shown = existing.display();
    if !existing.is_dir() {
        return Some(format!("{shown} is not a directory"));
    }
    let error = access(existing, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let verb = if existing == or_here(directory) { "written" } else { "created" };
    Some(format!("{} cannot be {verb} by this user: {shown}: {error}", directory.display()))
}

/// Why files that match `pattern` could not be found.
fn pattern_flaw(pattern: &str) -> Option<String> {
    let directory = fixed_directory(pattern);
    let shown = directory.display();
    match access(&directory, Access::READ_OK | Access::EXEC_OK) {
        Err(error) => Some(format!("{shown} cannot be looked into: {error}")),
        Ok(()) if directory.is_dir() => None,
        Ok(()) => Some(format!("{shown} is not a directory")),
    }
}

/// The directory in front of the first part of `pattern` that is not to be taken literally.
fn fixed_directory(pattern: &str) -> PathBuf {
    let path = Path::new(pattern);
    let special =
        |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let parent = path.parent().unwrap_or(path);
    let fixed: PathBuf = parent.components().take_while(|part| !special(part)).collect();
    or_here(&fixed).to_owned()
}

/// An empty path means the working directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed for `text`, with the temporary folder as `/tmp`, and the exit code.
    fn check(text: &str) -> Result<(String, u8), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("meterd.toml");
        let here = folder.path().display().to_string();
        std::fs::write(&file, text.replace("/tmp", &here))?;
        let mut output = Vec::new();
        let arguments = Arguments { config: Some(file), ..Arguments::default() };
        let result = run(&arguments, std::iter::empty(), &mut output);
        let code = result.err().map_or(0, |error| error.exit_code());
        Ok((String::from_utf8(output)?.replace(&here, "/tmp"), code))
    }

    const GOOD: &str = r#"
        agent.state_dir = "/tmp/state/deeper"
        mediation.base_url = "http://127.0.0.1:1"
        meters.m.global_id = "g"
        [sources.s]
        type = "file"
        meter = "m"
        paths = ["/tmp/*.jsonl", "/tmp/missing/*/x"]
    "#;

    #[test]
    fn a_good_configuration_is_called_good_and_directories_are_looked_at()
    -> Result<(), Box<dyn std::error::Error>> {
        let (printed, code) = check(GOOD)?;
        insta::assert_snapshot!(printed, @r"
        warning: sources.s.paths[1]: /tmp/missing cannot be looked into: No such file or directory (os error 2)
        configuration is good
        ");
        assert_eq!(code, 0);
        Ok(())
    }

    #[test]
    fn every_problem_is_printed_and_the_exit_code_is_78() -> Result<(), Box<dyn std::error::Error>>
    {
        let text = GOOD.replace("\"m\"", "\"n\"").replace("type", "typ");
        let (printed, code) = check(&text)?;
        insta::assert_snapshot!(printed, @r#"
        sources.s.meter: found "n", expected the name of a meter; did you mean "m"?
        sources.s.type: found nothing, expected one of "file", "stdin", "tcp", "unix", "http"
        "#);
        assert_eq!(code, 78);
        Ok(())
    }

    #[test]
    fn a_file_that_is_not_there_is_a_configuration_error() {
        let config = Some("/nowhere/meterd.toml".into());
        let arguments = Arguments { config, ..Arguments::default() };
        let result = run(&arguments, std::iter::empty(), &mut Vec::new());
        assert!(matches!(result, Err(Error::Configuration(config::Error::Unreadable { .. }))));
    }

    #[test]
    fn the_fixed_part_of_a_pattern_ends_before_its_first_special_part() {
        for (pattern, directory) in [
            ("/var/log/app/usage*.jsonl", "/var/log/app"),
            ("/var/*/app/usage.jsonl", "/var"),
            ("/var/log/usage.jsonl", "/var/log"),
            ("usage.jsonl", "."),
            ("*.jsonl", "."),
            ("/*.jsonl", "/"),
        ] {
            assert_eq!(fixed_directory(pattern), Path::new(directory), "{pattern}");
        }
    }
}
