//! What the daemon can reach: what its configuration names, and no more, where the kernel has
//! Landlock.
//!
//! `Rules` are a pure function of settings and environment. They are put up before the first thread
//! begins, so that they hold for all of the process; nothing can widen them until it ends. So a
//! reload that names something else is refused, and tells which key.
//!
//! A rule holds for what is at its path when it is put up. That is why files are let in by their
//! directory: certificates, secrets and `resolv.conf` are replaced, not written to.

mod enforce;
mod system;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use url::Url;

use super::Settings as AgentSettings;
use crate::source::listen::Place;
use crate::source::{self, unix};
use crate::tenant::Credentials;

pub use enforce::{Sandbox, State};

/// What it is made of beside what other settings name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Whether it is put up where the kernel can.
    pub is_wanted: bool,
    /// More directories and files that can be read.
    pub read: Vec<PathBuf>,
    /// Every file that the configuration names, itself included, each with its key.
    pub files: Vec<(String, PathBuf)>,
}

/// What may be done at a path and beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Files are read, directories listed.
    Read,
    /// The same, and files are removed.
    Remove,
    /// Unix sockets are made and removed.
    Sockets,
    /// Files are made, written and removed.
    Store,
}

/// In the place of a key, for what no configuration names.
const SYSTEM: &str = "the system";

/// As many links behind each other as the kernel follows.
const LINKS_MAX: usize = 40;

impl Access {
    /// Whether who has this may do what `other` lets do.
    fn includes(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Remove | Self::Store, Self::Read))
    }
}

/// A path that is let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathRule {
    /// The key that names it.
    key: String,
    path: PathBuf,
    access: Access,
    /// It may come later: what is above it is let in while it is not there.
    is_awaited: bool,
}

/// What is done with a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Somebody else listens on it.
    Connect,
    /// We do.
    Listen,
}

/// A TCP port that is let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRule {
    /// The key that names it.
    key: String,
    number: u16,
    r#use: Use,
}

/// Everything that is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    paths: BTreeSet<PathRule>,
    ports: BTreeSet<PortRule>,
}

impl Rules {
    /// What `settings` need, and what everything on this host needs whose proxies and authorities
    /// `environment` names.
    pub fn new(settings: &AgentSettings, environment: &HashMap<String, String>) -> Self {
        let mut rules = Self::default();
        rules.add_path("agent.state_dir", &settings.store.directory, Access::Store);
        for (key, file) in &settings.sandbox.files {
            rules.add_file(key, file);
        }
        for path in &settings.sandbox.read {
            rules.add_path("agent.sandbox_read", path, Access::Read);
        }
        for source in &settings.sources {
            rules.add_source(&format!("sources.{}", source.name), &source.settings);
        }
        rules.add_far_end(settings);
        if let Some(address) = settings.admin.listen {
            rules.add_port("admin.listen", address.port(), Use::Listen);
        }
        rules.add_system(environment);
        rules
    }

