//! What the tests have in common: the program, its folder, the far end, and waiting.

pub(crate) mod agent;
pub(crate) mod authority;
pub(crate) mod books;
pub(crate) mod browser;
pub(crate) mod chaos;
pub(crate) mod client;
mod compiled;
pub(crate) mod config;
pub(crate) mod disk;
pub(crate) mod events;
pub(crate) mod file_fault;
pub(crate) mod folder;
pub(crate) mod log_writer;
pub(crate) mod logrotate;
pub(crate) mod memory;
pub(crate) mod meter;
pub(crate) mod network;
pub(crate) mod raw_server;
pub(crate) mod seed;
pub(crate) mod sim;
pub(crate) mod terminal;
pub(crate) mod wait;

pub(crate) use agent::Agent;
pub(crate) use browser::Browser;
pub(crate) use chaos::Chaos;
use compiled::compiled;
pub(crate) use config::Config;
pub(crate) use events::{event, event_id, lines};
pub(crate) use file_fault::FileFault;
pub(crate) use folder::Folder;
pub(crate) use raw_server::{RawServer, Reply, Request};
pub(crate) use sim::Sim;
pub(crate) use wait::{pause, until};

/// Whatever goes wrong in a test.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// What tests and helpers give.
pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// Fails with words.
pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(message.into().into())
}

/// The number at `path` of a JSON document, with slashes between keys.
pub(crate) fn number(document: &serde_json::Value, path: &str) -> Result<i64> {
    let found = document.pointer(path).and_then(serde_json::Value::as_i64);
    found.ok_or_else(|| format!("no number at {path} of {document}").into())
}

/// The text at `path` of a JSON document.
pub(crate) fn text<'d>(document: &'d serde_json::Value, path: &str) -> Result<&'d str> {
    let found = document.pointer(path).and_then(serde_json::Value::as_str);
    found.ok_or_else(|| format!("no text at {path} of {document}").into())
}
