//! Sockets that are open before the source is that listens on them, so that no client is ever refused:
//! those that the service manager has opened, which stay while the agent is started anew, and those
//! of sources that a reload replaces.
//!
//! The first come as file descriptors with names (`FileDescriptorName=` of a socket unit). Each is taken
//! once, by the source that names it; that it is of the right kind is checked. From then on it is one
//! of the second kind: a descriptor of each socket is kept here, by its place, until nobody means it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;

use listenfd::ListenFd;

use super::Owned;

/// The sockets that nobody has taken yet.
#[derive(Default)]
pub struct Inherited {
    sockets: Option<ListenFd>,
    /// By the number of the socket; none: it was taken.
    names: Vec<Option<String>>,
    kept: Vec<Kept>,
}

/// A socket that a source listens on.
struct Kept {
    place: String,
    socket: OwnedFd,
    /// Its file, where it is ours.
    owned: Option<Arc<Owned>>,
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
        Self { sockets: Some(sockets), names, kept: Vec::new() }
    }

    /// The names of those that nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }

    /// Another descriptor of the socket at `place`, which has to be of the type `T`; none: nobody
    /// listens there.
    pub(in crate::source) fn kept<T: From<OwnedFd>>(
        &self,
        place: &str,
    ) -> io::Result<Option<(T, Option<Arc<Owned>>)>> {
        let Some(kept) = self.kept.iter().find(|kept| kept.place == place) else {
            return Ok(None);
        };
        Ok(Some((T::from(kept.socket.try_clone()?), kept.owned.clone())))
    }

    /// Keeps a descriptor of `socket`, which is at `place`.
    pub(in crate::source) fn keep(
        &mut self,
        place: String,
        socket: &impl AsFd,
        owned: Option<Arc<Owned>>,
    ) -> io::Result<()> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        self.kept.push(Kept { place, socket, owned });
        Ok(())
    }

    /// Lets go of sockets at places that are not meant any more.
    pub fn retain(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.kept.retain(|kept| is_meant(&kept.place));
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
