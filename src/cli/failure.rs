//! How a command fails: what is printed, and the exit code that scripts look at.

use std::error::Error;
use std::io::{self, Write};

use super::{check, simulate};
use crate::control::reconcile;
use crate::{agent, config, control, replay, store, tenant, verify};

/// A command that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    /// Empty when everything was printed already.
    message: String,
}

impl Failure {
    /// Some events were not delivered, or a check found something.
    pub(super) const FOUND: u8 = 1;
    /// The command line asks for something that makes no sense.
    pub(super) const USAGE: u8 = 2;
    /// The store is damaged, or not one of this version: another start changes nothing.
    pub(super) const DAMAGED: u8 = 65;
    /// The service could not be reached in time.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// A stage died, or the system refused something that it never refuses.
    pub(super) const SOFTWARE: u8 = 70;
    /// The store could not be created.
    pub(super) const CANNOT_CREATE: u8 = 73;
    /// The store could not be read or written.
    pub(super) const IO: u8 = 74;
    /// Another meterd holds the store.
    pub(super) const IN_USE: u8 = 75;
    /// Permission.
    pub(super) const PERMISSION: u8 = 77;
    /// Configuration.
    pub(super) const CONFIGURATION: u8 = 78;

    /// Fails with `code` and says `message`.
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Fails because `what` could not be done; with `code`, or the one for permission.
    pub(super) fn of_io(code: u8, what: &str, error: &io::Error) -> Self {
        Self::new(io_code(error, code), format!("{what}: {error}"))
    }

    fn of(code: u8, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Transparent errors print their source.
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self { code, message }
    }

    /// What is printed.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// Prints the message to standard error.
    pub(super) fn report(&self) {
        if !self.message.is_empty() {
            // There is no place left to complain about a broken standard error.
            let _ = writeln!(io::stderr(), "meterd: {}", self.message);
        }
    }
}

fn io_code(error: &io::Error, otherwise: u8) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied { Failure::PERMISSION } else { otherwise }
}

fn transport_code(error: &tenant::transport::Error) -> u8 {
    match error {
        tenant::transport::Error::Unreadable { source, .. } => {
            io_code(source, Failure::CONFIGURATION)
        }
        _ => Failure::CONFIGURATION,
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let code = match &error {
            store::Error::InUse { .. } => Self::IN_USE,
            store::Error::Directory { source, .. } => io_code(source, Self::CANNOT_CREATE),
            store::Error::Missing { .. } | store::Error::Present { .. } => Self::CANNOT_CREATE,
            error if error.is_damage() => Self::DAMAGED,
            store::Error::NotUnderstood { .. } => Self::DAMAGED,
            store::Error::Older { .. }
            | store::Error::LogDamaged { .. }
            | store::Error::Behind { .. }
            | store::Error::Gone { .. }
            | store::Error::Sqlite(_) => Self::IO,
        };
        Self::of(code, &error)
    }
}

impl From<replay::Error> for Failure {
    fn from(error: replay::Error) -> Self {
        match error {
            replay::Error::Store(error) => error.into(),
            _ => Self::of(Self::SOFTWARE, &error),
        }
    }
}

impl From<reconcile::Error> for Failure {
    fn from(error: reconcile::Error) -> Self {
        match error {
            reconcile::Error::Call(error) => error.into(),
            reconcile::Error::Store(error) => error.into(),
            reconcile::Error::TooYoung(_) => Self::of(Self::USAGE, &error),
        }
    }
}

impl From<control::Error> for Failure {
    fn from(error: control::Error) -> Self {
        let code = match &error {
            control::Error::Refused { .. }
            | control::Error::NoToken(_)
            | control::Error::Unreadable(_) => Self::FOUND,
            control::Error::Unreachable(_) | control::Error::Unknown(_) => Self::UNAVAILABLE,
        };
        Self::of(code, &error)
    }
}

impl From<tenant::transport::Error> for Failure {
    fn from(error: tenant::transport::Error) -> Self {
        Self::of(transport_code(&error), &error)
    }
}

impl From<agent::Error> for Failure {
    fn from(error: agent::Error) -> Self {
        match error {
            agent::Error::Store(error) => error.into(),
            agent::Error::Delivery(ref source) => Self::of(transport_code(source), &error),
            agent::Error::Admin(ref admin) => {
                Self::of(io_code(&admin.source, Self::CONFIGURATION), &error)
            }
            agent::Error::Source { .. } => Self::of(source_code(&error), &error),
            agent::Error::System { .. } | agent::Error::StageDied { .. } => {
                Self::of(Self::SOFTWARE, &error)
            }
        }
    }
}

impl From<verify::Error> for Failure {
    fn from(error: verify::Error) -> Self {
        let code = match error {
            verify::Error::Source(_) => source_code(&error),
            verify::Error::NoSchema { .. } => Self::CONFIGURATION,
            _ => Self::SOFTWARE,
        };
        Self::of(code, &error)
    }
}

/// By what the system said of an input, behind `error`.
fn source_code(error: &dyn Error) -> u8 {
    let mut source = error.source();
    let mut code = Failure::CONFIGURATION;
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            code = io_code(cause, code);
        }
        source = cause.source();
    }
    code
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        match &error {
            config::Error::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let count = match lines.len() {
                    1 => "1 problem".to_owned(),
                    count => format!("{count} problems"),
                };
                let message = format!("configuration: {count}\n  {}", lines.join("\n  "));
                Self { code: Self::CONFIGURATION, message }
            }
            config::Error::Unreadable { source, .. } => {
                Self::of(io_code(source, Self::CONFIGURATION), &error)
            }
            _ => Self::of(Self::CONFIGURATION, &error),
        }
    }
}

impl From<check::Error> for Failure {
    fn from(error: check::Error) -> Self {
        let code = error.exit_code();
        match error {
            // Each was printed to standard output.
            check::Error::Problems(_) | check::Error::Online { .. } => {
                Self { code, message: String::new() }
            }
            check::Error::Configuration(error) => error.into(),
            check::Error::Client(error) => error.into(),
            check::Error::Print(_) | check::Error::Runtime(_) => Self::of(code, &error),
        }
    }
}

impl From<simulate::Error> for Failure {
    fn from(error: simulate::Error) -> Self {
        Self::of(Self::UNAVAILABLE, &error)
    }
}
