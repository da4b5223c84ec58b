//! The stream under a WebSocket, in two halves: one task reads, and whoever has something to write does it at once.
//!
//! The reading half is tokio's owned one, because its reads know that a short read has emptied the socket: the plain
//! `try_read` of a stream costs one more system call a message to find that out.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// The half that is read.
#[derive(Debug)]
pub enum IoReader {
    /// TCP.
    Tcp(tcp::OwnedReadHalf),
    /// Unix.
    Unix(unix::OwnedReadHalf),
}

/// The half that is written.
#[derive(Debug)]
pub enum IoWriter {
    /// TCP.
    Tcp(tcp::OwnedWriteHalf),
    /// Unix.
    Unix(unix::OwnedWriteHalf),
}

/// The halves of a TCP connection.
pub fn split_tcp(stream: TcpStream) -> (IoReader, IoWriter) {
    let (read, write) = stream.into_split();
    (IoReader::Tcp(read), IoWriter::Tcp(write))
}

/// The halves of a connection over a Unix socket.
pub fn split_unix(stream: UnixStream) -> (IoReader, IoWriter) {
    let (read, write) = stream.into_split();
    (IoReader::Unix(read), IoWriter::Unix(write))
}

impl IoReader {
    /// Reads what is there into the buffer; the number of bytes, 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = match self {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, &mut buffer),
            Self::Unix(half) => Pin::new(half).poll_read(cx, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }
}

impl IoWriter {
    /// Waits until there may be room to write.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.writable().await,
            Self::Unix(half) => half.writable().await,
        }
    }

    /// Writes what there is room for.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, parts) {
            (Self::Tcp(half), [single]) => half.try_write(single),
            (Self::Tcp(half), parts) => half.try_write_vectored(parts),
            (Self::Unix(half), [single]) => half.try_write(single),
            (Self::Unix(half), parts) => half.try_write_vectored(parts),
        }
    }

    /// Ends one or both directions; the reading half then sees the end of the stream. Errors mean that it is over
    /// already.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(half) => SockRef::from(half.as_ref()).shutdown(how),
            Self::Unix(half) => SockRef::from(half.as_ref()).shutdown(how),
        };
    }
}
