//! Listening and connecting on TCP, on Unix sockets and, for the `dev` command, within the process.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::rpc::Endpoint;

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: i32 = 4096;
/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix, and the file to remove at the end unless the socket was inherited.
    Unix(UnixListener, Option<PathBuf>),
}

/// An accepted connection that belongs to no runtime yet.
#[derive(Debug)]
pub enum AcceptedStream {
    /// TCP, with the peer.
    Tcp(StdTcpStream, SocketAddr),
    /// Unix.
    Unix(StdUnixStream),
}

impl Listener {
    /// Binds; must run within a tokio runtime.
    pub fn bind(address: &Endpoint) -> io::Result<Self> {
        match address {
            Endpoint::Tcp { host, port } => Self::from_tcp(bind_tcp(host, *port)?),
            Endpoint::Unix(path) => {
                remove_stale(path)?;
                Self::from_unix(StdUnixListener::bind(path)?, Some(path.clone()))
            }
            Endpoint::InProcess => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes a TCP listener that another process bound (systemd).
    pub fn from_tcp(listener: StdTcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // Accepted connections inherit it.
        socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// Takes a Unix listener; its file is removed at the end if `owned` names it.
    pub fn from_unix(listener: StdUnixListener, owned: Option<PathBuf>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(listener)?, owned))
    }

    /// The address it listens on, with the port that the system chose.
    pub fn address(&self) -> io::Result<Endpoint> {
        Ok(match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr()?;
                Endpoint::tcp(address.ip().to_string(), address.port())
            }
            Self::Unix(listener, _) => {
                let address = listener.local_addr()?;
                Endpoint::Unix(address.as_pathname().unwrap_or(Path::new("unnamed")).to_owned())
            }
        })
    }

    /// Accepts the next connection. When the process has no file descriptor left, it waits a moment and tries again.
    pub async fn accept(&self) -> io::Result<AcceptedStream> {
        loop {
            match self.accept_once().await {
                Err(error) if !is_broken(&error) => {
                    tracing::warn!(%error, "cannot accept a connection, waiting a moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                accepted => return accepted,
            }
        }
    }

    /// Accepts the next connection. Fails when the system has no descriptor or memory for one, too, see
    /// [`lacks_descriptors`] and [`is_broken`].
    pub async fn accept_once(&self) -> io::Result<AcceptedStream> {
        loop {
            match self.accept_next().await {
                Err(error) if is_transient(&error) => {}
                accepted => return accepted,
            }
        }
    }

    async fn accept_next(&self) -> io::Result<AcceptedStream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(AcceptedStream::Tcp(stream.into_std()?, peer))
            }
            Self::Unix(listener, _) => Ok(AcceptedStream::Unix(listener.accept().await?.0.into_std()?)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(path)) = self {
            // Already gone is fine.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether an error of [`Listener::accept_once`] means that the process or the system has no descriptor left.
pub fn lacks_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Whether an error of [`Listener::accept_once`] means that the socket accepts nothing any more.
pub fn is_broken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Errors of one connection, not of the listener.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn bind_tcp(host: &str, port: u16) -> io::Result<StdTcpListener> {
    use std::net::ToSocketAddrs as _;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address"));
    for address in (host, port).to_socket_addrs()? {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // A restart must not wait for old connections; a second server on the port is still refused.
        socket.set_reuse_address(true)?;
        match socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG)) {
            Ok(()) => return Ok(socket.into()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Removes the socket file of a process that has ended. A running one keeps it, and the bind fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && StdUnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

impl AcceptedStream {
    /// The number of its descriptor. The system gives out the lowest that is free, so a process has at least as many
    /// open as this says.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(stream, _) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Joins the runtime of the calling task.
    pub fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream, _) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// A connection of any kind.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    /// Within the process.
    Memory(DuplexStream),
}

impl Stream {
    /// Connects to a TCP or Unix address.
    pub async fn connect(address: &Endpoint) -> io::Result<Self> {
        match address {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Endpoint::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            Endpoint::InProcess => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Memory($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write(cx, data))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
