//! One ordered publisher for each gateway: it sends a broadcast when Redis has taken the one before.
//!
//! While Redis is away, the publisher delivers each broadcast to this gateway's own connections at once and keeps it,
//! behind those that Redis took and did not push back.
//! The script answers a second attempt with the offset of the first, so a retry after a time-out publishes nothing
//! twice.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{RedisError, Script};
use tokio::sync::mpsc;

use super::backlog::{Backlog, Placement, QueuedBroadcast};
use super::context::Context;
use crate::backoff::Backoff;
use crate::bus::event::{Broadcast, BusEvent};
use crate::bus::state::random_bits;

/// How long an id is remembered: longer than any retry waits.
const SEEN_LIFE: Duration = Duration::from_mins(15);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);

pub(super) struct Publisher {
    pub(super) context: Context,
    pub(super) events: mpsc::Sender<BusEvent>,
}

/// The queue and the connection.
struct PublisherState {
    backlog: Backlog,
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
}

impl Publisher {
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<QueuedBroadcast>) {
        let mut state = PublisherState {
            backlog: Backlog::new(self.context.settings.queue_max),
            connection: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
        };
        loop {
            let Some(front) = state.backlog.front() else {
                match waiting.recv().await {
                    Some(item) => self.enqueue(item, &mut state.backlog).await,
                    None => return,
                }
                continue;
            };
            let attempt = self.attempt(state.connection.take(), front, state.backlog.has_overflowed());
            tokio::pin!(attempt);
            // While Redis is away nothing waits for the attempt: new broadcasts are delivered locally.
            let result = loop {
                tokio::select! {
                    result = &mut attempt => break result,
                    Some(item) = waiting.recv(), if state.backlog.is_away() => self.enqueue(item, &mut state.backlog).await,
                }
            };
            match result {
                Ok(connection) => {
                    state.connection = Some(connection);
                    self.context.shared.counters.waiting.fetch_sub(1, Relaxed);
                    self.context.shared.counters.published.fetch_add(1, Relaxed);
                    self.came_back(&mut state);
                }
                Err(error) => {
                    self.went_away(&mut state, &error).await;
                    self.pause(&mut state, &mut waiting).await;
                }
            }
        }
    }

    /// Waits before the next attempt, and takes new broadcasts meanwhile.
    async fn pause(&self, state: &mut PublisherState, waiting: &mut mpsc::Receiver<QueuedBroadcast>) {
        let pause = tokio::time::sleep(state.backoff.wait());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                Some(item) = waiting.recv() => self.enqueue(item, &mut state.backlog).await,
            }
        }
    }

    async fn attempt(
        &self,
        connection: Option<MultiplexedConnection>,
        item: Arc<QueuedBroadcast>,
        overflowed: bool,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.context.connector.dedicated().await?,
        };
        if overflowed {
            self.renew_epoch(&mut connection).await?;
        }
        let script =
            Script::new(concat!(include_str!("scripts/assign_offset.lua"), include_str!("scripts/publish.lua")));
        let mut call = script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream()).key(self.context.keys.seen(&item.id));
        call.arg(&item.id)
            .arg(&item.json)
            .arg(self.context.settings.history_length)
            .arg(self.context.settings.history_bytes);
        call.arg(SEEN_LIFE.as_millis() as u64).arg(format!("{:016x}", random_bits())).arg(self.context.keys.events());
        call.invoke_async::<(String, i64)>(&mut connection).await?;
        Ok(connection)
    }

    /// Tells everybody that something is missing: some broadcasts never left.
    async fn renew_epoch(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let Some(position) = Option::clone(&self.context.shared.position.load()) else { return Ok(()) };
        let script = Script::new(include_str!("scripts/renew.lua"));
        let mut call = script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream());
        call.arg(position.epoch).arg(format!("{:016x}", random_bits())).arg(self.context.keys.events());
        call.invoke_async::<i64>(connection).await.map(|_| ())
    }

    fn came_back(&self, state: &mut PublisherState) {
        state.backoff.reset();
        if state.backlog.published(self.context.shared.returned.load(Relaxed)) {
            tracing::info!("redis takes broadcasts again");
        }
        self.context.health.publisher.store(true, Relaxed);
    }

    async fn went_away(&self, state: &mut PublisherState, error: &RedisError) {
        self.context.health.publisher.store(false, Relaxed);
        if !state.backlog.is_away() {
            tracing::warn!(%error, "redis does not take broadcasts; they are delivered locally and wait");
        }
        for item in state.backlog.failed(self.context.shared.returned.load(Relaxed)) {
            self.deliver_locally(&item).await;
        }
    }

    async fn enqueue(&self, item: QueuedBroadcast, backlog: &mut Backlog) {
        let item = Arc::new(item);
        match backlog.push(&item) {
            Placement::Queued => {}
            Placement::QueuedAndLocal => self.deliver_locally(&item).await,
            Placement::LocalOnly => {
                self.deliver_locally(&item).await;
                self.context.shared.counters.waiting.fetch_sub(1, Relaxed);
                self.context.shared.counters.overflowed.fetch_add(1, Relaxed);
            }
        }
    }

    async fn deliver_locally(&self, item: &QueuedBroadcast) {
        let broadcast = Broadcast { id: item.id.clone(), position: None, event: item.event.clone() };
        // The gateway stops: nobody is left to deliver to.
        let _ = self.events.send(BusEvent::Local(broadcast)).await;
    }
}
