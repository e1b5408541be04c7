//! The configuration of a test: a good one, with room in each section.

use std::path::Path;

/// What differs from the usual, as lines of TOML in their sections.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) base_url: String,
    /// `[agent]`, beside its name, state directory and grace.
    pub(crate) agent: String,
    pub(crate) shutdown_grace: &'static str,
    pub(crate) request_timeout: &'static str,
    /// `[mediation]`, beside the base URL and the time-outs.
    pub(crate) mediation: String,
    /// `[mediation.auth]`.
    pub(crate) auth: String,
    /// `[mediation.limits]`.
    pub(crate) limits: String,
    /// `[store]`.
    pub(crate) store: String,
    /// `[delivery]`; quick by default, so that no test waits for a backoff.
    pub(crate) delivery: String,
    /// `[admin]`; by default nowhere, because tests run side by side.
    pub(crate) admin: String,
    /// `[meters.m]`, beside its global id "g1".
    pub(crate) meter: String,
    /// Whole sections `[sources.NAME]` for the meter "m".
    pub(crate) sources: String,
}

impl Config {
    /// A configuration for the far end at `base_url` with these sources.
    pub(crate) fn new(base_url: &str, sources: impl Into<String>) -> Self {
        Self {
            base_url: base_url.to_owned(),
            agent: String::new(),
            shutdown_grace: "20s",
            request_timeout: "30s",
            mediation: String::new(),
            auth: String::new(),
            limits: String::new(),
            store: String::new(),
            delivery: "backoff_base = \"50ms\"\nbackoff_max = \"200ms\"\nhold_interval = \"200ms\""
                .to_owned(),
            admin: "listen = \"\"".to_owned(),
            meter: "event_id_field = \"EventId\"".to_owned(),
            sources: sources.into(),
        }
    }

    /// The whole file, with the store in `state`.
    pub(crate) fn text(&self, state: &Path) -> String {
        let Self { base_url, agent, shutdown_grace, request_timeout, mediation, .. } = self;
        let Self { auth, limits, store, delivery, admin, meter, sources, .. } = self;
        let state = state.display();
        format!(
            "[agent]\nname = \"it\"\nstate_dir = \"{state}\"\nshutdown_grace = \"{shutdown_grace}\"\n{agent}\n\
             [mediation]\nbase_url = \"{base_url}\"\nconnect_timeout = \"1s\"\n\
             request_timeout = \"{request_timeout}\"\n{mediation}\n\
             [mediation.auth]\n{auth}\n[mediation.limits]\n{limits}\n[store]\n{store}\n\
             [batch]\nlinger_max = \"20ms\"\nworkers = 1\n[delivery]\n{delivery}\n\
             [admin]\n{admin}\n[log]\nformat = \"json\"\nlevel = \"info\"\n\
             [meters.m]\nglobal_id = \"g1\"\n{meter}\n{sources}\n"
        )
    }
}

/// The standard input source.
pub(crate) const STDIN: &str = "[sources.pipe]\ntype = \"stdin\"\nmeter = \"m\"\n";

/// A TCP source on a free port.
pub(crate) const TCP: &str =
    "[sources.net]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"127.0.0.1:0\"\n";

/// An HTTP source on a free port.
pub(crate) const HTTP: &str =
    "[sources.http]\ntype = \"http\"\nlisten = \"127.0.0.1:0\"\nlinger_max = \"5ms\"\n";

/// A source that follows the files of `pattern`.
pub(crate) fn file(pattern: &Path) -> String {
    file_of("app", "m", pattern)
}

/// The source `name` that follows the files of `pattern` for `meter`.
pub(crate) fn file_of(name: &str, meter: &str, pattern: &Path) -> String {
    let pattern = pattern.display();
    format!(
        "[sources.{name}]\ntype = \"file\"\nmeter = \"{meter}\"\npaths = [\"{pattern}\"]\npoll_interval = \"100ms\"\n"
    )
}
