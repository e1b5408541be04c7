//! `meterd completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Program;
use super::failure::Failure;
use super::output::print;

/// The arguments of `meterd completions`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Program::command(), "meterd", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())
}
