//! Credentials: exactly one way, and from the safest place that was given.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::super::problem::Notes;
use super::super::raw::{Auth, Secret};
use super::{Surroundings, endpoint, file};
use crate::tenant::Credentials;

const SECTION: &str = "mediation.auth";

/// Tokens and secrets are far shorter.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Chooses the credentials. `remote`: something is sent to another host.
pub(super) fn resolve(
    auth: Auth,
    base_url: Option<&Url>,
    remote: bool,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Credentials {
    let client = auth.client_id.is_some() || auth.client_secret.is_set();
    match (client, auth.bearer_token.is_set()) {
        (true, true) => {
            let expected = "one of the two";
            notes.problem(SECTION, "client credentials and a bearer token", expected);
            Credentials::None
        }
        (true, false) => client_credentials(auth, base_url, around, notes),
        (false, true) => {
            secret(&auth.bearer_token, around, notes).map_or(Credentials::None, Credentials::Bearer)
        }
        (false, false) => {
            if remote && !notes.is_bad(SECTION) {
                let expected = "client_id and client_secret_file, or bearer_token_file";
                notes.problem(SECTION, "no credentials", expected);
            }
            Credentials::None
        }
    }
}

fn client_credentials(
    auth: Auth,
    base_url: Option<&Url>,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Credentials {
    let missing = |name: &str, expected: &str| {
        let key = format!("{SECTION}.{name}");
        if !notes.is_bad(&key) {
            notes.problem(key, "nothing", expected);
        }
    };
    if auth.client_id.is_none() {
        missing("client_id", "the id that belongs to the client secret");
    }
    if !auth.client_secret.is_set() && !notes.is_bad("mediation.auth.client_secret") {
        missing("client_secret_file", "the file with the secret of client_id");
    }
    let token_url = match &auth.token_url {
        Some(typed) => endpoint::parse("mediation.auth.token_url", typed, notes)
            .map(|url| url.as_str().to_owned()),
        None => base_url.map(|base| endpoint::below(base, "/oauth/token")),
    };
    let secret = secret(&auth.client_secret, around, notes);
    match (token_url, auth.client_id, secret) {
        (Some(token_url), Some(id), Some(secret)) => Credentials::Client { token_url, id, secret },
        _ => Credentials::None,
    }
}

/// The secret from its file, else from the environment, else from the configuration file. The
/// last two are one value by now: the environment is the upper layer.
pub(super) fn secret(
    secret: &Secret,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Option<SecretString> {
    let key = &secret.key;
    let file_key = format!("{key}_file");
    let Some(named) = &secret.file else {
        let value = secret.value.clone()?;
        if around.readable_by_others && !secret.from_environment {
            let message =
                "is in a file that everybody on this host can read: use a file of its own";
            notes.warning(key, message);
        }
        return checked(key, value.expose_secret(), notes);
    };
    if secret.value.is_some() {
        notes.warning(key, format!("is not used, because {file_key} is set"));
    }
    let path = around.locate(named);
    let text: SecretString = file::text(&file_key, &path, SECRET_BYTES_MAX, notes)?.into();
    file::warn_if_readable_by_others(&file_key, &path, notes);
    checked(&file_key, text.expose_secret().trim(), notes)
}

/// A secret has to fit into a header and a form.
fn checked(key: &str, secret: &str, notes: &Notes) -> Option<SecretString> {
    let (found, expected) = if secret.is_empty() {
        ("an empty file", "a file with the secret and nothing else")
    } else if !secret.chars().all(|c| c.is_ascii_graphic()) {
        ("spaces, line ends or characters outside ASCII", "the secret and nothing else")
    } else {
        return Some(secret.to_owned().into());
    };
    notes.problem(key, found, expected);
    None
}
