//! `[mediation]` as it may be typed: where Mediation is, who we are there, what it takes.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::super::reader::Reader;
use super::{HOUR, MILLISECOND, MINUTE, SECOND};

/// Kinds of tenants; each has its own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Tenant {
    Production,
    CentralSandbox,
    DeveloperSandbox,
    ApiSandbox,
}

/// `[mediation]`.
#[derive(Debug)]
pub(in super::super) struct Mediation {
    pub(in super::super) base_url: Option<String>,
    pub(in super::super) ingest_path: String,
    pub(in super::super) entity_ids: String,
    pub(in super::super) org_ids: String,
    pub(in super::super) connect_timeout: Duration,
    pub(in super::super) request_timeout: Duration,
    pub(in super::super) ca_file: Option<PathBuf>,
    pub(in super::super) client_cert_file: Option<PathBuf>,
    pub(in super::super) client_key_file: Option<PathBuf>,
    pub(in super::super) proxy: Option<String>,
    pub(in super::super) auth: Auth,
    pub(in super::super) limits: Limits,
}

/// `[mediation.auth]`.
#[derive(Debug)]
pub(in super::super) struct Auth {
    pub(in super::super) token_url: Option<String>,
    pub(in super::super) client_id: Option<String>,
    pub(in super::super) client_secret: Secret,
    pub(in super::super) bearer_token: Secret,
}

/// A secret: typed, or in a file.
#[derive(Debug)]
pub(in super::super) struct Secret {
    /// The whole key of the value; the key of the file is this with `_file`.
    pub(in super::super) key: String,
    pub(in super::super) value: Option<SecretString>,
    pub(in super::super) from_environment: bool,
    pub(in super::super) file: Option<PathBuf>,
}

/// `[mediation.limits]`, with the defaults of the tenant.
#[derive(Debug)]
pub(in super::super) struct Limits {
    pub(in super::super) payload_bytes_max: u64,
    pub(in super::super) compressed_bytes_max: u64,
    pub(in super::super) events_per_request_max: u64,
    pub(in super::super) requests_per_minute: u64,
    pub(in super::super) requests_in_flight_max: u64,
}

impl Mediation {
    pub(super) fn read(reader: Reader<'_>) -> Self {
        let tenants = [
            ("production", Tenant::Production),
            ("central-sandbox", Tenant::CentralSandbox),
            ("developer-sandbox", Tenant::DeveloperSandbox),
            ("api-sandbox", Tenant::ApiSandbox),
        ];
        let tenant = reader.choice("tenant", &tenants).unwrap_or(Tenant::Production);
        let ingest_path = reader.text_that("ingest_path", ingest_path);
        let ids = |key| reader.text_that(key, header_value).unwrap_or_default();
        let mediation = Self {
            base_url: reader.text("base_url"),
            ingest_path: ingest_path.unwrap_or_else(|| DEFAULT_INGEST_PATH.to_owned()),
            entity_ids: ids("entity_ids"),
            org_ids: ids("org_ids"),
            connect_timeout: reader
                .duration("connect_timeout", MILLISECOND..=MINUTE * 10)
                .unwrap_or(SECOND * 5),
            request_timeout: reader
                .duration("request_timeout", MILLISECOND..=HOUR)
                .unwrap_or(SECOND * 125),
            ca_file: reader.file("ca_file"),
            client_cert_file: reader.file("client_cert_file"),
            client_key_file: reader.file("client_key_file"),
            proxy: reader.text("proxy"),
            auth: Auth::read(reader.section("auth")),
            limits: Limits::read(reader.section("limits"), tenant),
        };
        reader.finish();
        mediation
    }
}

/// As in the reference of the endpoint; older and newer tenants differ, so it can be set.
const DEFAULT_INGEST_PATH: &str = "/meters/streaming/ingestion/{meter}";

impl Auth {
    fn read(reader: Reader<'_>) -> Self {
        let auth = Self {
            token_url: reader.text("token_url"),
            client_id: reader.text("client_id"),
            client_secret: Secret::read(&reader, "client_secret", "client_secret_file"),
            bearer_token: Secret::read(&reader, "bearer_token", "bearer_token_file"),
        };
        reader.finish();
        auth
    }
}

impl Secret {
    pub(super) fn read(reader: &Reader<'_>, key: &'static str, file_key: &'static str) -> Self {
        Self {
            key: reader.key(key),
            value: reader.secret(key),
            from_environment: reader.is_from_environment(key),
            file: reader.file(file_key),
        }
    }

    /// Whether any way was given.
    pub(in super::super) fn is_set(&self) -> bool {
        self.value.is_some() || self.file.is_some()
    }
}

impl Limits {
    fn read(reader: Reader<'_>, tenant: Tenant) -> Self {
        // "Table 1. Meter volume limit" of Zuora's page on the Streaming API as a source.
        let (payload, events, rate) = match tenant {
            Tenant::Production | Tenant::CentralSandbox => (4_000_000, 10_000, 50_000),
            Tenant::DeveloperSandbox => (2_000_000, 5_000, 5_000),
            Tenant::ApiSandbox => (1_000_000, 1_000, 600),
        };
        let bytes = |key, default| reader.size(key, 64..=64 << 20).unwrap_or(default);
        let number = |key, max, default| reader.integer(key, 1..=max).unwrap_or(default);
        let payload_bytes_max = bytes("payload_bytes_max", payload);
        let limits = Self {
            payload_bytes_max,
            compressed_bytes_max: bytes("compressed_bytes_max", payload_bytes_max),
            events_per_request_max: number("events_per_request_max", 1_000_000, events),
            requests_per_minute: number("requests_per_minute", 10_000_000, rate),
            requests_in_flight_max: number("requests_in_flight_max", 1_000, 8),
        };
        reader.finish();
        limits
    }
}

fn ingest_path(text: &str) -> Result<(), String> {
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\'));
    if text.starts_with('/') && text.matches("{meter}").count() == 1 && plain {
        Ok(())
    } else {
        Err(format!(
            "a path that begins with / and has {{meter}} once, such as {DEFAULT_INGEST_PATH} or /usage/bulk/{{meter}}"
        ))
    }
}

fn header_value(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if text.len() <= 4096 && text.chars().all(plain) {
        Ok(())
    } else {
        Err("ids separated by commas, in ASCII".to_owned())
    }
}