    fn add_path(&mut self, key: &str, path: &Path, access: Access) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.paths.insert(PathRule { key: key.to_owned(), path, access, is_awaited: false });
    }

    /// A file by its directory. Secrets and certificates are often links, and what they lead to is
    /// replaced as well, or is not there yet.
    fn add_file(&mut self, key: &str, file: &Path) {
        self.add_path(key, directory_of(file), Access::Read);
        let target = target_of(file);
        if target != file {
            let (key, path) = (key.to_owned(), directory_of(&target).to_owned());
            self.paths.insert(PathRule { key, path, access: Access::Read, is_awaited: true });
        }
    }

    fn add_port(&mut self, key: &str, number: u16, r#use: Use) {
        self.ports.insert(PortRule { key: key.to_owned(), number, r#use });
    }

    fn add_source(&mut self, key: &str, settings: &source::Settings) {
        let mut listen = |place: &Place| {
            if let Place::Address(address) = place {
                self.add_port(&format!("{key}.listen"), address.port(), Use::Listen);
            }
        };
        match settings {
            source::Settings::Tcp(tcp) => listen(&tcp.listen),
            source::Settings::Http(http) => listen(&http.listen),
            source::Settings::Unix(unix) => {
                if let unix::Place::File(file) = &unix.place {
                    let directory = directory_of(&file.path);
                    self.add_path(&format!("{key}.path"), directory, Access::Sockets);
                }
            }
            source::Settings::File(file) => {
                let access =
                    if file.remove_after.is_some() { Access::Remove } else { Access::Read };
                // Without a working directory the source fails, and says so.
                for path in file.starts().into_iter().flatten() {
                    let key = format!("{key}.paths");
                    self.paths.insert(PathRule { key, path, access, is_awaited: true });
                }
            }
            // The daemon has none of those; standard input is open.
            source::Settings::Once(_) | source::Settings::Stdin(_) => {}
        }
    }

    /// Where requests go.
    fn add_far_end(&mut self, settings: &AgentSettings) {
        let tenant = &settings.delivery.tenant;
        let uploads = settings.meters.iter().map(|meter| {
            (format!("meters.{}.upload_url", meter.name), Some(meter.upload_url.as_str()))
        });
        let token_url = match &tenant.credentials {
            Credentials::Client { token_url, .. } => Some(token_url.as_str()),
            Credentials::Bearer(_) | Credentials::None => None,
        };
        let others = [
            ("mediation.base_url", tenant.base_url.as_deref()),
            ("mediation.auth.token_url", token_url),
            ("mediation.proxy", tenant.proxy.as_deref()),
        ];
        let others = others.into_iter().map(|(key, url)| (key.to_owned(), url));
        for (key, url) in others.chain(uploads) {
            if let Some(port) = url.and_then(port_of) {
                self.add_port(&key, port, Use::Connect);
            }
        }
    }

    /// What every program needs that looks up names and checks certificates.
    fn add_system(&mut self, environment: &HashMap<String, String>) {
        for path in system::paths(environment) {
            self.add_path(SYSTEM, &path, Access::Read);
        }
        for file in system::files(environment) {
            self.add_file(SYSTEM, &file);
        }
        self.add_port(SYSTEM, system::DNS_PORT, Use::Connect);
        for proxy in system::proxies(environment) {
            if let Some(port) = port_of(&proxy) {
                self.add_port(SYSTEM, port, Use::Connect);
            }
        }
    }

    /// What of `wanted` these do not let in, in words.
    fn refused(&self, wanted: &Self) -> Vec<String> {
        let mut refused = Vec::new();
        // What a link of the system leads to may change, and is no matter of the configuration.
        let configured = wanted.paths.iter().filter(|path| path.key != SYSTEM);
        for path in configured.filter(|path| !self.let_in(path)) {
            let PathRule { key, path, .. } = path;
            refused.push(format!(
                "{key}: {} is outside of the sandbox: restart to let it in",
                path.display()
            ));
        }
        for port in &wanted.ports {
            let is_same =
                |known: &PortRule| (known.number, known.r#use) == (port.number, port.r#use);
            if !self.ports.iter().any(is_same) {
                let PortRule { key, number, .. } = port;
                refused.push(format!(
                    "{key}: port {number} is outside of the sandbox: restart to let it in"
                ));
            }
        }
        refused
    }

    /// Whether a rule is for `wanted`, or for something above it. What was there under a name, and is
    /// not any more, is let in by its name: what has not changed is no reason to refuse.
    fn let_in(&self, wanted: &PathRule) -> bool {
        let there = existing(&wanted.path);
        self.paths.iter().filter(|known| known.access.includes(wanted.access)).any(|known| {
            wanted.path.starts_with(&known.path)
                || match (&there, existing(&known.path)) {
                    (Some(wanted), Some(known)) => wanted.starts_with(known),
                    _ => false,
                }
        })
    }
}

/// Where `path` leads to; none: to nothing.
fn existing(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// The directory that `file` is in. One at the root is let in alone: with its directory
/// everything would be.
fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if directory == Path::new("/") => file,
        Some(directory) if directory == Path::new("") => Path::new("."),
        Some(directory) => directory,
        None => file,
    }
}

/// Where `file` leads to, whether that is there or not.
fn target_of(file: &Path) -> PathBuf {
    let mut target = file.to_owned();
    for _ in 0..LINKS_MAX {
        match target.read_link() {
            Ok(next) => target = directory_of(&target).join(next),
            Err(_) => break,
        }
    }
    target.canonicalize().unwrap_or(target)
}

/// The TCP port of `url`.
fn port_of(url: &str) -> Option<u16> {
    Url::parse(url).ok()?.port_or_known_default()
}

#[cfg(test)]
mod tests;
