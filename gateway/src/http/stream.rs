//! The stream under an HTTP connection. It ends if the client does not read the response, it releases what a response
//! holds once that has been written, and it closes so that a client that is still sending gets the response.

use std::any::Any;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a closing connection reads what its client still sends. Without that, the system answers those bytes with a
/// reset, and the client loses the response that says why its request was refused.
const LINGER_MAX: Duration = Duration::from_secs(10);
/// A client that sends nothing for this long after the end has nothing more to send.
const LINGER_IDLE: Duration = Duration::from_secs(2);
/// Bytes that are thrown away at once.
const LINGER_BYTES: usize = 8 * 1024;

/// Resources of responses that have not been written yet, such as request slots.
#[derive(Clone, Default)]
pub(super) struct UnflushedResponses(Arc<Mutex<Vec<Arc<dyn Any + Send + Sync>>>>);

impl UnflushedResponses {
    /// Keeps a resource until everything written so far has left.
    pub(super) fn keep(&self, held: Arc<dyn Any + Send + Sync>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    }

    fn written(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether the last request of a connection has a body, of which the client may still be sending a part.
#[derive(Clone, Default)]
pub(super) struct BodyFlag(Arc<AtomicBool>);

impl BodyFlag {
    /// Notes whether the request that has just arrived has a body.
    pub(super) fn set(&self, has_body: bool) {
        self.0.store(has_body, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The end of a connection whose client may still be sending.
struct Linger {
    until: Instant,
    idle: Pin<Box<Sleep>>,
}

impl Linger {
    fn new() -> Self {
        let now = Instant::now();
        Self { until: now + LINGER_MAX, idle: Box::pin(tokio::time::sleep_until(now + LINGER_IDLE)) }
    }

    /// Reads and throws away what the client sends, until it ends its side or the time is over.
    fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        let mut thrown_away = [0; LINGER_BYTES];
        let mut has_read = false;
        // Each read counts towards the task's share of the thread, so that the loop ends.
        while Instant::now() < self.until {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => has_read = true,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    if has_read {
                        self.idle.as_mut().reset(self.until.min(Instant::now() + LINGER_IDLE));
                    }
                    return self.idle.as_mut().poll(cx);
                }
            }
        }
        Poll::Ready(())
    }
}

/// A stream whose writes have a time limit.
pub(super) struct HttpStream<S> {
    stream: S,
    write_timeout: Duration,
    /// The time at which a blocked write fails.
    deadline: Option<Pin<Box<Sleep>>>,
    unflushed: UnflushedResponses,
    body: BodyFlag,
    linger: Option<Linger>,
}

impl<S> HttpStream<S> {
    pub(super) fn new(stream: S, write_timeout: Duration, unflushed: UnflushedResponses, body: BodyFlag) -> Self {
        Self { stream, write_timeout, deadline: None, unflushed, body, linger: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Gives a blocked write a deadline, from its beginning on.
    fn limited<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let limit = self.write_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HttpStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.limited(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if polled.is_ready() {
            self.unflushed.written();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.body.is_set() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::new).poll(&mut this.stream, cx).map(Ok)
    }
}
