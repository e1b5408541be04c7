//! A temporary folder with a configuration and a store, and the commands that look at it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::agent::Input;
use super::{Agent, Config, Result, fail, number, text, until};

/// Holds everything of one test; removed with it.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: TempDir,
}

impl Folder {
    /// An empty folder.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir()? })
    }

    /// Leaves it where it is, for whoever looks into a failure.
    pub(crate) fn keep(self) -> PathBuf {
        self.directory.keep()
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the store is.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, config: &Config) -> Result {
        Ok(std::fs::write(self.config(), config.text(&self.state()))?)
    }

    /// The path of the configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("meterd.toml")
    }

    /// Starts the daemon without standard input and waits until it is ready.
    pub(crate) fn start(&self) -> Result<Agent> {
        let mut agent = Agent::spawn(&self.config(), self.directory.path(), Input::None)?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the daemon with a pipe as its standard input and waits until it is ready.
    pub(crate) fn start_with_pipe(&self) -> Result<Agent> {
        let mut agent = Agent::spawn(&self.config(), self.directory.path(), Input::Pipe)?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the daemon and does not wait.
    pub(crate) fn spawn(&self) -> Result<Agent> {
        Agent::spawn(&self.config(), self.directory.path(), Input::None)
    }

    /// Configures, starts the daemon with `input` as its standard input and waits for its end,
    /// which has to be a success.
    pub(crate) fn run_to_end(&self, config: &Config, input: &[u8]) -> Result<Agent> {
        self.configure(config)?;
        let mut agent = self.start_with_pipe()?;
        agent.write(input)?;
        agent.close_stdin();
        agent.wait_success()?;
        Ok(agent)
    }

    /// Runs a command to its end, `arguments` between its name and `-c FILE`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Output> {
        self.command_with_input(arguments, b"")
    }

    /// Runs a command with `input` as its standard input.
    pub(crate) fn command_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let mut child = self.child(arguments)?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // A program that does not read must not make the test wait for ever.
            std::thread::Builder::new().spawn(move || stdin.write_all(&input))?;
        }
        Ok(child.wait_with_output()?)
    }

    /// A command that was started, with pipes.
    pub(crate) fn child(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.prepare(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// A command that was not started.
    pub(crate) fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterd"));
        command.args(arguments).arg("-c").arg(self.config()).current_dir(self.directory.path());
        command
    }

    /// The JSON document that a command prints; it has to succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.command(arguments)?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return fail(format!("{arguments:?}: {}: {errors}", output.status));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// `status --json`; the command fails when the equation does not hold.
    pub(crate) fn status(&self) -> Result<Value> {
        let status = self.json(&["status", "--json"])?;
        let sum = ["delivered", "dead_lettered", "ignored", "discarded", "stored"]
            .iter()
            .map(|name| number(&status, &format!("/equation/{name}")))
            .sum::<Result<i64>>()?;
        if number(&status, "/equation/read")? != sum {
            return fail(format!("the equation does not hold: {status}"));
        }
        Ok(status)
    }

    /// A number of the equation.
    pub(crate) fn counted(&self, name: &str) -> Result<i64> {
        number(&self.status()?, &format!("/equation/{name}"))
    }

    /// Waits until a number of the equation is `expected`.
    pub(crate) fn wait_counted(&self, name: &str, expected: i64) -> Result<Value> {
        let mut last = Value::Null;
        let waited = until(&format!("{name} = {expected}"), || {
            last = self.status()?;
            let is_there = number(&last, &format!("/equation/{name}"))? == expected;
            Ok(is_there.then(|| last.clone()))
        });
        waited.map_err(|error| format!("{error}; the last status is {last}").into())
    }

    /// Waits until the meter is in `state`, and gives the reason.
    pub(crate) fn wait_state(&self, state: &str) -> Result<String> {
        until(&format!("the state {state}"), || {
            let status = self.status()?;
            // A meter of which nothing was committed yet is not in the status.
            let is_there = text(&status, "/meters/m/state").is_ok_and(|found| found == state);
            Ok(if is_there { Some(text(&status, "/meters/m/reason")?.to_owned()) } else { None })
        })
    }

    /// `receipts list --json`.
    pub(crate) fn receipts(&self) -> Result<Vec<Value>> {
        array(self.json(&["receipts", "list", "--json"])?)
    }

    /// Attempts of unknown outcome over all receipts.
    pub(crate) fn unknown_attempts(&self) -> Result<i64> {
        self.receipts()?.iter().map(|receipt| number(receipt, "/outcome_unknown_attempts")).sum()
    }

    /// `dead-letters list --json`.
    pub(crate) fn dead_letters(&self) -> Result<Vec<Value>> {
        array(self.json(&["dead-letters", "list", "--json"])?)
    }

    /// What all runs warned of.
    pub(crate) fn warnings(&self) -> Result<String> {
        let mut warnings = String::new();
        for entry in std::fs::read_dir(self)?.flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "log") {
                let log = std::fs::read_to_string(entry.path())?;
                let is_wanted = |line: &&str| !line.contains("\"INFO\"");
                warnings.extend(log.lines().filter(is_wanted).flat_map(|line| [line, "\n"]));
            }
        }
        Ok(warnings)
    }

    /// A folder in it, made when it is not there.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        self.directory.path()
    }
}

fn array(document: Value) -> Result<Vec<Value>> {
    match document {
        Value::Array(items) => Ok(items),
        other => fail(format!("not an array: {other}")),
    }
}
