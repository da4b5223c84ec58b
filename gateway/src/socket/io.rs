//! The stream under a WebSocket. One task reads; every task that has something to write writes at once.
//!
//! It is read by [`AsyncRead`], which knows that a short read has emptied the socket. `try_read` needs one more system call
//! per message to find that out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The stream of one connection.
#[derive(Debug)]
pub struct SocketIo(RefCell<Stream>);

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for SocketIo {
    fn from(stream: TcpStream) -> Self {
        Self(RefCell::new(Stream::Tcp(stream)))
    }
}

impl From<UnixStream> for SocketIo {
    fn from(stream: UnixStream) -> Self {
        Self(RefCell::new(Stream::Unix(stream)))
    }
}

impl SocketIo {
    /// Reads the available bytes into the buffer. Returns their number, 0 at the end of the stream.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = match &mut *self.0.borrow_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Waits until the socket may be writable.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| match &*self.0.borrow() {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
        })
        .await
    }

    /// Writes as much as the socket accepts without waiting.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&*self.0.borrow(), parts) {
            (Stream::Tcp(stream), [single]) => stream.try_write(single),
            (Stream::Tcp(stream), parts) => stream.try_write_vectored(parts),
            (Stream::Unix(stream), [single]) => stream.try_write(single),
            (Stream::Unix(stream), parts) => stream.try_write_vectored(parts),
        }
    }

    /// Ends the stream when the peer's system confirms nothing for this long. A Unix socket has no such peer.
    pub fn limit_silence_of_peer(&self, limit: Duration) {
        if let Stream::Tcp(stream) = &*self.0.borrow() {
            // Without it, the end is only seen later.
            let _ = SockRef::from(stream).set_tcp_user_timeout(Some(limit));
        }
    }

    /// Ends one or both directions; the reading task then sees the end of the stream. An error means that the stream
    /// has already ended.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match &*self.0.borrow() {
            Stream::Tcp(stream) => SockRef::from(stream).shutdown(how),
            Stream::Unix(stream) => SockRef::from(stream).shutdown(how),
        };
    }
}
