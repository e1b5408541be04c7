//! Sources: each has its meter, and no two read the same.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::super::problem::{Notes, quoted};
use super::super::raw::{self, Kind};
use super::target::{self, Target};
use super::{Surroundings, file, mapping};
use crate::agent::Source;
use crate::meter::Meter;
use crate::source::listen::{Place, tls};
use crate::source::{Settings, http, unix};
use crate::units::ByteSize;

/// Resolves all sources; those without a usable type or meter are left out.
pub(super) fn resolve(
    typed: Vec<raw::Source>,
    meters: &[Arc<Meter>],
    payload_bytes_max: usize,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Vec<Source> {
    check_stdin(&typed, notes);
    check_listen(&typed, notes);
    check_paths(&typed, meters, notes);
    let mut sources = Vec::with_capacity(typed.len());
    for source in typed {
        let line_bytes_max = line_bytes_max(&source, payload_bytes_max, notes);
        let target = source.meter.as_ref();
        let target = target.and_then(|typed| Target::resolve(&source.key, typed, meters, notes));
        let (target, kind) = match (target, source.kind) {
            (Some(target), Some(kind)) => (target, kind),
            (None, Some(Kind::Http(mut http, names))) => {
                http.meters = http::Meters(served(&source.key, &names, meters, notes));
                let Some(meter) = meters.first() else { continue };
                (Target::One(Arc::clone(meter)), Kind::Http(http, names))
            }
            _ => continue,
        };
        let settings = match kind {
            Kind::Http(http, _) => {
                let http = http::Settings { line_bytes_max, ..http };
                Settings::Http(resolve_http(&source.key, http, payload_bytes_max, around, notes))
            }
            Kind::File(mut file) => {
                file.line_bytes_max = line_bytes_max;
                Settings::File(file)
            }
            Kind::Stdin(mut stdin) => {
                stdin.line_bytes_max = line_bytes_max;
                Settings::Stdin(stdin)
            }
            Kind::Tcp(mut tcp) => {
                tcp.connection.line_bytes_max = line_bytes_max;
                tcp.tls = tcp.tls.map(|tls| resolve_tls(&source.key, &tls, around, notes));
                Settings::Tcp(tcp)
            }
            Kind::Unix(mut unix) => {
                unix.connection.line_bytes_max = line_bytes_max;
                Settings::Unix(unix)
            }
        };
        let is_file = matches!(settings, Settings::File(_));
        let resolved = mapping::resolve(source.mapping, target, is_file, around, notes);
        let Some((mapping, destination)) = resolved else { continue };
        let (name, breaker) = (source.name.into(), source.breaker);
        sources.push(Source { name, destination, mapping, settings, breaker });
    }
    sources
}

fn resolve_http(
    key: &str,
    mut http: http::Settings,
    payload_bytes_max: usize,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> http::Settings {
    if http.body_bytes_max == 0 {
        http.body_bytes_max = payload_bytes_max;
    }
    http.tls = http.tls.map(|tls| resolve_tls(key, &tls, around, notes));
    if let Some(named) = &http.token_file {
        let key = format!("{key}.token_file");
        let path = file::readable(&key, named, around, notes);
        file::warn_if_readable_by_others(&key, &path, notes);
        http.token_file = Some(path);
    }
    http
}

fn resolve_tls(
    key: &str,
    tls: &tls::Settings,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> tls::Settings {
    let readable = |name, path| file::readable(&format!("{key}.{name}"), path, around, notes);
    let key_file = readable("key_file", &tls.key_file);
    file::warn_if_readable_by_others(&format!("{key}.key_file"), &key_file, notes);
    let client_ca_file = tls.client_ca_file.as_ref().map(|path| readable("client_ca_file", path));
    tls::Settings { cert_file: readable("cert_file", &tls.cert_file), key_file, client_ca_file }
}

/// The meters with these names; all of them when there is none.
fn served(key: &str, names: &[String], meters: &[Arc<Meter>], notes: &Notes) -> Vec<Arc<Meter>> {
    if names.is_empty() {
        return meters.to_vec();
    }
    let meter = |(index, name): (usize, &String)| {
        target::named(&format!("{key}.meters[{index}]"), name, meters, notes).cloned()
    };
    names.iter().enumerate().filter_map(meter).collect()
}

/// A line that is longer than a request could never be sent.
fn line_bytes_max(source: &raw::Source, payload_bytes_max: usize, notes: &Notes) -> usize {
    let Some(typed) = source.line_bytes_max else {
        return raw::LINE_BYTES_MAX.min(payload_bytes_max);
    };
    if typed > payload_bytes_max {
        let size = |bytes: usize| ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX)).to_string();
        let limit = size(payload_bytes_max);
        let expected = format!("at most mediation.limits.payload_bytes_max, {limit}");
        notes.problem(format!("{}.line_bytes_max", source.key), size(typed), expected);
    }
    typed
}

fn check_stdin(sources: &[raw::Source], notes: &Notes) {
    let mut stdin = sources.iter().filter(|source| matches!(source.kind, Some(Kind::Stdin(_))));
    let Some(first) = stdin.next() else { return };
    for other in stdin {
        let found = format!("a second stdin source beside {}", first.key);
        notes.problem(format!("{}.type", other.key), found, "one stdin source");
    }
}

fn check_listen(sources: &[raw::Source], notes: &Notes) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let mut paths: HashMap<&Path, &str> = HashMap::new();
    for source in sources {
        let listen = match &source.kind {
            Some(Kind::Tcp(tcp)) => address(&tcp.listen),
            Some(Kind::Http(http, _)) => address(&http.listen),
            _ => None,
        };
        match (&source.kind, listen) {
            (_, Some(listen)) => {
                if let Some((other, _)) = taken.iter().find(|(_, other)| collide(listen, *other)) {
                    let found = format!("{listen}, which {other} takes");
                    notes.problem(format!("{}.listen", source.key), found, "an address of its own");
                }
                taken.push((source.key.as_str(), listen));
            }
            (Some(Kind::Unix(unix::Settings { place: unix::Place::File(file), .. })), None) => {
                let path = file.path.as_path();
                if let Some(other) = paths.insert(path, &source.key) {
                    let found = format!("{}, which {other} takes", path.display());
                    notes.problem(format!("{}.path", source.key), found, "a path of its own");
                }
            }
            _ => {}
        }
    }
}

fn address(place: &Place) -> Option<SocketAddr> {
    match place {
        Place::Address(address) => Some(*address),
        Place::Inherited(_) => None,
    }
}

/// Whether two addresses cannot both be listened on. Port 0 is a new one each time.
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let any = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && (any || left.ip() == right.ip())
}

/// A pattern in two sources of one meter would read and bill every event twice.
fn check_paths(sources: &[raw::Source], meters: &[Arc<Meter>], notes: &Notes) {
    let mut taken: HashMap<(&str, &str), &str> = HashMap::new();
    for source in sources {
        let (Some(Kind::File(file)), Some(typed)) = (&source.kind, &source.meter) else { continue };
        let mut names = target::names(typed, meters);
        names.sort_unstable();
        names.dedup();
        for (index, path) in file.paths.iter().enumerate() {
            let others = names.iter().filter_map(|meter| taken.insert((meter, path), &source.key));
            // All of them are taken, one is told.
            if let Some(other) = others.collect::<Vec<_>>().first() {
                let found = format!("{}, which {other} reads for the same meter", quoted(path));
                let expected = "each file in one source: its events would be sent twice";
                notes.problem(format!("{}.paths[{index}]", source.key), found, expected);
            }
        }
    }
}
