//! Parts of the answer to a call that still runs: from its component to the connection of its gateway.
//!
//! What a call may send ahead of what its client has been sent is bounded. Beyond it, the call waits, and no other one
//! does. When the client leaves, the next part fails.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::rpc::PARTS_AHEAD_BYTES_MAX;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The longest content of one part, in bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// The longest name of a place for parts, in bytes.
const PLACE_BYTES_MAX: usize = 255;

/// A part of an answer, as pages get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The name of the element that shows it: `diff:stream="name"`.
    pub(crate) to: String,
    /// The text.
    pub(crate) content: String,
    /// The text takes the place of what the element shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replace: bool,
}

/// Why a part is not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum PartError {
    /// Nobody waits for the answer any more.
    #[error("the client has left")]
    ClientLeft,
    /// The part is too long, or names no place.
    #[error("{0}")]
    Invalid(String),
}

/// A part on its way to the connection of its call's gateway: the id of the call, and the JSON.
pub(crate) type SentPart = (u64, Vec<u8>);

/// Where the parts of one call's answer go. By default they go nowhere: the client, or the gateway, takes none.
#[derive(Debug, Clone, Default)]
pub struct Parts(Option<Arc<Stream>>);

#[derive(Debug)]
struct Stream {
    call: u64,
    sink: mpsc::UnboundedSender<SentPart>,
    /// Bytes that were sent, and not yet to the client. They bound what is in the sink.
    ahead: AtomicUsize,
    /// Told when there is room again.
    room: Notify,
    /// The client has left.
    left: CancellationToken,
    has_sent: AtomicBool,
    /// The time for what follows a part.
    budget: Duration,
    /// The time at which the call ends however many parts it sends.
    until: Instant,
    deadline: Mutex<Instant>,
}

impl Parts {
    /// The parts of the call with this id. Each gives the call its budget anew, for as long as `total` in all.
    pub(crate) fn new(call: u64, sink: mpsc::UnboundedSender<SentPart>, budget: Duration, total: Duration) -> Self {
        let now = Instant::now();
        Self(Some(Arc::new(Stream {
            call,
            sink,
            ahead: AtomicUsize::new(0),
            room: Notify::new(),
            left: CancellationToken::new(),
            has_sent: AtomicBool::new(false),
            budget,
            until: now + total,
            deadline: Mutex::new(now + budget),
        })))
    }

    /// Whether anybody takes parts.
    pub(crate) fn are_taken(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a part. Waits while too much is ahead of what the client has been sent.
    pub(crate) async fn send(&self, part: &Part) -> Result<(), PartError> {
        if let Some(stream) = &self.0 {
            while stream.ahead.load(Ordering::Relaxed) >= PARTS_AHEAD_BYTES_MAX as usize {
                let waited = stream.left.run_until_cancelled(stream.room.notified()).await;
                waited.ok_or(PartError::ClientLeft)?;
            }
        }
        self.send_at_once(part)
    }

    /// The same without waiting: for what a call has sent that has already ended, which is no more than a socket holds.
    pub(crate) fn send_at_once(&self, part: &Part) -> Result<(), PartError> {
        check(part)?;
        let Some(stream) = &self.0 else { return Ok(()) };
        let json = serde_json::to_vec(part).map_err(|error| PartError::Invalid(error.to_string()))?;
        if stream.left.is_cancelled() {
            return Err(PartError::ClientLeft);
        }
        stream.has_sent.store(true, Ordering::Relaxed);
        stream.ahead.fetch_add(json.len(), Ordering::Relaxed);
        let more = (Instant::now() + stream.budget).min(stream.until);
        let mut deadline = stream.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *deadline = more.max(*deadline);
        stream.sink.send((stream.call, json)).map_err(|_closed| PartError::ClientLeft)
    }

    /// Notes that so many bytes have been sent to the client.
    pub(crate) fn sent(&self, bytes: u32) {
        let Some(stream) = &self.0 else { return };
        let less = |ahead: usize| Some(ahead.saturating_sub(bytes as usize));
        // The closure never refuses.
        let _ = stream.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        stream.room.notify_one();
    }

    /// Notes that the client has left.
    pub(crate) fn cancel(&self) {
        if let Some(stream) = &self.0 {
            stream.left.cancel();
        }
    }

    /// Whether the client has left.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|stream| stream.left.is_cancelled())
    }

