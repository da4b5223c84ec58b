//! The stream under a WebSocket, read and written without waiting. Shared references suffice, so that whoever has
//! something to write does it at once.

use std::io::{self, IoSlice};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

/// A TCP connection or one over a Unix socket.
#[derive(Debug)]
pub enum Io {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Io::Tcp($stream) => $call,
            Io::Unix($stream) => $call,
        }
    };
}

impl Io {
    /// Waits until there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        either!(self, stream => stream.readable().await)
    }

    /// Waits until there may be room to write.
    pub async fn writable(&self) -> io::Result<()> {
        either!(self, stream => stream.writable().await)
    }

    /// Reads what is there.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_read(buffer))
    }

    /// Writes what there is room for.
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(parts))
    }

    /// Ends one or both directions; the reading task then sees the end of the stream. Errors mean that it is over
    /// already.
    pub fn shutdown(&self, how: std::net::Shutdown) {
        let _ = either!(self, stream => SockRef::from(stream).shutdown(how));
    }
}
