//! URLs: what may be an endpoint, and which hosts are this one.

use std::sync::Arc;

use url::{Host, Url};

use super::super::LoadFor;
use super::super::problem::{Notes, quoted};
use super::super::raw;
use crate::meter::Meter;

const BASE: &str = "mediation.base_url";

/// The base URL, which must be there when a meter or the token is reached by it.
pub(super) fn base_url(
    mediation: &raw::Mediation,
    meters: &[raw::Meter],
    purpose: LoadFor,
    notes: &Notes,
) -> Option<Url> {
    let auth = &mediation.auth;
    let for_token =
        auth.token_url.is_none() && (auth.client_id.is_some() || auth.client_secret.is_set());
    let needed = for_token
        || matches!(purpose, LoadFor::Control | LoadFor::Reconcile)
        || meters.iter().any(|meter| meter.global_id.is_some());
    if let Some(typed) = &mediation.base_url {
        let url = parse(BASE, typed, notes)?;
        if url.query().is_some() {
            notes.problem(BASE, shown(typed), "a URL without a query");
        }
        Some(url)
    } else {
        if needed && !notes.is_bad(BASE) {
            let expected = "the URL of your data center, such as https://rest.zuora.com";
            notes.problem(BASE, "nothing", expected);
        }
        None
    }
}

/// `path` below `base`.
pub(super) fn below(base: &Url, path: &str) -> String {
    format!("{}{path}", base.as_str().trim_end_matches('/'))
}

/// Checks an endpoint: https, or http to this host, and nothing in it that does not belong.
pub(super) fn parse(key: &str, typed: &str, notes: &Notes) -> Option<Url> {
    let refuse = |expected: &str| {
        notes.problem(key, shown(typed), expected);
        None
    };
    let Ok(url) = Url::parse(typed) else {
        return refuse("a URL such as https://rest.zuora.com");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("a URL without user name and password: see [mediation.auth]");
    }
    if url.fragment().is_some() {
        return refuse("a URL without a fragment");
    }
    match url.scheme() {
        "https" => Some(url),
        "http" if is_loopback(&url) => Some(url),
        "http" => refuse("https: plain http is for loopback addresses only"),
        _ => refuse("a URL that begins with https://"),
    }
}

/// Checks the URL of a proxy. Plain http is usual here: what goes through is encrypted.
pub(super) fn proxy(typed: &str, notes: &Notes) -> Option<String> {
    const KEY: &str = "mediation.proxy";
    match Url::parse(typed) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            let expected = "a URL without password; set HTTPS_PROXY in the environment instead";
            notes.problem(KEY, shown(typed), expected);
            None
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Some(typed.to_owned())
        }
        _ => {
            notes.problem(KEY, shown(typed), "a URL such as http://proxy.example.com:3128");
            None
        }
    }
}

/// Whether everything that is sent stays on this host.
pub(super) fn all_loopback(base_url: Option<&Url>, meters: &[Arc<Meter>]) -> bool {
    let uploads = meters.iter().filter_map(|meter| Url::parse(&meter.upload_url).ok());
    base_url.is_none_or(is_loopback) && uploads.into_iter().all(|url| is_loopback(&url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A URL as problems show it: without query and whatever stands before an `@`.
fn shown(typed: &str) -> String {
    let plain = typed.split(['?', '#']).next().unwrap_or_default();
    match plain.rsplit_once('@') {
        Some((_, host)) => quoted(&format!("...@{host}")),
        None => quoted(plain),
    }
}
