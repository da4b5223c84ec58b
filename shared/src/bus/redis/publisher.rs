//! One ordered publisher a gateway: a broadcast leaves when the one before it has arrived.
//!
//! While Redis is away each broadcast is delivered to this gateway's own connections at once and waits here; the
//! script answers a second attempt with the first one's offset, so a retry after a time-out never doubles.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{RedisError, Script};
use tokio::sync::mpsc;

use super::Health;
use super::backlog::{Backlog, Taken};
use super::connector::Connector;
use super::keys::Keys;
use crate::backoff::Backoff;
use crate::bus::{BusEvent, Incoming, Outgoing, Shared, random_bits};
use crate::settings::common::RedisSettings;

/// How long an id is remembered: longer than any retry waits.
const SEEN_LIFE: Duration = Duration::from_mins(15);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);

/// A broadcast on its way to Redis.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) event: Outgoing,
    pub(super) json: String,
}

pub(super) struct Publisher {
    pub(super) connector: Connector,
    pub(super) keys: Keys,
    pub(super) settings: RedisSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) health: Arc<Health>,
    pub(super) events: mpsc::Sender<BusEvent>,
}

/// The queue and what is known of Redis.
struct State {
    backlog: Backlog,
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
}

impl Publisher {
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut state = State {
            backlog: Backlog::new(self.settings.queue_max),
            connection: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
        };
        loop {
            let Some(front) = state.backlog.front() else {
                match waiting.recv().await {
                    Some(item) => self.take(item, &mut state.backlog).await,
                    None => return,
                }
                continue;
            };
            let attempt = self.attempt(state.connection.take(), front, state.backlog.has_overflowed());
            tokio::pin!(attempt);
            // While Redis is away nobody waits for the attempt: what comes in is delivered locally.
            let result = loop {
                tokio::select! {
                    result = &mut attempt => break result,
                    Some(item) = waiting.recv(), if state.backlog.is_away() => self.take(item, &mut state.backlog).await,
                }
            };
            match result {
                Ok(connection) => {
                    state.connection = Some(connection);
                    self.shared.counters.waiting.fetch_sub(1, Relaxed);
                    self.shared.counters.published.fetch_add(1, Relaxed);
                    self.came_back(&mut state);
                }
                Err(error) => {
                    self.went_away(&mut state, &error).await;
                    let pause = tokio::time::sleep(state.backoff.wait());
                    tokio::pin!(pause);
                    loop {
                        tokio::select! {
                            () = &mut pause => break,
                            Some(item) = waiting.recv() => self.take(item, &mut state.backlog).await,
                        }
                    }
                }
            }
        }
    }

    async fn attempt(
        &self,
        connection: Option<MultiplexedConnection>,
        item: Arc<Waiting>,
        overflowed: bool,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connector.dedicated().await?,
        };
        if overflowed {
            self.renew_epoch(&mut connection).await?;
        }
        let script = Script::new(concat!(include_str!("scripts/append.lua"), include_str!("scripts/publish.lua")));
        let mut call = script.prepare_invoke();
        call.key(self.keys.meta()).key(self.keys.stream()).key(self.keys.seen(&item.id));
        call.arg(&item.id).arg(&item.json).arg(self.settings.history_length).arg(self.settings.history_bytes);
        call.arg(SEEN_LIFE.as_millis() as u64).arg(format!("{:016x}", random_bits())).arg(self.keys.events());
        call.invoke_async::<(String, i64)>(&mut connection).await?;
        Ok(connection)
    }

    /// Some broadcasts never left: everybody has to know that something is missing.
    async fn renew_epoch(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let Some(position) = Option::clone(&self.shared.position.load()) else { return Ok(()) };
        let script = Script::new(include_str!("scripts/renew.lua"));
        let mut call = script.prepare_invoke();
        call.key(self.keys.meta()).key(self.keys.stream());
        call.arg(position.epoch).arg(format!("{:016x}", random_bits())).arg(self.keys.events());
        call.invoke_async::<i64>(connection).await.map(|_| ())
    }

    fn came_back(&self, state: &mut State) {
        state.backoff.reset();
        if state.backlog.published() {
            tracing::info!("redis takes broadcasts again");
        }
        self.health.publisher.store(true, Relaxed);
    }

    async fn went_away(&self, state: &mut State, error: &RedisError) {
        self.health.publisher.store(false, Relaxed);
        if !state.backlog.is_away() {
            tracing::warn!(%error, "redis does not take broadcasts; they are delivered locally and wait");
        }
        for item in state.backlog.failed() {
            self.deliver_locally(&item).await;
        }
    }

    async fn take(&self, item: Waiting, backlog: &mut Backlog) {
        let item = Arc::new(item);
        match backlog.take(&item) {
            Taken::InTurn => {}
            Taken::LocallyNow => self.deliver_locally(&item).await,
            Taken::LocallyOnly => {
                self.deliver_locally(&item).await;
                self.shared.counters.waiting.fetch_sub(1, Relaxed);
                self.shared.counters.overflowed.fetch_add(1, Relaxed);
            }
        }
    }

    async fn deliver_locally(&self, item: &Waiting) {
        let incoming = Incoming { id: item.id.clone(), position: None, event: item.event.clone() };
        // The gateway stops: nobody is left to deliver to.
        let _ = self.events.send(BusEvent::Local(incoming)).await;
    }
}
