//! The keys of sources that listen.

use std::time::Duration;

use super::super::super::problem::quoted;
use super::super::super::reader::Reader;
use super::super::{DAY, MILLISECOND, MINUTE, SECOND};
use super::LINE_BYTES_MAX;
use crate::source::listen::{Admission, Network, Place, SocketFile, tls};
use crate::source::unix::Kind;
use crate::source::{connection, http, tcp, unix};

/// The highest limit of connections that may be typed.
const CONNECTIONS_MAX: u64 = 1 << 20;

/// The longest path of a socket, without its end: what the system takes.
const PATH_BYTES_MAX: usize = 107;

pub(super) fn read_tcp(reader: &Reader<'_>, name: &str) -> Option<tcp::Settings> {
    let (listen, admission, connection) = (
        read_listen(reader, name, "127.0.0.1:9170"),
        read_admission(reader),
        read_connection(reader),
    );
    let tls = read_tls(reader);
    Some(tcp::Settings { listen: listen?, admission, tls, connection })
}

/// Also gives the names of the meters; none: all of them.
pub(super) fn read_http(reader: &Reader<'_>, name: &str) -> Option<(http::Settings, Vec<String>)> {
    let listen = read_listen(reader, name, "127.0.0.1:9171");
    let admission = read_admission(reader);
    let meters = reader.texts("meters").unwrap_or_default();
    let times = MILLISECOND..=DAY * 7;
    let body_bytes_max = reader.size("body_bytes_max", 1..=64 << 20);
    let settings = http::Settings {
        tls: read_tls(reader),
        token_file: reader.file("token_file"),
        admission,
        meters: http::Meters(Vec::new()),
        body_bytes_max: body_bytes_max.and_then(|n| usize::try_from(n).ok()).unwrap_or_default(),
        body_timeout: reader.duration("body_timeout", times.clone()).unwrap_or(SECOND * 30),
        idle_timeout: reader.duration("idle_timeout", times).unwrap_or(SECOND * 90),
        line_bytes_max: LINE_BYTES_MAX,
        linger_max: reader
            .duration("linger_max", Duration::ZERO..=MINUTE)
            .unwrap_or(MILLISECOND * 20),
        retry_window: reader
            .duration("retry_window", Duration::ZERO..=DAY * 365)
            .unwrap_or(DAY * 7),
        unique_track_ids: reader.boolean("unique_track_ids").unwrap_or(false),
        listen: listen?,
    };
    Some((settings, meters))
}

pub(super) fn read_unix(reader: &Reader<'_>, name: &str) -> Option<unix::Settings> {
    if !reader.is_set("path") {
        reader.missing("path", "a path such as \"/run/meterd/usage.sock\", or \"systemd\"");
    }
    let path = reader.text_that("path", |path| match path.len() {
        ..=PATH_BYTES_MAX => Ok(()),
        _ => Err(format!("a path of at most {PATH_BYTES_MAX} bytes")),
    });
    let octal = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let mode = reader.text_that("mode", |text| {
        octal(text).map(|_| ()).ok_or_else(|| "rights such as \"0660\"".to_owned())
    });
    let mode = mode.as_deref().and_then(octal).unwrap_or(0o660);
    let kinds = [("stream", Kind::Stream), ("datagram", Kind::Datagram)];
    let kind = reader.choice("socket", &kinds).unwrap_or_default();
    if kind == Kind::Datagram {
        for key in ["ack", "connections_max", "first_byte_timeout", "idle_timeout"] {
            if reader.is_set(key) {
                let expected = "the key to be left out: datagrams come without a connection";
                reader.notes().problem(reader.key(key), "a key for connections", expected);
            }
        }
    }
    let (owner, group) = (reader.text("owner"), reader.text("group"));
    let admission = Admission::of_all(read_connections_max(reader));
    let connection = read_connection(reader);
    let path = path?;
    let place = match inherited(&path, name) {
        Some(name) => unix::Place::Inherited(name),
        None => unix::Place::File(SocketFile { path: path.into(), mode, owner, group }),
    };
    Some(unix::Settings { place, kind, admission, connection })
}

fn read_listen(reader: &Reader<'_>, name: &str, example: &str) -> Option<Place> {
    let expected = format!("an address and port, such as {example:?}, or \"systemd\"");
    if !reader.is_set("listen") {
        reader.missing("listen", &expected);
    }
    let place = |text: &str| match inherited(text, name) {
        Some(name) => Some(Place::Inherited(name)),
        None => text.parse().ok().map(Place::Address),
    };
    let is_place = |text: &str| place(text).map(|_| ()).ok_or_else(|| expected.clone());
    place(&reader.text_that("listen", is_place)?)
}

/// The name of the socket that `place` means: of the source `own`, unless it says another.
fn inherited(place: &str, own: &str) -> Option<String> {
    match place.strip_prefix("systemd")? {
        "" => Some(own.to_owned()),
        named => Some(named.strip_prefix(':')?.to_owned()).filter(|name| !name.is_empty()),
    }
}

/// What is half there is a problem, and plain for now.
fn read_tls(reader: &Reader<'_>) -> Option<tls::Settings> {
    let (cert_file, key_file) = (reader.file("cert_file"), reader.file("key_file"));
    let client_ca_file = reader.file("client_ca_file");
    let missing = match (&cert_file, &key_file) {
        (Some(_), None) => Some(("key_file", "the key of cert_file")),
        (None, Some(_)) => Some(("cert_file", "the certificate of key_file")),
        (None, None) if client_ca_file.is_some() => {
            Some(("cert_file", "a certificate: without TLS nobody can show one"))
        }
        _ => None,
    };
    if let Some((key, expected)) = missing
        && !reader.is_set(key)
    {
        reader.missing(key, expected);
    }
    Some(tls::Settings { cert_file: cert_file?, key_file: key_file?, client_ca_file })
}

fn read_connections_max(reader: &Reader<'_>) -> usize {
    let typed = reader.integer("connections_max", 1..=CONNECTIONS_MAX);
    typed.and_then(|count| usize::try_from(count).ok()).unwrap_or(1000)
}

fn read_admission(reader: &Reader<'_>) -> Admission {
    let connections_max = read_connections_max(reader);
    let per_address = reader.integer("connections_per_address_max", 1..=CONNECTIONS_MAX);
    let per_address = per_address.and_then(|count| usize::try_from(count).ok());
    let mut allow = Vec::new();
    for (index, text) in reader.texts("allow").unwrap_or_default().iter().enumerate() {
        match text.parse::<Network>() {
            Ok(network) => allow.push(network),
            Err(error) => {
                let key = reader.key(&format!("allow[{index}]"));
                reader.notes().problem(key, quoted(text), error.to_string());
            }
        }
    }
    if reader.is_set("allow") && allow.is_empty() && !reader.notes().is_bad(&reader.key("allow")) {
        let expected = "at least one network, or the key to be left out";
        reader.notes().problem(reader.key("allow"), "an empty list", expected);
    }
    Admission {
        connections_max,
        connections_per_address_max: per_address.unwrap_or(connections_max),
        allow,
    }
}

fn read_connection(reader: &Reader<'_>) -> connection::Settings {
    let times = MILLISECOND..=DAY * 7;
    let idle_timeout = reader.duration("idle_timeout", times.clone()).unwrap_or(MINUTE * 5);
    let first_byte_timeout = reader.duration("first_byte_timeout", times).unwrap_or(idle_timeout);
    let ack = reader.boolean("ack").unwrap_or(false);
    connection::Settings { idle_timeout, first_byte_timeout, line_bytes_max: LINE_BYTES_MAX, ack }
}
