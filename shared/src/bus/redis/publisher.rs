//! One ordered publisher for each gateway: it sends a batch when Redis has taken the one before.
//!
//! A batch is what waits when the last one is done, so a lone broadcast never waits for others.
//!
//! While Redis is away, the publisher delivers each broadcast to this gateway's own connections at once and keeps it,
//! behind those that Redis took and did not push back.
//! The script answers a second attempt with the offset of the first, so a retry after a time-out publishes nothing
//! twice.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, ErrorKind, RedisError, Script, ServerErrorKind};
use tokio::sync::mpsc;

use super::backlog::{Backlog, Batch, Placement, QueuedBroadcast, UNRETURNED_MAX};
use super::context::Context;
use super::queue::PublishQueueOutlet;
use crate::backoff::Backoff;
use crate::bus::event::{Broadcast, BusEvent};
use crate::bus::state::random_bits;

/// How long Redis remembers the last batch of a gateway: longer than any retry waits.
const MARK_LIFE: Duration = Duration::from_hours(24);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// How long a batch waits for earlier ones to come back. The subscription may be lost, or what it should bring.
const RETURN_WAIT: Duration = Duration::from_millis(100);

pub(super) struct Publisher {
    context: Context,
    events: mpsc::Sender<BusEvent>,
    publish: Script,
    keys: [String; 3],
    channel: String,
}

/// The queue and the connection.
struct PublisherState {
    backlog: Backlog,
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
}

impl Publisher {
    pub(super) fn new(context: Context, events: mpsc::Sender<BusEvent>) -> Self {
        let source = concat!(include_str!("scripts/assign_offset.lua"), include_str!("scripts/publish.lua"));
        let keys = [context.keys.meta(), context.keys.stream(), context.keys.mark(&context.shared.identity.id)];
        Self { publish: Script::new(source), keys, channel: context.keys.events(), context, events }
    }

    pub(super) async fn run(self, mut waiting: PublishQueueOutlet) {
        let mut state = PublisherState {
            backlog: Backlog::new(self.context.settings.queue_max),
            connection: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
        };
        loop {
            self.wait_for_returns(&mut state.backlog).await;
            while !state.backlog.has_batch()
                && let Some(item) = waiting.next_now()
            {
                self.enqueue(item, &mut state.backlog).await;
            }
            let Some(batch) = state.backlog.attempt() else {
                match waiting.next().await {
                    Some(item) => self.enqueue(item, &mut state.backlog).await,
                    None => return,
                }
                continue;
            };
            let attempt = self.attempt(state.connection.take(), &batch);
            tokio::pin!(attempt);
            // While Redis is away nothing waits for the attempt: new broadcasts are delivered locally.
            let result = loop {
                tokio::select! {
                    result = &mut attempt => break result,
                    Some(item) = waiting.next(), if state.backlog.is_away() => self.enqueue(item, &mut state.backlog).await,
                }
            };
            match result {
                Ok(connection) => {
                    state.connection = Some(connection);
                    self.count(&batch);
                    self.came_back(&mut state);
                }
                Err(error) => {
                    self.went_away(&mut state, &error).await;
                    self.pause(&mut state, &mut waiting).await;
                }
            }
        }
    }

    async fn wait_for_returns(&self, backlog: &mut Backlog) {
        let shared = &self.context.shared;
        if backlog.unreturned(shared.returned.load(Relaxed)) < UNRETURNED_MAX {
            return;
        }
        let returns = async {
            while self.context.health.subscriber.load(Relaxed)
                && backlog.unreturned(shared.returned.load(Relaxed)) >= UNRETURNED_MAX
            {
                shared.returns.notified().await;
            }
        };
        // It goes on in either case.
        let _ = tokio::time::timeout(RETURN_WAIT, returns).await;
    }

    /// Waits before the next attempt, and takes new broadcasts meanwhile.
    async fn pause(&self, state: &mut PublisherState, waiting: &mut PublishQueueOutlet) {
        let pause = tokio::time::sleep(state.backoff.wait());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                Some(item) = waiting.next() => self.enqueue(item, &mut state.backlog).await,
            }
        }
    }

    async fn attempt(
        &self,
        connection: Option<MultiplexedConnection>,
        batch: &Batch,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.context.connector.dedicated().await?,
        };
        if batch.renews_epoch {
            self.renew_epoch(&mut connection).await?;
        }
        // The library's own call of a script copies each argument twice.
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.publish.get_hash()).arg(self.keys.len()).arg(&self.keys);
        call.arg(self.context.settings.history_length).arg(self.context.settings.history_bytes);
        call.arg(MARK_LIFE.as_millis() as u64).arg(format!("{:016x}", random_bits())).arg(&self.channel);
        call.arg(&self.context.shared.identity.id);
        for item in &batch.items {
            call.arg(item.sequence).arg(&item.json);
        }
        let reply = match call.query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.publish.load_async(&mut connection).await?;
                call.query_async(&mut connection).await
            }
            reply => reply,
        };
        let (known, offset): (usize, u64) = reply?;
        if known > 0 {
            tracing::debug!(known, offset, "redis had taken these broadcasts already");
        }
        Ok(connection)
    }

    fn count(&self, batch: &Batch) {
        let counters = &self.context.shared.counters;
        counters.waiting.fetch_sub(batch.items.len() as u64, Relaxed);
        counters.published.fetch_add(batch.items.len() as u64, Relaxed);
        counters.batch_sizes.observe(batch.items.len() as f64);
    }

    /// Tells everybody that something is missing: some broadcasts never left.
    async fn renew_epoch(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let Some(position) = Option::clone(&self.context.shared.position.load()) else { return Ok(()) };
        let script = Script::new(include_str!("scripts/renew.lua"));
        let mut call = script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream());
        call.arg(&*position.epoch).arg(format!("{:016x}", random_bits())).arg(self.context.keys.events());
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
