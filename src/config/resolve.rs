//! What a configuration means: values checked against each other and against the files they
//! name, defaults that depend on other values, and the settings of every part.
//!
//! It always answers settings. When `notes` has problems they are worth nothing.

mod credentials;
mod endpoint;
mod file;
mod mapping;
mod meter;
mod source;
mod target;

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::LoadFor;
use super::problem::{Notes, quoted};
use super::raw::{self, Raw};
use crate::agent::sandbox;
use crate::control::reconcile;
use crate::meter::{Limits, Meter};
use crate::units::{ByteSize, Period};
use crate::{admin, agent, delivery, pack, store, tenant};

/// Bytes under way between sources and store, unless one request may hold more.
const INTAKE_BYTES_MAX: u64 = 16 << 20;
/// So many full requests must fit between sources and store: one being read, one waiting, one
/// being packed, one being committed. Fewer would make stages wait for each other.
const INTAKE_REQUESTS_MIN: u64 = 4;

/// The server gives up on a request after so many seconds.
const SERVER_TIMEOUT_SECONDS: u64 = 120;

/// What a configuration depends on beside its text.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) purpose: LoadFor,
    /// The configuration file.
    pub(super) file: Option<&'a Path>,
    /// Whether everybody may read the configuration file.
    pub(super) readable_by_others: bool,
    /// `$STATE_DIRECTORY`, as systemd sets it.
    pub(super) state_directory: Option<&'a str>,
    /// Every variable: events may have values of them.
    pub(super) environment: &'a HashMap<String, String>,
}

impl Surroundings<'_> {
    /// The place of a file that the configuration names.
    fn locate(&self, file: &Path) -> PathBuf {
        // Relative names are looked up beside it; without one, in the working directory.
        self.file
            .and_then(Path::parent)
            .map_or_else(|| file.to_owned(), |directory| directory.join(file))
    }
}

/// Resolves the whole document.
pub(super) fn resolve(raw: Raw, around: &Surroundings<'_>, notes: &Notes) -> agent::Settings {
    let Raw { agent, mediation, store, batch, delivery, reconcile, admin, meters, sources, .. } =
        raw;
    let limits = limits(&mediation.limits);
    let base_url = endpoint::base_url(&mediation, &meters, around.purpose, notes);
    let meters: Vec<_> = meters
        .iter()
        .map(|typed| meter::resolve(typed, base_url.as_ref(), &mediation, limits, around, notes))
        .collect();
    if meters.is_empty() && around.purpose != LoadFor::Control && !notes.is_bad("meters") {
        notes.problem("meters", "nothing", "at least one section [meters.NAME]");
    }
    let mut sources = source::resolve(sources, &meters, limits.payload_bytes_max, around, notes);
    match around.purpose {
        LoadFor::Run if sources.is_empty() && !notes.is_bad("sources") => {
            notes.problem("sources", "nothing", "at least one section [sources.NAME]");
        }
        LoadFor::Run | LoadFor::Mend | LoadFor::Send => {}
        LoadFor::Ask | LoadFor::Control | LoadFor::Reconcile | LoadFor::Look => sources.clear(),
    }
    let state_dir = agent.state_dir.clone().unwrap_or_else(|| default_state_dir(around));
    let mut settings = agent::Settings {
        name: agent.name.clone().unwrap_or_else(host_name).into(),
        shutdown_grace: agent.shutdown_grace,
        intake_bytes_max: intake_bytes_max(&agent, &mediation.limits, notes),
        store: store::Settings {
            directory: state_dir,
            bytes_max: store.bytes_max,
            receipts_keep: store.receipts_keep,
        },
        pack: pack::Settings {
            linger_max: batch.linger_max,
            compression_level: batch.compression_level,
            workers: workers(batch.workers),
        },
        reconcile: resolve_reconcile(
            reconcile,
            &meters,
            store.receipts_keep,
            base_url.as_ref(),
            notes,
        ),
        admin: resolve_admin(&admin, around, notes),
        delivery: resolve_delivery(mediation, &delivery, base_url.as_ref(), &meters, around, notes),
        meters,
        sources,
        sandbox: sandbox::Settings::default(),
    };
    // Behind everything that names files.
    settings.sandbox = resolve_sandbox(&agent, around, notes);
    settings
}

