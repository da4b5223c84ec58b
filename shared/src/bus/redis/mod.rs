//! The bus over Redis: pub/sub for speed, a capped stream to close gaps, one ordered publisher, presence with a TTL.
//!
//! Four tasks: [`publisher`] hands over one batch after another, [`subscriber`] reads them back in offset order,
//! [`heartbeat`] reports how many clients are connected, [`ingress`] takes what applications publish by themselves. No
//! call waits for any of them.

mod backlog;
pub(super) mod claim;
mod connector;
mod context;
mod health;
mod heartbeat;
mod ingress;
pub(super) mod inspect;
mod keys;
#[cfg(test)]
mod model;
pub(super) mod occupancy;
mod publisher;
mod queue;
pub(super) mod registry;
mod rooms;
mod subscriber;
mod topology;
mod tracker;
mod trust;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, RedisError};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::event::{BusEvent, Publication, QueueFull};
use super::idempotency::{ANSWER_LIFE, KeyClaim};
use super::state::{BusState, QueueShare, RedisState, random_bits};
use crate::settings::common::RedisSettings;
use crate::settings::gateway::StatusKey;
use crate::task;
use crate::token::SharedTokens;
use claim::Claim;
use connector::Connector;
use context::Context;
use health::RedisHealth;
use heartbeat::Heartbeat;
use ingress::Ingress;
use keys::RedisKeys;
use occupancy::RedisOccupancy;
use publisher::Publisher;
use queue::PublishQueue;
use registry::WorkerRegistry;
use rooms::RedisRooms;
use subscriber::Subscriber;
use trust::Trust;

/// Between two looks for responses of other gateways.
const RESPONSE_STEP: Duration = Duration::from_millis(10);
/// How long a response waits to be read.
const RESPONSE_LIFE: Duration = Duration::from_secs(10);

/// Checks a URL, and the files that its settings name.
pub(super) fn check_url(url: &str, settings: &RedisSettings) -> Result<(), String> {
    Connector::new(url, settings).map(|_| ())
}

pub(super) struct RedisBus {
    context: Context,
    queue: PublishQueue,
    connections: Arc<AtomicU64>,
    heartbeat: Arc<Heartbeat>,
    registry: WorkerRegistry,
    rooms: RedisRooms,
    trust: Arc<Trust>,
    tasks: Vec<AbortHandle>,
}

impl RedisBus {
    pub(super) fn start(
        shared: Arc<BusState>,
        url: &str,
        settings: &RedisSettings,
        tokens: SharedTokens,
        status_key: Option<StatusKey>,
        events: mpsc::Sender<BusEvent>,
    ) -> Result<Self, String> {
        let context = Context {
            connector: Connector::new(url, settings)?,
            keys: RedisKeys::new(&settings.prefix),
            settings: Arc::new(settings.clone()),
            shared,
            health: Arc::new(RedisHealth::new()),
        };
        let trust = Arc::new(Trust::new(tokens, settings));
        let workers_changed = Arc::new(Notify::new());
        let connections = Arc::new(AtomicU64::new(0));
        let (queue, queued) = PublishQueue::new(Arc::clone(&context.shared), settings.queue_max);

        let publisher = Publisher::new(context.clone(), events.clone());
        let subscriber = Subscriber {
            context: context.clone(),
            workers_changed: Arc::clone(&workers_changed),
            trust: Arc::clone(&trust),
            events,
        };
        let ingress = Ingress::new(context.clone());
        let heartbeat =
            Arc::new(Heartbeat { context: context.clone(), connections: Arc::clone(&connections), status_key });
        let tasks = vec![
            task::spawn(publisher.run(queued)).abort_handle(),
            task::spawn(subscriber.run()).abort_handle(),
            task::spawn(ingress.run()).abort_handle(),
            task::spawn(Arc::clone(&heartbeat).run()).abort_handle(),
        ];
        let (connector, keys) = (context.connector.clone(), context.keys.clone());
        let registry = WorkerRegistry::new(connector, keys, Arc::clone(&trust), workers_changed);
        let rooms = RedisRooms::new(context.clone());
        Ok(Self { context, queue, connections, heartbeat, registry, rooms, trust, tasks })
    }

    pub(super) fn publish(&self, share: &QueueShare, event: Publication) -> Result<String, QueueFull> {
        self.queue.publish(share, event)
    }

    pub(super) async fn publish_within(
        &self,
        share: &QueueShare,
        event: Publication,
        limit: Duration,
    ) -> Result<String, QueueFull> {
        self.queue.publish_within(share, event, limit).await
    }

    pub(super) fn set_connections(&self, count: u64) {
        self.connections.store(count, Relaxed);
    }

    pub(super) fn state(&self) -> RedisState {
        if self.context.health.is_up() { RedisState::Up } else { RedisState::Down }
    }

    pub(super) fn workers(&self) -> WorkerRegistry {
        self.registry.clone()
    }

    pub(super) fn occupancy(&self) -> RedisOccupancy {
        RedisOccupancy::new(self.context.clone())
    }

