//! `meterd man`: the manual, made of what `--help` says.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;

use super::Program;
use super::failure::Failure;
use super::output::print;

/// The arguments of `meterd man`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write a page for each command into this directory, instead of the first one to standard
    /// output
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Prints or writes the manual.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut program = Program::command();
    // Gives every command its whole name.
    program.build();
    match &arguments.output {
        // For `man --local-file -`.
        None => print(page(&program)?.trim_end()),
        Some(directory) => {
            fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
            write(&program, directory)
        }
    }
}

/// Writes the page of `command` and those of its commands.
fn write(command: &clap::Command, directory: &Path) -> Result<(), Failure> {
    let path = directory.join(format!("{}.1", name(command)));
    fs::write(&path, page(command)?).map_err(|error| failed(&path, &error))?;
    let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    commands.into_iter().try_for_each(|command| write(command, directory))
}

fn page(command: &clap::Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    let source = concat!("meterd ", env!("CARGO_PKG_VERSION"));
    let rendered = Man::new(command.clone()).section("1").source(source).render(&mut page);
    rendered.map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// `meterd-dead-letters-list`.
fn name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::of_io(Failure::CANNOT_CREATE, &format!("write {}", path.display()), error)
}
