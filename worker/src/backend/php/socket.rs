//! The worker's end of a process's socket, which moves between the threads of calls.

use std::io;
use std::thread::ThreadId;

use tokio::net::UnixStream;

use super::frame;

/// A socket registered with the runtime of the thread that used it last.
pub(super) struct Socket {
    stream: Option<UnixStream>,
    reader: frame::Reader,
    thread: ThreadId,
}

impl Socket {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: Some(stream), reader: frame::Reader::default(), thread: std::thread::current().id() }
    }

    /// Registers the socket with this thread's runtime, if another thread used it last.
    pub(super) fn on_this_thread(&mut self) -> io::Result<(&mut UnixStream, &mut frame::Reader)> {
        let thread = std::thread::current().id();
        if self.thread != thread
            && let Some(stream) = self.stream.take()
        {
            self.stream = Some(UnixStream::from_std(stream.into_std()?)?);
            self.thread = thread;
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok((stream, &mut self.reader))
    }
}
