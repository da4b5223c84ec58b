//! How to reach Redis, and the names of what is kept there.

use std::time::Duration;

use deadpool_redis::redis::aio::{MultiplexedConnection, PubSub};
use deadpool_redis::redis::{self, AsyncConnectionConfig, Client, ErrorKind, RedisError};
use deadpool_redis::{Pool, Runtime};

use crate::settings::common::RedisSettings;

/// Connections of the pool for commands; each carries many at a time.
const POOL_SIZE: usize = 4;

/// Opens connections; every wait has a limit.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client,
    pool: Pool,
    pub(super) timeout: Duration,
}

impl Connector {
    pub(super) fn new(url: &str, settings: &RedisSettings) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("DIFFYNE_REDIS_URL = `{}`: {error}", crate::settings::mask_url(url))
        };
        let client = Client::open(url).map_err(|error| wrong(&error))?;
        let pool = deadpool_redis::Config::from_url(url)
            .builder()
            .map_err(|error| wrong(&error))?
            .max_size(POOL_SIZE)
            .create_timeout(Some(settings.timeout))
            .wait_timeout(Some(settings.timeout))
            .recycle_timeout(Some(settings.timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| wrong(&error))?;
        Ok(Self { client, pool, timeout: settings.timeout })
    }

    /// A connection of one's own, whose commands stay in order.
    pub(super) async fn dedicated(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// A connection to another database of the same server, for one command.
    pub(super) async fn database(&self, database: u32) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.dedicated().await?;
        redis::cmd("SELECT").arg(database).query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    /// A connection for a subscription.
    pub(super) async fn pubsub(&self) -> Result<PubSub, RedisError> {
        self.limited(self.client.get_async_pubsub()).await
    }

    /// A pooled connection for a command.
    pub(super) async fn pooled(&self) -> Result<deadpool_redis::Connection, RedisError> {
        self.pool.get().await.map_err(|error| RedisError::from((ErrorKind::Io, "no connection", error.to_string())))
    }

    /// Ends a wait that takes too long.
    pub(super) async fn limited<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_elapsed) => Err(RedisError::from((ErrorKind::Io, "timed out"))),
        }
    }
}

/// Names in Redis. The braces are literal: one slot in a Redis Cluster.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    base: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { base: format!("{prefix}{{diffyne}}:") }
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    pub(super) fn meta(&self) -> String {
        self.named("meta")
    }
    pub(super) fn stream(&self) -> String {
        self.named("stream")
    }
    /// The mark of a name that is good once.
    pub(super) fn once(&self, name: &str) -> String {
        self.named(&format!("once:{name}"))
    }
    /// What applications publish by themselves.
    pub(super) fn ingress(&self) -> String {
        self.named("ingress")
    }
    pub(super) fn seen(&self, id: &str) -> String {
        self.named(&format!("seen:{id}"))
    }
    /// Channel of broadcasts.
    pub(super) fn events(&self) -> String {
        self.named("events")
    }
    /// Channel of connection counts and of changes among workers.
    pub(super) fn status(&self) -> String {
        self.named("status")
    }
    /// Values and deadlines of the gateways.
    pub(super) fn gateways(&self) -> [String; 2] {
        [self.named("gateways"), self.named("gateways:until")]
    }
    /// Values and deadlines of the workers.
    pub(super) fn workers(&self) -> [String; 2] {
        [self.named("workers"), self.named("workers:until")]
    }
}