    /// The rooms, as all gateways report them.
    pub(super) fn rooms(&self) -> &RedisRooms {
        &self.rooms
    }

    pub(super) fn rejected(&self, claim: Claim) -> u64 {
        self.trust.rejected(claim)
    }

    pub(super) async fn once(&self, name: &str, life: Duration) -> Result<bool, RedisError> {
        let mut connection = self.context.connector.pooled().await?;
        let mut set = redis::cmd("SET");
        set.arg(self.context.keys.once(name)).arg(1).arg("NX").arg("PX").arg(life.as_millis() as u64);
        let set = set.query_async::<Option<String>>(&mut connection);
        Ok(self.context.connector.limited(set).await?.is_some())
    }

    /// Claims an idempotency key.
    pub(super) async fn claim_key(&self, key: &str, life: Duration) -> Result<KeyClaim, RedisError> {
        let key = self.context.keys.idempotent(key);
        let claim = async {
            let mut connection = self.context.connector.pooled().await?;
            let mut set = redis::cmd("SET");
            set.arg(&key).arg("").arg("NX").arg("PX").arg(life.as_millis() as u64);
            if set.query_async::<Option<String>>(&mut connection).await?.is_some() {
                return Ok(KeyClaim::New);
            }
            let answer: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut connection).await?;
            // Empty: it is being published. None: that has just ended without an answer.
            Ok(answer.filter(|answer| !answer.is_empty()).map_or(KeyClaim::UnderWay, KeyClaim::Answered))
        };
        self.context.connector.limited(claim).await
    }

    /// Keeps the answer to a key, or lets the key go.
    pub(super) async fn settle_key(&self, key: &str, answer: Option<&str>) -> Result<(), RedisError> {
        let key = self.context.keys.idempotent(key);
        let settle = async {
            let mut connection = self.context.connector.pooled().await?;
            let mut command = match answer {
                Some(answer) => {
                    let mut set = redis::cmd("SET");
                    set.arg(&key).arg(answer).arg("PX").arg(ANSWER_LIFE.as_millis() as u64);
                    set
                }
                None => redis::cmd("DEL"),
            };
            if answer.is_none() {
                command.arg(&key);
            }
            command.query_async::<redis::Value>(&mut connection).await
        };
        self.context.connector.limited(settle).await.map(|_| ())
    }

    /// Sends a query to the other gateways, and returns the responses that come within the limit.
    pub(super) async fn query(&self, query: &str, limit: Duration) -> Vec<String> {
        let id = format!("{:016x}{:016x}", random_bits(), random_bits());
        let others = self.context.shared.presence.load().len().saturating_sub(1);
        let (until, mut responses) = (Instant::now() + limit, Vec::new());
        let Some(message) = self.trust.sign_command(id.clone(), &self.context.shared.identity.id, query) else {
            return responses;
        };
        if let Err(error) = self.publish_status(&message).await {
            tracing::warn!(%error, "the other gateways could not be asked");
            return responses;
        }
        while responses.len() < others && Instant::now() < until {
            match self.take_responses(&id, others).await {
                Ok(more) => responses.extend(more.into_iter().filter_map(|text| self.trust.read_response(&id, text))),
                Err(error) => {
                    tracing::warn!(%error, "the answers of the other gateways could not be read");
                    break;
                }
            }
            tokio::time::sleep(RESPONSE_STEP).await;
        }
        responses
    }

    async fn publish_status(&self, message: &str) -> Result<(), RedisError> {
        let publish = async {
            let mut connection = self.context.connector.pooled().await?;
            redis::cmd("PUBLISH").arg(self.context.keys.status()).arg(message).query_async::<i64>(&mut connection).await
        };
        self.context.connector.limited(publish).await.map(|_| ())
    }

    async fn take_responses(&self, id: &str, most: usize) -> Result<Vec<String>, RedisError> {
        let take = async {
            let mut connection = self.context.connector.pooled().await?;
            let mut pop = redis::cmd("LPOP");
            pop.arg(self.context.keys.responses(id)).arg(most);
            pop.query_async::<Option<Vec<String>>>(&mut connection).await
        };
        Ok(self.context.connector.limited(take).await?.unwrap_or_default())
    }

    /// Responds to a query of another gateway.
    pub(super) async fn respond(&self, id: &str, text: &str) {
        let (key, text) = (self.context.keys.responses(id), self.trust.sign_response(id, text));
        let push = async {
            let mut connection = self.context.connector.pooled().await?;
            redis::cmd("RPUSH").arg(&key).arg(text).query_async::<i64>(&mut connection).await?;
            let mut expire = redis::cmd("PEXPIRE");
            expire.arg(&key).arg(RESPONSE_LIFE.as_millis() as u64);
            expire.query_async::<i64>(&mut connection).await
        };
        if let Err(error) = self.context.connector.limited(push).await {
            tracing::warn!(%error, "another gateway's question could not be answered");
        }
    }

    pub(super) async fn leave(&self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Err(error) = self.rooms.leave().await {
            tracing::warn!(%error, "could not leave the rooms; their members here leave by themselves");
        }
        self.heartbeat.leave().await;
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
