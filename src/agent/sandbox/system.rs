//! What a program on this host needs before it can look up a name, check a certificate, or tell how
//! it is.

use std::collections::HashMap;
use std::path::PathBuf;

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
pub(super) const FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Where `rustls-native-certs` looks first.
const AUTHORITIES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// As `reqwest` reads them.
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Everything that is read, with the authorities that `environment` names.
pub(super) fn paths(environment: &HashMap<String, String>) -> Vec<PathBuf> {
    let named = AUTHORITIES.iter().filter_map(|name| environment.get(*name));
    let named = named.flat_map(|list| list.split(':')).filter(|path| !path.is_empty());
    PATHS.into_iter().chain(named).map(PathBuf::from).collect()
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
