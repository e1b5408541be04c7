//! The commands of the program: what each takes, does, prints, and how it exits.
//!
//! One file a command. They parse and print; what they do is done by the library.

pub mod batches;
pub mod check;
pub mod completions;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
mod failure;
pub mod health;
mod input;
mod log;
pub mod man;
pub mod meter;
mod output;
pub mod receipts;
pub mod reconcile;
pub mod run;
mod runtime;
pub mod send;
pub mod simulate;
pub mod status;
pub mod store;
mod time;
pub mod top;
pub mod verify;

use std::process::ExitCode;

use clap::Parser;

use failure::Failure;

/// Carries usage events to Zuora Mediation: each one delivered, dead-lettered or still stored.
#[derive(clap::Parser)]
#[command(name = "meterd", version, propagate_version = true, after_help = EXIT_CODES)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 success; 1 some events were not delivered, or a check found something; 2 usage;
65 the store is damaged; 69 the service could not be reached in time; 70 a stage died;
73 or 74 the store could not be created, read or written; 75 another meterd holds the store;
77 permission; 78 configuration.

Every key of the configuration can be set in the environment: METERD__SECTION__KEY.";

#[derive(clap::Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::Arguments),
    /// Deliver files or standard input to the end, then exit
    Send(send::Arguments),
    /// Show what would become of lines, and send nothing
    Verify(verify::Arguments),
    /// Show the whole thing at work, with no configuration
    Demo(demo::Arguments),
    /// Serve a Mediation on loopback
    Simulate(simulate::Args),
    /// Check a configuration
    Check(check::Arguments),
    /// Show what was read, delivered, dead-lettered and stored
    Status(status::Arguments),
    /// Show the same in the terminal, as it changes
    Top(top::Arguments),
    /// Ask the daemon how it is
    Health(health::Arguments),
    /// Look at events that could not be sent, send them again, give them up
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Look at what waits, and decide about batches that Mediation may have
    #[command(subcommand)]
    Batches(batches::Command),
    /// Look at what was delivered
    #[command(subcommand)]
    Receipts(receipts::Command),
    /// Check the store, or take out of a damaged one what can be read
    #[command(subcommand)]
    Store(store::Command),
    /// Tell whether a meter is fit for what is sent to it
    Doctor(doctor::Arguments),
    /// Compare what was delivered with what Mediation made of it
    Reconcile(reconcile::Arguments),
    /// Run, stop, test and look at meters in Mediation
    #[command(subcommand)]
    Meter(meter::Command),
    /// Print what a shell needs to complete the command line
    Completions(completions::Arguments),
    /// Print the manual
    Man(man::Arguments),
}

/// Parses the command line, runs the command, and gives its exit code.
pub fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) => {
            // Help and version come this way too. Nobody may be reading.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match dispatch(program.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Simulate(arguments) => Ok(simulate::run(arguments)?),
        Command::Check(arguments) => {
            let environment = crate::config::process_environment();
            Ok(check::run(&arguments, environment, &mut std::io::stdout().lock())?)
        }
        Command::Status(arguments) => status::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::DeadLetters(command) => dead_letters::run(&command),
        Command::Batches(command) => batches::run(&command),
        Command::Receipts(command) => receipts::run(&command),
        Command::Store(command) => store::run(&command),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Reconcile(arguments) => reconcile::run(&arguments),
        Command::Meter(command) => meter::run(&command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }
}
