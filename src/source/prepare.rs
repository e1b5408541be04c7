//! From settings to a source that can be started: what can fail before anything runs fails here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use super::listen::{self, Inherited};
use super::{Context, Settings, file, http, once, stdin, tcp, unix};
use crate::position::Cursor;

/// Why a source could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file source.
    #[error(transparent)]
    File(#[from] file::Error),
    /// Files read to their end.
    #[error(transparent)]
    Once(#[from] once::Error),
    /// Standard input.
    #[error(transparent)]
    Stdin(#[from] stdin::Error),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// Requests.
    #[error(transparent)]
    Http(#[from] http::Error),
}

/// A source with its listener bound and its cursors read.
#[derive(Debug)]
pub enum Prepared {
    /// Follows files.
    File(file::Settings, Vec<Cursor>, PathBuf),
    /// Reads files to their end.
    Once(once::Settings, Vec<Cursor>),
    /// Reads standard input to its end.
    Stdin(stdin::Settings),
    /// Listens.
    Tcp(tcp::Settings, tcp::Bound),
    /// Listens for requests.
    Http(http::Settings, http::Bound),
    /// Listens on a Unix socket.
    Unix(unix::Settings, unix::Bound),
}

/// A source that only needs somebody to run it.
pub enum Running {
    /// Waits in the kernel: needs a thread.
    Blocking(Box<dyn FnOnce() -> Result<(), Error> + Send>),
    /// Needs the runtime.
    Async(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
}

impl fmt::Debug for Running {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Blocking(_) => "Blocking",
            Self::Async(_) => "Async",
        })
    }
}

/// Binds what listens. `cursors` is what the store in the directory `store` knows of the
/// source's files. Listeners that the service manager has opened are taken out of `inherited`.
pub fn prepare(
    settings: &Settings,
    cursors: Vec<Cursor>,
    store: &Path,
    inherited: &mut Inherited,
) -> Result<Prepared, Error> {
    Ok(match settings {
        Settings::File(settings) => Prepared::File(settings.clone(), cursors, store.to_owned()),
        Settings::Once(settings) => Prepared::Once(settings.clone(), cursors),
        Settings::Stdin(settings) => Prepared::Stdin(settings.clone()),
        Settings::Tcp(settings) => Prepared::Tcp(settings.clone(), tcp::bind(settings, inherited)?),
        Settings::Http(settings) => {
            Prepared::Http(settings.clone(), http::bind(settings, store, inherited)?)
        }
        Settings::Unix(settings) => {
            Prepared::Unix(settings.clone(), unix::bind(settings, inherited)?)
        }
    })
}

/// Looks at the files that a running source with `settings` reads again when it is asked to.
pub fn check(settings: &Settings) -> Result<(), Error> {
    match settings {
        Settings::Tcp(settings) => Ok(listen::check(settings.tls.as_ref())?),
        Settings::Http(settings) => Ok(http::check(settings)?),
        Settings::File(_) | Settings::Once(_) | Settings::Stdin(_) | Settings::Unix(_) => Ok(()),
    }
}

impl Prepared {
    /// Of a source that takes the place of another: it goes on behind `cursors`.
    #[must_use]
    pub fn behind(self, cursors: Vec<Cursor>) -> Self {
        match self {
            Self::File(settings, _, store) => Self::File(settings, cursors, store),
            other => other,
        }
    }

    /// The address or path of a listener.
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Tcp(_, listener) => listener.address(),
            Self::Http(_, bound) => bound.address(),
            Self::Unix(settings, _) => Some(settings.place.to_string()),
            Self::File(..) | Self::Once(..) | Self::Stdin(_) => None,
        }
    }

    /// Whether its input has an end.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Once(..) | Self::Stdin(_))
    }

    /// Whether what it has read and was not committed is gone when the agent ends.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stdin(_) | Self::Tcp(..) | Self::Http(..) | Self::Unix(..))
    }

    /// Puts it together with what the agent gives it.
    pub fn into_running(self, context: Context) -> Running {
        match self {
            Self::File(settings, cursors, store) => Running::Blocking(Box::new(move || {
                Ok(file::run(&settings, &context, cursors, &store)?)
            })),
            Self::Once(settings, cursors) => Running::Blocking(Box::new(move || {
                Ok(once::run(&settings, &context, cursors).map(|_| ())?)
            })),
            Self::Stdin(settings) => {
                Running::Blocking(Box::new(move || Ok(stdin::run(&settings, &context)?)))
            }
            Self::Tcp(settings, listener) => {
                Running::Async(Box::pin(
                    async move { Ok(tcp::run(listener, settings, context).await?) },
                ))
            }
            Self::Http(settings, bound) => {
                Running::Async(Box::pin(
                    async move { Ok(http::run(bound, settings, context).await?) },
                ))
            }
            Self::Unix(settings, bound) => {
                Running::Async(Box::pin(
                    async move { Ok(unix::run(bound, settings, context).await?) },
                ))
            }
        }
    }
}
