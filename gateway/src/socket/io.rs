//! The stream under a WebSocket, in two halves. One task reads; every task that has something to write writes at once.
//!
//! The reading half is tokio's owned half, because its reads know that a short read has emptied the socket. The plain
//! `try_read` of a stream needs one more system call per message to find that out.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// The reading half.
#[derive(Debug)]
pub enum IoReader {
    /// TCP.
    Tcp(tcp::OwnedReadHalf),
    /// Unix.
    Unix(unix::OwnedReadHalf),
}

/// The writing half.
#[derive(Debug)]
pub enum IoWriter {
    /// TCP.
    Tcp(tcp::OwnedWriteHalf),
    /// Unix.
    Unix(unix::OwnedWriteHalf),
}

/// Splits a TCP connection.
pub fn split_tcp(stream: TcpStream) -> (IoReader, IoWriter) {
    let (read, write) = stream.into_split();
    (IoReader::Tcp(read), IoWriter::Tcp(write))
}

/// Splits a connection over a Unix socket.
pub fn split_unix(stream: UnixStream) -> (IoReader, IoWriter) {
    let (read, write) = stream.into_split();
    (IoReader::Unix(read), IoWriter::Unix(write))
}

impl IoReader {
    /// Reads the available bytes into the buffer. Returns their number, 0 at the end of the stream.
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
    /// Waits until the socket may be writable.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.writable().await,
            Self::Unix(half) => half.writable().await,
        }
    }

    /// Writes as much as the socket accepts without waiting.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, parts) {
            (Self::Tcp(half), [single]) => half.try_write(single),
            (Self::Tcp(half), parts) => half.try_write_vectored(parts),
            (Self::Unix(half), [single]) => half.try_write(single),
            (Self::Unix(half), parts) => half.try_write_vectored(parts),
        }
    }

    /// Ends one or both directions; the reading half then sees the end of the stream. An error means that the stream
    /// has already ended.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(half) => SockRef::from(half.as_ref()).shutdown(how),
            Self::Unix(half) => SockRef::from(half.as_ref()).shutdown(how),
        };
    }
}
