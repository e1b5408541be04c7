//! Bearer tokens from a file: one a line, so that a new one can be given out before the old one ends.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::source::listen;
use crate::stop::Stop;

/// The tokens that are let in.
#[derive(Debug)]
pub(super) struct Tokens {
    path: PathBuf,
    known: RwLock<Vec<SecretString>>,
}

/// The file of tokens is no good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the tokens in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is none in it.
    #[error("there is no token in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Tokens {
    /// Reads a token a line from `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let known = RwLock::new(read(path)?);
        Ok(Self { path: path.to_owned(), known })
    }

    /// Reads the file again, for requests to come. What is wrong is logged and changes nothing.
    fn reload(&self) {
        match read(&self.path) {
            Ok(tokens) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = tokens;
                tracing::info!(file = %self.path.display(), "tokens read again");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the tokens stay as they were");
            }
        }
    }

    /// Whether `authorization`, the value of that header, has one of them. All are compared, by
    /// their hashes: how long it takes says nothing of how much of a token was right.
    pub(super) fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let value = authorization.unwrap_or_default();
        let is_bearer =
            value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        is_bearer && self.holds(value.get(7..).unwrap_or_default().trim_ascii())
    }

    /// Whether `token` is one of them.
    pub(super) fn holds(&self, token: &[u8]) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let given = Sha256::digest(token);
        let is_one = |known: &SecretString| {
            Sha256::digest(known.expose_secret().as_bytes()).as_slice().ct_eq(given.as_slice())
        };
        known.iter().map(is_one).fold(Choice::from(0), |any, one| any | one).into()
    }
}

/// Has the file read again whenever sources are asked to; never ends.
pub(super) async fn follow(tokens: Option<&Arc<Tokens>>, stop: &Stop) -> Infallible {
    match tokens.cloned() {
        Some(tokens) => listen::follow(stop, move || tokens.reload()).await,
        None => std::future::pending().await,
    }
}

fn read(path: &Path) -> Result<Vec<SecretString>, Error> {
    let failed = |source| Error::Unreadable { path: path.to_owned(), source };
    let text: SecretString = std::fs::read_to_string(path).map_err(failed)?.into();
    let lines = text.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<SecretString> = lines.map(Into::into).collect();
    if tokens.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(tokens) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_token_of_the_file_is_let_in_and_no_other() -> std::io::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), "first\n\n second \n")?;
        let tokens = Tokens::read(file.path()).expect("tokens");
        for (value, expected) in [
            (Some("Bearer first"), true),
            (Some("bearer second"), true),
            (Some("Bearer  first "), true),
            (Some("Bearer "), false),
            (Some("Bearer firs"), false),
            (Some("Bearer firstly"), false),
            (Some("Basic first"), false),
            (Some("first"), false),
            (None, false),
        ] {
            assert_eq!(tokens.admit(value.map(str::as_bytes)), expected, "{value:?}");
        }
        std::fs::write(file.path(), "\n")?;
        assert!(matches!(Tokens::read(file.path()), Err(Error::Empty { .. })));
        Ok(())
    }
}
