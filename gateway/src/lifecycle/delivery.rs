//! Delivers events: one batch after the other, so that they arrive in order, each again until it was taken.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::backoff::Backoff;
use diffyne_shared::telemetry::{self, LogThrottle};

use super::queue::{EventQueue, QueuedEvent};
use super::rooms::Rooms;
use crate::metrics::Metrics;

/// Events of a batch.
const BATCH_EVENTS_MAX: usize = 500;
/// How long events are collected for a batch.
const COLLECT: Duration = Duration::from_millis(100);
/// The first pause after a failure.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest pause that a receiver may ask for.
const AFTER_MAX: Duration = Duration::from_mins(5);
/// Between two attempts of a gateway that stops.
const STOP_PAUSE: Duration = Duration::from_millis(200);

/// Why a batch was not taken.
#[derive(Debug)]
pub struct DeliveryError {
    /// In words.
    pub reason: String,
    /// When the receiver wants to be asked again.
    pub after: Option<Duration>,
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for DeliveryError {
    fn from(error: E) -> Self {
        Self { reason: error.into().to_string(), after: None }
    }
}

/// A delivery under way.
pub type DeliveryFuture<'a> = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'a>>;

/// Whoever takes events.
pub trait Receiver: Send + Sync {
    /// Hands over a batch. Returns within a limit of its own.
    fn deliver(&self, body: Bytes) -> DeliveryFuture<'_>;
    /// A name for people.
    fn name(&self) -> String;
}

/// The task that delivers.
pub struct DeliveryTask {
    /// The events.
    pub queue: Arc<EventQueue>,
    /// Who gets them.
    pub receiver: Box<dyn Receiver>,
    /// Where the delivery of news about rooms is noted, if there are any.
    pub rooms: Option<Arc<Rooms>>,
    /// The longest batch, in bytes.
    pub batch_bytes_max: usize,
    /// How long a batch is tried.
    pub retry: Duration,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

impl DeliveryTask {
    /// Delivers until the queue is closed and empty.
    pub async fn run(self) {
        let failures = LogThrottle::default();
        while self.queue.wait().await {
            if !self.queue.is_closed() {
                tokio::time::sleep(COLLECT).await;
            }
            let batch = self.queue.take(BATCH_EVENTS_MAX, self.batch_bytes_max);
            let result = if self.deliver(body(&batch), &failures).await { "delivered" } else { "abandoned" };
            self.metrics.lifecycle_events.with_label_values(&[result]).inc_by(batch.len() as u64);
            if let Some(rooms) = &self.rooms {
                batch.into_iter().filter_map(|event| event.room).for_each(|room| rooms.told(room));
            }
        }
    }

    /// Delivers a batch. Returns whether it was taken in the end.
    async fn deliver(&self, body: Bytes, failures: &LogThrottle) -> bool {
        let (began, mut backoff) = (Instant::now(), Backoff::new(PAUSE_FIRST, PAUSE_MAX));
        loop {
            let Err(error) = self.receiver.deliver(body.clone()).await else {
                self.metrics.lifecycle_requests.with_label_values(&["taken"]).inc();
                return true;
            };
            self.metrics.lifecycle_requests.with_label_values(&["failed"]).inc();
            let (receiver, waiting) = (self.receiver.name(), self.queue.len());
            let reason = telemetry::error(&error.reason);
            if began.elapsed() >= self.retry {
                tracing::error!(%receiver, %reason, waiting, "events of connections are given up: they were tried for DIFFYNE_WEBHOOK_RETRY");
                return false;
            }
            if let Some(unsaid) = failures.allow() {
                tracing::warn!(%receiver, %reason, waiting, unsaid, "events of connections were not taken; they are sent again");
            }
            self.pause(backoff.wait().max(error.after.unwrap_or_default().min(AFTER_MAX))).await;
        }
    }

    /// Pauses, unless the gateway stops: then there is little time left.
    async fn pause(&self, time: Duration) {
        if self.queue.is_closed() {
            return tokio::time::sleep(STOP_PAUSE).await;
        }
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.queue.closed() => {}
        }
    }
}

fn body(batch: &[QueuedEvent]) -> Bytes {
    let bytes: usize = batch.iter().map(|event| event.json.len() + 1).sum();
    let mut body = String::with_capacity(bytes + 16);
    body.push_str(r#"{"events":["#);
    for (index, event) in batch.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&event.json);
    }
    body.push_str("]}");
    body.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::lifecycle::event::EventFields;
    use crate::metrics::RedisUse;
    use diffyne_shared::bus::{Bus, GatewayIdentity};
    use diffyne_shared::settings::lifecycle::{LifecycleKind, LifecycleKinds};

    /// Refuses so many batches, and keeps what it is handed.
    struct Refusing {
        refusals: usize,
        handed: Arc<Mutex<Vec<Bytes>>>,
    }

    impl Receiver for Refusing {
        fn deliver(&self, body: Bytes) -> DeliveryFuture<'_> {
            let mut handed = self.handed.lock().unwrap();
            handed.push(body);
            let result = if handed.len() <= self.refusals { Err("not now".into()) } else { Ok(()) };
            Box::pin(std::future::ready(result))
        }

        fn name(&self) -> String {
            "a test".to_owned()
        }
    }

    /// Delivers an event of a room and one of a connection, each in a batch of its own. Returns what the receiver was handed,
    /// and how many events were delivered and abandoned.
    async fn run(refusals: usize, retry: Duration) -> (Vec<Bytes>, [u64; 2], usize) {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        let metrics = Metrics::new(bus.counters(), RedisUse::No);
        let queue = Arc::new(EventQueue::new("g.1", LifecycleKinds::ALL, 10_000, Arc::clone(&metrics)));
        let rooms = Arc::new(Rooms::new(&[], Duration::ZERO, Arc::clone(&metrics)));
        let handed = Arc::default();
        assert!(queue.push_room(LifecycleKind::Occupied, &EventFields::default(), ("room".into(), 7)));
        queue.push(LifecycleKind::Connected, &EventFields::default());
        queue.close();
        let task = DeliveryTask {
            queue,
            receiver: Box::new(Refusing { refusals, handed: Arc::clone(&handed) }),
            rooms: Some(Arc::clone(&rooms)),
            batch_bytes_max: 1,
            retry,
            metrics: Arc::clone(&metrics),
        };
        task.run().await;
        let count = |result| metrics.lifecycle_events.with_label_values(&[result]).get();
        let handed = handed.lock().unwrap().clone();
        (handed, ["delivered", "abandoned"].map(count), rooms.take_changes(false).told.len())
    }

    #[tokio::test]
    async fn a_refused_batch_comes_again_before_the_next_and_not_for_ever() {
        let (handed, counts, told) = run(1, Duration::from_mins(1)).await;
        assert_eq!((handed.len(), counts, told), (3, [2, 0], 1));
        assert!(handed[0] == handed[1] && handed[1] != handed[2]);
        let text = String::from_utf8(handed[0].to_vec()).unwrap();
        assert!(
            text.starts_with(r#"{"events":[{"id":"g.1-1","name":"occupied","at":"#) && text.ends_with("}]}"),
            "{text}"
        );
        let (handed, counts, told) = run(1, Duration::ZERO).await;
        assert_eq!((handed.len(), counts, told), (2, [1, 1], 1), "what is given up keeps nothing from being told");
    }
}
