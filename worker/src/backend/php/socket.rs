//! The worker's end of a process's socket, which moves between the threads of calls.

use std::io;
use std::thread::ThreadId;

use tokio::net::UnixStream;

use super::frame::{self, Frame, FrameHead};

/// A socket registered with the runtime of the thread that used it last.
pub(super) struct Socket {
    stream: Option<UnixStream>,
    /// The socket once no runtime waits for it.
    detached: Option<std::os::unix::net::UnixStream>,
    reader: frame::Reader,
    thread: ThreadId,
}

impl Socket {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: Some(stream),
            detached: None,
            reader: frame::Reader::default(),
            thread: std::thread::current().id(),
        }
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

    /// The next frame of what has arrived; an error when there is none. The process has ended, so nothing more comes.
    pub(super) fn next_now<T: FrameHead>(&mut self) -> io::Result<Frame<T>> {
        if let Some(stream) = self.stream.take() {
            self.detached = Some(stream.into_std()?);
        }
        let stream = self.detached.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        self.reader.next_now(stream)
    }
}
