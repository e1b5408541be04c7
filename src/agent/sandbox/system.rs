//! What a program on this host needs before it can look up a name, check a certificate, or tell how
//! it is.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// DNS over TCP: answers that are too long for a datagram.
pub(super) const DNS_PORT: u16 = 53;

/// Directories and files that are read.
const PATHS: [&str; 14] = [
    // resolv.conf, hosts, nsswitch.conf, users and groups, ssl: replaced when they change, so that
    // no rule for one of them would last.
    "/etc",
    // glibc loads what looks up names when it is first asked.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    // Where the links in /etc/ssl/certs and /etc/pki lead to.
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
    // Metrics of the process.
    "/proc/self",
    "/proc/stat",
    // How many cores there are for it.
    "/sys/fs/cgroup",
    // SQLite's seed.
    "/dev/urandom",
    // What a backtrace reads.
    "/proc/self/exe",
];

/// Files of which the targets are elsewhere on some systems; those are replaced as well.
const FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Directories of authorities, where `rustls-native-certs` looks unless the environment names others.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Names a file of authorities.
const AUTHORITIES_FILE: &str = "SSL_CERT_FILE";

/// Names directories of authorities, with colons between them.
const AUTHORITIES_DIRECTORIES: &str = "SSL_CERT_DIR";

/// As `reqwest` reads them.
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Every directory that is read, with those of authorities that `environment` names.
pub(super) fn paths(environment: &HashMap<String, String>) -> Vec<PathBuf> {
    PATHS.into_iter().map(PathBuf::from).chain(named_directories(environment)).collect()
}

/// Every file that may be a link to elsewhere: a name service's, and authorities'.
pub(super) fn files(environment: &HashMap<String, String>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = FILES.into_iter().map(PathBuf::from).collect();
    files.extend(environment.get(AUTHORITIES_FILE).map(PathBuf::from));
    let directories = AUTHORITIES.into_iter().map(PathBuf::from);
    for directory in directories.chain(named_directories(environment)) {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()).filter(|path| leads_elsewhere(path)));
    }
    files
}

fn named_directories(environment: &HashMap<String, String>) -> impl Iterator<Item = PathBuf> {
    let list = environment.get(AUTHORITIES_DIRECTORIES).map_or("", String::as_str);
    list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Whether `path` is a link to another directory than its own and those that are read anyway: most
/// authorities are not, and there are hundreds of them.
fn leads_elsewhere(path: &Path) -> bool {
    path.read_link().is_ok_and(|target| {
        target.components().count() > 1 && !PATHS.iter().any(|known| target.starts_with(known))
    })
}

/// The URLs of the proxies that `environment` names.
pub(super) fn proxies(environment: &HashMap<String, String>) -> Vec<String> {
    let set = PROXIES.iter().filter_map(|name| environment.get(*name));
    let set = set.filter(|proxy| !proxy.is_empty());
    let url = |proxy: &String| {
        if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") }
    };
    set.map(url).collect()
}
