//! Takes newline-delimited events over TCP.

use std::net::SocketAddr;
use std::time::Duration;

/// The settings of a TCP source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Connections at one time; further ones are closed at once.
    pub connections_max: usize,
    /// A connection that sends nothing for so long is closed.
    pub idle_timeout: Duration,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
}
