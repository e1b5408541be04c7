//! Connections of every kind as one: read what is there, write what fits, never wait for either.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::tls::Tls;
use super::{Listener, Owned, Peer};
use crate::chunk::Buffer;
use crate::source::stream::bytes_waiting;

/// The payload of the largest record of TLS.
const RECORD_BYTES: usize = 16 << 10;

/// What rustls keeps of decrypted bytes, at most.
const DECRYPTED_BYTES_MAX: u64 = 64 << 10;

/// How long the end of a TLS connection may take to be said.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A listener on the runtime.
pub(in crate::source) enum Doors {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: Arc<str>, _owned: Option<Arc<Owned>> },
}

impl Doors {
    pub(super) fn open(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix { listener, path, owned } => {
                let listener = UnixListener::from_std(listener)?;
                Self::Unix { listener, path: path.into(), _owned: owned }
            }
        })
    }

    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Socket::Tcp(stream), Peer::at(address)))
            }
            Self::Unix { listener, path, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer { label: Arc::clone(path), address: None }))
            }
        }
    }
}

impl Peer {
    fn at(address: SocketAddr) -> Self {
        Self { label: address.to_string().into(), address: Some(address.ip().to_canonical()) }
    }
}

/// A connection.
#[derive(Debug)]
pub(in crate::source) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Over TLS, when there is some; none: the handshake failed.
    pub(super) async fn secured(self, tls: Option<Arc<Tls>>) -> Option<Self> {
        match (self, tls) {
            (Self::Tcp(stream), Some(tls)) => {
                Some(Self::Tls(Box::new(tls.accept(stream).await.ok()?)))
            }
            (socket, _) => Some(socket),
        }
    }

    /// Waits until there may be something to read, or an end.
    pub(in crate::source) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            // What was decrypted already makes nothing happen on the wire.
            Self::Tls(stream) if has_plaintext(stream) => Ok(()),
            Self::Tls(stream) => stream.get_ref().0.readable().await,
        }
    }

    /// Waits until there may be room to write.
    pub(in crate::source) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
            Self::Tls(stream) => stream.get_ref().0.writable().await,
        }
    }

    /// One read of what has come; `WouldBlock` when that is nothing.
    pub(in crate::source) fn receive(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || receive(&*stream, buffer)),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || receive(&*stream, buffer)),
            Self::Tls(stream) => decrypt(stream, buffer),
        }
    }

    /// [`Socket::receive`] that asks the kernel itself: what the runtime remembers of a socket may
    /// be behind.
    pub(in crate::source) async fn receive_waiting(
        &mut self,
        buffer: &mut Buffer,
    ) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => receive(&*stream, buffer),
            Self::Unix(stream) => receive(&*stream, buffer),
            Self::Tls(stream) => {
                let wire = stream.get_ref().0;
                if !has_plaintext(stream) && bytes_waiting(wire) > 0 {
                    // The kernel has some, so this is soon.
                    wire.readable().await?;
                }
                decrypt(stream, buffer)
            }
        }
    }

    /// Writes what fits now.
    pub(in crate::source) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                let written = Pin::new(&mut *stream).poll_write(&mut context, bytes);
                // What is not out yet is seen by `has_unsent`.
                let _ = Pin::new(&mut *stream).poll_flush(&mut context);
                or_would_block(written)
            }
        }
    }

    /// Whether some of what was sent waits for room on the wire.
    pub(in crate::source) fn has_unsent(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    /// How many bytes lie in the socket's buffer now, where the kernel tells; with TLS at least as
    /// many as can come of them.
    pub(in crate::source) fn bytes_waiting(&self) -> u64 {
        match self {
            Self::Tcp(stream) => bytes_waiting(stream),
            Self::Unix(stream) => bytes_waiting(stream),
            Self::Tls(stream) => {
                bytes_waiting(stream.get_ref().0).saturating_add(DECRYPTED_BYTES_MAX)
            }
        }
    }

    /// Tells the peer that nothing more comes, so that it can tell the end from a cut.
    pub(in crate::source) async fn close(&mut self) {
        if let Self::Tls(stream) = self {
            // Who does not take it is gone.
            let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Whether there is something to read, or an end, that nothing on the wire would tell of.
fn has_plaintext(stream: &TlsStream<TcpStream>) -> bool {
    !stream.get_ref().1.wants_read()
}

/// One read of what has come and was decrypted.
fn decrypt(stream: &mut TlsStream<TcpStream>, buffer: &mut Buffer) -> io::Result<usize> {
    let mut record = [0; RECORD_BYTES];
    let mut piece = ReadBuf::new(&mut record);
    let mut context = Context::from_waker(Waker::noop());
    or_would_block(Pin::new(stream).poll_read(&mut context, &mut piece))?;
    buffer.extend_from_slice(piece.filled());
    Ok(piece.filled().len())
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn receive(socket: impl AsFd, buffer: &mut Buffer) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::read(&socket, spare_capacity(buffer)))?)
}
