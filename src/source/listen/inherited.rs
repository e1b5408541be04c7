//! Sockets that the service manager has opened: they are there before the agent runs, and stay while
//! it is started anew, so that no client is ever refused.
//!
//! They come as file descriptors with names (`FileDescriptorName=` of a socket unit). Each is taken
//! once, by the source that names it; that it is of the right kind is checked.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};

use listenfd::ListenFd;

/// The sockets that nobody has taken yet.
#[derive(Default)]
pub struct Inherited {
    sockets: Option<ListenFd>,
    /// By the number of the socket; none: it was taken.
    names: Vec<Option<String>>,
}

impl Inherited {
    /// What the environment says. Changes it, so that children do not take the sockets for theirs:
    /// to be called before there is a second thread.
    pub fn from_environment() -> Self {
        // Whoever does not say for which process they are does not know this protocol.
        if std::env::var_os("LISTEN_PID").is_none() {
            return Self::default();
        }
        let sockets = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let names = (0..sockets.len()).map(|_| Some(names.next().unwrap_or_default())).collect();
        Self { sockets: Some(sockets), names }
    }

    /// The names of those that nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }

    /// A listener for TCP.
    pub(in crate::source) fn tcp(&mut self, name: &str) -> io::Result<TcpListener> {
        let listener = self.take(name, ListenFd::take_tcp_listener)?;
        listener.set_nonblocking(true).map(|()| listener)
    }

    /// A listener for connections over a Unix socket.
    pub(in crate::source) fn unix(&mut self, name: &str) -> io::Result<UnixListener> {
        let listener = self.take(name, ListenFd::take_unix_listener)?;
        listener.set_nonblocking(true).map(|()| listener)
    }

    /// A socket for datagrams.
    pub(in crate::source) fn datagrams(&mut self, name: &str) -> io::Result<UnixDatagram> {
        let socket = self.take(name, ListenFd::take_unix_datagram)?;
        socket.set_nonblocking(true).map(|()| socket)
    }

    fn take<T>(
        &mut self,
        name: &str,
        take: impl FnOnce(&mut ListenFd, usize) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let index = self.names.iter().position(|known| known.as_deref() == Some(name));
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no socket of that name");
        let (Some(sockets), Some(index)) = (&mut self.sockets, index) else {
            return Err(missing());
        };
        let taken = take(sockets, index)?.ok_or_else(missing)?;
        if let Some(name) = self.names.get_mut(index) {
            *name = None;
        }
        Ok(taken)
    }
}
