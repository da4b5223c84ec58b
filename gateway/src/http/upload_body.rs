//! The bodies of an upload on their way: the browser's to the application, and the application's back. Neither is held
//! as a whole. Each side is counted, and ends when it is too large or stands still.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use prometheus::IntCounter;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::application_server::ConnectionTask;

/// The body of every response of the public port: ready, or one that comes bit by bit.
pub(super) type HttpBody = Either<Full<Bytes>, Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>>;

/// Why a body does not reach its end.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The body is larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// The sender has gone.
    #[error("the sender has gone")]
    Broken,
    /// The body has stood still, or has taken too long.
    #[error("the body did not arrive in time")]
    Late,
}

/// How far a request's body has come. The request's handler watches it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    bytes: AtomicUsize,
    is_sent: AtomicBool,
    waits_for_client: AtomicBool,
    is_too_large: AtomicBool,
    is_broken: AtomicBool,
    sent: Notify,
}

impl Progress {
    /// Whether the whole body was passed on.
    pub(super) fn is_sent(&self) -> bool {
        self.is_sent.load(Ordering::Relaxed)
    }

    /// Whether the body was larger than allowed.
    pub(super) fn is_too_large(&self) -> bool {
        self.is_too_large.load(Ordering::Relaxed)
    }

    /// Whether the browser ended the request before its body was complete.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Whether the next bytes have to come from the browser. Otherwise, the application does not read.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// Returns once the whole body was passed on.
    pub(super) async fn sent(&self) {
        self.sent.notified().await;
    }

    /// Returns when the body has stood still for this long.
    pub(super) async fn stalled(&self, limit: Duration) {
        let mut seen = 0;
        loop {
            tokio::time::sleep(limit).await;
            let bytes = self.bytes.load(Ordering::Relaxed);
            if self.is_sent() {
                return std::future::pending().await;
            }
            if bytes == seen {
                return;
            }
            seen = bytes;
        }
    }

    fn finish(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
        self.sent.notify_one();
    }
}

/// The body of a browser's request.
pub(super) struct RequestBody {
    /// `None` for requests without a body.
    body: Option<Incoming>,
    bytes_max: usize,
    progress: Arc<Progress>,
    bytes: IntCounter,
}

impl RequestBody {
    /// Lets through at most `bytes_max` bytes of a body, and adds them to a counter.
    pub(super) fn new(body: Option<Incoming>, bytes_max: usize, bytes: IntCounter) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        let body = body.filter(|body| !body.is_end_stream());
        if body.is_none() {
            progress.finish();
        }
        (Self { body, bytes_max, progress: Arc::clone(&progress), bytes }, progress)
    }

    /// Counts a piece of the body.
    fn count(&self, piece: &Bytes) -> Result<(), BodyError> {
        let total = self.progress.bytes.fetch_add(piece.len(), Ordering::Relaxed).saturating_add(piece.len());
        if total > self.bytes_max {
            self.progress.is_too_large.store(true, Ordering::Relaxed);
            return Err(BodyError::TooLarge);
        }
        self.bytes.inc_by(piece.len() as u64);
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        loop {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            this.progress.waits_for_client.store(polled.is_pending(), Ordering::Relaxed);
            let piece = match ready!(polled) {
                // Trailers are not passed on.
                Some(Ok(frame)) => frame.into_data().ok(),
                Some(Err(_)) => {
                    this.progress.is_broken.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(BodyError::Broken)));
                }
                None => {
                    this.progress.finish();
                    return Poll::Ready(None);
                }
            };
            let is_last = body.is_end_stream();
            if let Some(piece) = piece {
                let counted = this.count(&piece);
                if is_last && counted.is_ok() {
                    // Nobody asks once more.
                    this.progress.finish();
                }
                return Poll::Ready(Some(counted.map(|()| Frame::data(piece))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an application's response. It holds the connection and the upload's slot until its end.
pub(super) struct ResponseBody {
    body: Incoming,
    idle_timeout: Duration,
    /// When the body has stood still for too long.
    stalled: Pin<Box<Sleep>>,
    deadline: Instant,
    _connection: ConnectionTask,
    _slot: Arc<dyn Any + Send + Sync>,
}

impl ResponseBody {
    pub(super) fn new(
        body: Incoming,
        idle_timeout: Duration,
        deadline: Instant,
        connection: ConnectionTask,
        slot: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        let stalled = Box::pin(tokio::time::sleep_until(deadline.min(Instant::now() + idle_timeout)));
        Self { body, idle_timeout, stalled, deadline, _connection: connection, _slot: slot }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.stalled.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyError::Late)));
        };
        let now = Instant::now();
        if now >= this.deadline {
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
        this.stalled.as_mut().reset(this.deadline.min(now + this.idle_timeout));
        Poll::Ready(frame.map(|frame| frame.map_err(|_broken| BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