    /// Waits until the client has left in the middle of an answer. A call that has sent no part goes on without its
    /// client, because it may be changing something.
    pub(crate) async fn left_midway(&self) {
        match &self.0 {
            Some(stream) => {
                stream.left.cancelled().await;
                if !stream.has_sent.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Does some work within the time of a call, which ends at this deadline at first. `None`: the time is over.
    pub(crate) async fn within<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let Some(stream) = &self.0 else { return tokio::time::timeout_at(deadline.into(), work).await.ok() };
        let mut work = std::pin::pin!(work);
        loop {
            let known = self.deadline(deadline);
            if let Ok(done) = tokio::time::timeout_at(known.into(), &mut work).await {
                return Some(done);
            }
            if known >= *stream.deadline.lock().unwrap_or_else(PoisonError::into_inner) {
                return None;
            }
        }
    }

    /// The deadline of a call that had this one at first.
    pub(crate) fn deadline(&self, first: Instant) -> Instant {
        let Some(stream) = &self.0 else { return first };
        let deadline = *stream.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.has_sent.load(Ordering::Relaxed) { deadline.max(first) } else { first }
    }
}

fn check(part: &Part) -> Result<(), PartError> {
    if part.content.len() > CONTENT_BYTES_MAX {
        return Err(PartError::Invalid(format!(
            "a part of an answer may have {CONTENT_BYTES_MAX} bytes, and this one has {}",
            part.content.len()
        )));
    }
    if part.to.is_empty() || part.to.len() > PLACE_BYTES_MAX {
        return Err(PartError::Invalid(format!("the name of a place for parts has 1 to {PLACE_BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn part(content: &str) -> Part {
        Part { to: "answer".to_owned(), content: content.to_owned(), replace: false }
    }

    fn parts() -> (Parts, mpsc::UnboundedReceiver<SentPart>) {
        let (sink, received) = mpsc::unbounded_channel();
        (Parts::new(7, sink, Duration::from_secs(10), Duration::from_secs(25)), received)
    }

    /// Sends until there is no room, at most so often; the number of parts.
    fn fill(parts: &Parts) -> usize {
        let part = part(&"x".repeat(1000));
        (0..1000).take_while(|_| parts.send(&part).now_or_never().is_some_and(|sent| sent.is_ok())).count()
    }

    #[tokio::test]
    async fn a_call_waits_while_its_client_does_not_read() {
        let (parts, mut received) = parts();
        let count = fill(&parts);
        assert!((60..70).contains(&count), "{count}");
        parts.sent(5_000);
        assert!((4..7).contains(&fill(&parts)));
        parts.send_at_once(&part("of a call that has ended")).unwrap();
        let waits = part("last");
        let waiting = parts.send(&waits);
        parts.cancel();
        assert_eq!(waiting.await, Err(PartError::ClientLeft));
        assert_eq!(received.recv().await.unwrap().0, 7);
        assert_eq!(fill(&Parts::default()), 1000, "where nobody takes parts, none waits");
    }

    #[tokio::test]
    async fn each_part_gives_the_call_more_time_and_not_without_end() {
        let (sink, _received) = mpsc::unbounded_channel();
        let [hour, minute] = [60, 1].map(Duration::from_mins);
        let long = |total| Parts::new(7, sink.clone(), minute, total);
        let began = Instant::now();
        for (total, end) in [(hour, minute), (minute / 2, minute)] {
            let parts = long(total);
            assert_eq!(parts.deadline(began), began, "before the first part");
            parts.send(&part("x")).await.unwrap();
            assert!(parts.deadline(began) >= began + end, "what it had is never less");
        }
        let parts = Parts::new(7, sink.clone(), Duration::ZERO, Duration::ZERO);
        let endless = async {
            loop {
                parts.send(&part("")).await.unwrap();
                parts.sent(u32::MAX);
                tokio::task::yield_now().await;
            }
        };
        assert!(parts.within(began, endless).await.is_none_or(|()| false), "the time is over");
    }

    #[tokio::test]
    async fn a_part_names_its_place_and_is_no_longer_than_it_may_be() {
        let (parts, mut received) = parts();
        parts.send(&Part { replace: true, ..part("\"<b>") }).await.unwrap();
        let json = received.recv().await.unwrap().1;
        assert_eq!(json, br#"{"to":"answer","content":"\"<b>","replace":true}"#);
        for wrong in [part(&"x".repeat(CONTENT_BYTES_MAX + 1)), Part { to: String::new(), ..part("x") }] {
            assert!(matches!(parts.send(&wrong).await, Err(PartError::Invalid(_))));
        }
    }

    #[tokio::test]
    async fn only_a_call_that_has_sent_a_part_ends_with_its_client() {
        let (parts, _received) = parts();
        parts.cancel();
        assert!(parts.left_midway().now_or_never().is_none());
        let (parts, _received) = self::parts();
        parts.send(&part("x")).await.unwrap();
        assert!(parts.left_midway().now_or_never().is_none());
        parts.cancel();
        assert!(parts.left_midway().now_or_never().is_some());
    }
}
