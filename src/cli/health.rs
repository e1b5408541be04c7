//! `meterd health`: asks the daemon how it is, for containers and scripts.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::failure::Failure;
use super::output::print;
use crate::admin;
use crate::config::{self, LoadFor};
use crate::units::Period;

/// The answer is short; more is not the daemon.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The arguments of `meterd health`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Ask whether it is ready: nothing held, nothing waiting for too long. Without: whether it makes
    /// progress
    #[arg(long)]
    ready: bool,
    /// The configuration file [default: /etc/meterd/meterd.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Wait so long for the answer
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Period,
}

/// Prints the answer; fails with exit code 1 when it is not good, and 69 when there is none.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let environment = config::process_environment();
    let loaded = config::load(LoadFor::Ask, arguments.config.as_deref(), environment)?;
    let admin = loaded.settings.admin;
    let Some(address) = admin.listen else {
        let message = "admin.listen is empty: there is nobody to ask";
        return Err(Failure::new(Failure::CONFIGURATION, message));
    };
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let answer = ask(address, path, &admin, arguments.timeout.duration())
        .map_err(|error| Failure::new(Failure::UNAVAILABLE, format!("ask {address}: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    print(body.trim_end())?;
    if status == "200" { Ok(()) } else { Err(Failure::new(Failure::FOUND, "")) }
}

/// The whole answer to a request for `path`.
fn ask(
    address: SocketAddr,
    path: &str,
    admin: &admin::Settings,
    timeout: Duration,
) -> io::Result<String> {
    let address = reachable(address);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let token = admin
        .token
        .as_ref()
        .map(|token| format!("Authorization: Bearer {}\r\n", token.expose_secret()));
    // Version 1.0: the connection ends with the answer.
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{}\r\n", token.unwrap_or_default());
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where a listener on every address is found.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
