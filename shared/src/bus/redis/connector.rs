//! How to reach Redis: one server, the primary that Sentinels name, or the node of a Cluster that has our slot.
//!
//! All keys of the bus are in one slot (by the braces in their names), so all connections lead to one server. The
//! connector finds out which one for each dedicated connection, and after each failure.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_redis::redis::aio::{MultiplexedConnection, PubSub};
use deadpool_redis::redis::{self, AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError};
use deadpool_redis::{Manager, Pool, PoolError, Runtime};

use super::topology::Topology;
use crate::settings::common::RedisSettings;

/// Connections of the pool for commands; each carries many at a time.
const POOL_SIZE: usize = 4;

/// The last known server that takes writes.
struct Primary {
    client: Client,
    pool: Pool,
}

/// Opens connections; every wait has a limit.
#[derive(Clone)]
pub(super) struct Connector {
    topology: Arc<Topology>,
    current: Arc<ArcSwapOption<Primary>>,
    pub(super) timeout: Duration,
}

impl Connector {
    pub(super) fn new(url: &str, settings: &RedisSettings) -> Result<Self, String> {
        let topology = Topology::parse(url, settings).map_err(|error| {
            format!("DIFFYNE_REDIS_URL = `{}`: {}", crate::settings::mask_url(url), why_unusable(&error))
        })?;
        Ok(Self { topology: Arc::new(topology), current: Arc::default(), timeout: settings.timeout })
    }

    /// Whether another server may become the primary.
    pub(super) fn may_move(&self) -> bool {
        !matches!(*self.topology, Topology::Single(_))
    }

    /// Whether keys may lie on several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(*self.topology, Topology::Cluster { .. })
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(Some(self.timeout))
    }

    /// Asks Sentinels or Cluster nodes where commands go now.
    async fn resolve(&self) -> Result<Arc<Primary>, RedisError> {
        let info = self.topology.primary(&self.config(), self.timeout).await?;
        if let Some(known) = self.current.load_full().filter(|known| same_place(&known.client, &info)) {
            return Ok(known);
        }
        let manager = Manager::new_with_config(info.clone(), self.config())?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .create_timeout(Some(self.timeout))
            .wait_timeout(Some(self.timeout))
            .recycle_timeout(Some(self.timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::from((ErrorKind::InvalidClientConfig, "pool", error.to_string())))?;
        let primary = Arc::new(Primary { client: Client::open(info)?, pool });
        self.current.store(Some(Arc::clone(&primary)));
        Ok(primary)
    }

    /// A connection that the caller has for itself: its commands stay in order.
    pub(super) async fn dedicated(&self) -> Result<MultiplexedConnection, RedisError> {
        self.resolve().await?.client.get_multiplexed_async_connection_with_config(&self.config()).await
    }

    /// A connection for a key that is not the bus's: in another database, or in another slot of a Cluster.
    pub(super) async fn for_key(&self, key: &str, database: u32) -> Result<MultiplexedConnection, RedisError> {
        if self.is_cluster() {
            let info = self.topology.node_of(key, &self.config(), self.timeout).await?;
            return Client::open(info)?.get_multiplexed_async_connection_with_config(&self.config()).await;
        }
        let mut connection = self.dedicated().await?;
        redis::cmd("SELECT").arg(database).query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    /// A connection for a subscription.
    pub(super) async fn pubsub(&self) -> Result<PubSub, RedisError> {
        let primary = self.resolve().await?;
        self.limited(primary.client.get_async_pubsub()).await
    }

    /// A pooled connection for a command.
    pub(super) async fn pooled(&self) -> Result<deadpool_redis::Connection, RedisError> {
        let primary = match self.current.load_full() {
            Some(primary) => primary,
            None => self.resolve().await?,
        };
        primary.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            error => RedisError::from((ErrorKind::Io, "no connection", error.to_string())),
        })
    }

    /// Runs `work` within the time limit. After a failure the next caller looks for the primary again.
    pub(super) async fn limited<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
        let done = match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_elapsed) => Err(RedisError::from((ErrorKind::Io, "timed out"))),
        };
        if done.is_err() && self.may_move() {
            self.current.store(None);
        }
        done
    }

    /// Checks that the server of a connection still takes writes: after a failover the old primary is a replica.
    pub(super) async fn check_role(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        if !self.may_move() {
            return Ok(());
        }
        let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(connection).await?;
        let role: String = role.first().map(redis::from_redis_value_ref).transpose()?.unwrap_or_default();
        if role == "master" {
            return Ok(());
        }
        Err(RedisError::from((ErrorKind::Io, "this server is no longer the primary", role)))
    }
}

/// Why a URL cannot be used. A character of the password is a common reason, which the parser does not see.
fn why_unusable(error: &str) -> String {
    let words = error.strip_suffix(" - InvalidClientConfig").unwrap_or(error);
    match words {
        "Redis URL did not parse" | "Invalid database number" | "Missing hostname" | "Missing password" => format!(
            "{words}. It has the form redis://[user:password@]host[:port][/database]; a user or password with / ? # @ : or % \
             has %2F %3F %23 %40 %3A %25 in their place"
        ),
        _ => words.to_owned(),
    }
}

fn same_place(client: &Client, info: &ConnectionInfo) -> bool {
    client.get_connection_info().addr() == info.addr()
}
