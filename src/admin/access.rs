//! Who is answered.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Whether a request with these headers may be answered.
pub(super) fn is_allowed(headers: &HeaderMap, token: Option<&SecretString>) -> Result<(), Refusal> {
    match token {
        Some(token) if has_token(headers, token) => Ok(()),
        Some(_) => Err(Refusal::Token),
        // Without a token whoever reaches the port is answered, and a web page can make a browser on
        // this machine reach it, under a name of its own that resolves to loopback.
        None if is_own_name(headers) => Ok(()),
        None => Err(Refusal::Host),
    }
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It lacks the token.
    Token,
    /// It is for another host.
    Host,
}

fn has_token(headers: &HeaderMap, token: &SecretString) -> bool {
    let given = headers.get(AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    // Of hashes, so that the time it takes tells nothing of the token.
    Sha256::digest(given) == Sha256::digest(token.expose_secret().as_bytes())
}

/// Whether the host that was asked for is an address or `localhost`, which no web page can choose.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        headers: &[(&'static str, &'static str)],
        token: Option<&str>,
        expected: Result<(), Refusal>,
    ) {
        let map = headers.iter().filter_map(|(name, value)| {
            Some((name.parse().ok()?, hyper::header::HeaderValue::from_static(value)))
        });
        let token = token.map(|token| SecretString::from(token.to_owned()));
        assert_eq!(is_allowed(&map.collect(), token.as_ref()), expected, "{headers:?}");
    }

    #[test]
    fn without_a_token_only_this_machine_s_own_names_are_answered() {
        for host in ["127.0.0.1:9180", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:9180"] {
            check(&[("host", host)], None, Ok(()));
        }
        for host in ["rebound.example:9180", "127.0.0.1.example", "", "localhost.example"] {
            check(&[("host", host)], None, Err(Refusal::Host));
        }
        check(&[], None, Err(Refusal::Host));
    }

    #[test]
    fn with_a_token_it_is_the_token_that_counts() {
        let host = ("host", "meterd.example");
        check(&[host, ("authorization", "Bearer abc")], Some("abc"), Ok(()));
        for wrong in ["Bearer abcd", "Bearer ab", "abc", "Basic abc", "Bearer "] {
            check(&[host, ("authorization", wrong)], Some("abc"), Err(Refusal::Token));
        }
        check(&[("host", "127.0.0.1")], Some("abc"), Err(Refusal::Token));
    }
}