fn resolve_sandbox(
    typed: &raw::Agent,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> sandbox::Settings {
    for (index, path) in typed.sandbox_read.iter().enumerate() {
        let key = format!("agent.sandbox_read[{index}]");
        if !Path::new(path).is_absolute() {
            let expected = "the whole path of a directory or file, such as \"/var/log/pods\"";
            notes.problem(key, quoted(path), expected);
        } else if typed.sandbox && !Path::new(path).exists() {
            notes.warning(key, format!("{path} is not there: it can be read after a restart"));
        }
    }
    let own = around.file.map(|file| ("the configuration".to_owned(), file.to_owned()));
    sandbox::Settings {
        is_wanted: typed.sandbox,
        read: typed.sandbox_read.iter().map(PathBuf::from).collect(),
        files: own.into_iter().chain(notes.files()).collect(),
    }
}

/// What is compared must be there to be compared.
fn resolve_reconcile(
    typed: reconcile::Settings,
    meters: &[Arc<Meter>],
    receipts_keep: Duration,
    base_url: Option<&url::Url>,
    notes: &Notes,
) -> reconcile::Settings {
    if typed.every.is_some() && meters.iter().all(|meter| meter.id.is_none()) {
        let expected = "`id` in at least one section [meters.NAME]: what has none is not asked for";
        notes.problem("reconcile.every", "no meter with an id", expected);
    }
    if typed.every.is_some() && base_url.is_none() && !notes.is_bad("mediation.base_url") {
        let expected = "the URL of your data center, such as https://rest.zuora.com";
        notes.problem("mediation.base_url", "nothing", expected);
    }
    if typed.window > receipts_keep {
        let message = "longer than store.receipts_keep: what is older cannot be compared";
        notes.warning("reconcile.window", message);
    }
    typed
}

/// Nobody else may ask a program that runs for a moment.
fn resolve_admin(typed: &raw::Admin, around: &Surroundings<'_>, notes: &Notes) -> admin::Settings {
    let listen = typed.listen.filter(|_| matches!(around.purpose, LoadFor::Run | LoadFor::Ask));
    let token = credentials::secret(&typed.token, around, notes);
    if let Some(address) = listen
        && !address.ip().is_loopback()
        && !typed.token.is_set()
    {
        let expected = "a loopback address, or admin.token_file beside it";
        notes.problem("admin.listen", address.to_string(), expected);
    }
    admin::Settings { listen, token, lag_max: typed.lag_max }
}

fn resolve_delivery(
    mediation: raw::Mediation,
    waits: &raw::Delivery,
    base_url: Option<&url::Url>,
    meters: &[Arc<Meter>],
    around: &Surroundings<'_>,
    notes: &Notes,
) -> delivery::Settings {
    if waits.backoff_base > waits.backoff_max {
        let expected = format!("at most backoff_max, {}", Period::new(waits.backoff_max));
        notes.problem(
            "delivery.backoff_base",
            Period::new(waits.backoff_base).to_string(),
            expected,
        );
    }
    let (connect, request) = (mediation.connect_timeout, mediation.request_timeout);
    if connect > request {
        let expected = format!("at most request_timeout, {}", Period::new(request));
        notes.problem("mediation.connect_timeout", Period::new(connect).to_string(), expected);
    }
    let remote = !endpoint::all_loopback(base_url, meters);
    if remote && request.as_secs() <= SERVER_TIMEOUT_SECONDS {
        let message = "not above the server's own 120s: a slow success becomes an unknown outcome";
        notes.warning("mediation.request_timeout", message);
    }
    let ca_file = mediation.ca_file.as_deref();
    let proxy = mediation.proxy.as_deref();
    let tenant = tenant::Settings {
        base_url: base_url.map(|url| url.as_str().to_owned()),
        credentials: credentials::resolve(mediation.auth, base_url, remote, around, notes),
        entity_ids: mediation.entity_ids,
        org_ids: mediation.org_ids,
        connect_timeout: connect,
        request_timeout: request,
        ca_file: ca_file.map(|file| file::readable("mediation.ca_file", file, around, notes)),
        client_identity: client_identity(
            mediation.client_cert_file.as_deref(),
            mediation.client_key_file.as_deref(),
            around,
            notes,
        ),
        proxy: proxy.and_then(|proxy| endpoint::proxy(proxy, notes)),
        requests_per_minute: saturated(mediation.limits.requests_per_minute),
        requests_in_flight_max: saturated(mediation.limits.requests_in_flight_max),
        backoff_base: waits.backoff_base,
        backoff_max: waits.backoff_max,
        retry_after_max: waits.retry_after_max,
    };
    delivery::Settings { tenant, hold_interval: waits.hold_interval, on_unknown: waits.on_unknown }
}

fn client_identity(
    certificate: Option<&Path>,
    key: Option<&Path>,
    around: &Surroundings<'_>,
    notes: &Notes,
) -> Option<(PathBuf, PathBuf)> {
    const CERTIFICATE: &str = "mediation.client_cert_file";
    const KEY: &str = "mediation.client_key_file";
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let key_file = file::readable(KEY, key, around, notes);
            file::warn_if_readable_by_others(KEY, &key_file, notes);
            Some((file::readable(CERTIFICATE, certificate, around, notes), key_file))
        }
        (Some(_), None) if !notes.is_bad(KEY) => {
            notes.problem(KEY, "nothing", "the key of client_cert_file");
            None
        }
        (None, Some(_)) if !notes.is_bad(CERTIFICATE) => {
            notes.problem(CERTIFICATE, "nothing", "the certificate of client_key_file");
            None
        }
        _ => None,
    }
}

fn limits(limits: &raw::Limits) -> Limits {
    let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        events_per_request_max: saturated(limits.events_per_request_max),
        payload_bytes_max: bytes(limits.payload_bytes_max),
        compressed_bytes_max: bytes(limits.compressed_bytes_max),
    }
}

fn intake_bytes_max(agent: &raw::Agent, limits: &raw::Limits, notes: &Notes) -> u32 {
    let least = limits.payload_bytes_max.saturating_mul(INTAKE_REQUESTS_MIN);
    let chosen = agent.intake_bytes_max.unwrap_or(INTAKE_BYTES_MAX.max(least));
    if chosen < least {
        let expected =
            format!("at least 4 x mediation.limits.payload_bytes_max, {}", ByteSize(least));
        notes.problem("agent.intake_bytes_max", ByteSize(chosen).to_string(), expected);
    }
    saturated(chosen)
}

fn default_state_dir(around: &Surroundings<'_>) -> PathBuf {
    // systemd lists several directories with colons between them; the first is ours.
    let first = around.state_directory.and_then(|list| list.split(':').next());
    first.filter(|first| !first.is_empty()).unwrap_or("/var/lib/meterd").into()
}

/// The host's name, made fit for a label and a header.
fn host_name() -> String {
    let host = rustix::system::uname();
    let fit = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    let name: String = host.nodename().to_string_lossy().chars().map(fit).take(64).collect();
    if name.is_empty() { "meterd".to_owned() } else { name }
}

fn workers(typed: usize) -> usize {
    match typed {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        typed => typed,
    }
}

/// The ranges of all values end below this; it is for the type only.
fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
