//! What an operator should know about a Redis server before relying on it.

use deadpool_redis::redis::{self, RedisError};

use super::connector::Connector;
use super::keys::RedisKeys;
use crate::settings::common::RedisSettings;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Its version.
    pub version: String,
    /// `maxmemory-policy`; `None` when the server does not tell.
    pub eviction: Option<String>,
    /// Whether its data survives a restart; `None` when the server does not tell.
    pub persistent: Option<bool>,
    /// Why the bus cannot work with this user: it may not use our keys or channels.
    pub forbidden: Option<String>,
}

/// Writes and publishes where it changes nothing.
const TRIAL: &str = "redis.call('DEL', KEYS[1]) redis.call('PUBLISH', ARGV[1], '') return 1";

impl Inspection {
    /// Asks the server at a URL.
    pub async fn of(url: &str, settings: &RedisSettings) -> Result<Self, String> {
        let connector = Connector::new(url, settings)?;
        let mut found = Self::by(&connector).await.map_err(|error| error.to_string())?;
        found.forbidden =
            trial(&connector, &RedisKeys::new(&settings.prefix)).await.err().map(|error| error.to_string());
        Ok(found)
    }

    pub(super) async fn by(connector: &Connector) -> Result<Self, RedisError> {
        let mut connection = connector.dedicated().await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let mut setting = async |name: &str| -> Option<String> {
            // Managed servers refuse this command.
            let found: Result<Vec<String>, RedisError> =
                redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await;
            found.ok()?.into_iter().nth(1)
        };
        let eviction = setting("maxmemory-policy").await;
        let (append, save) = (setting("appendonly").await, setting("save").await);
        Ok(Self {
            version: version.unwrap_or("unknown").to_owned(),
            eviction,
            persistent: append.zip(save).map(|(append, save)| append == "yes" || !save.is_empty()),
            forbidden: None,
        })
    }
}

/// Does what the bus does, with a key and a channel of its own.
async fn trial(connector: &Connector, keys: &RedisKeys) -> Result<(), RedisError> {
    let mut pubsub = connector.pubsub().await?;
    connector.limited(pubsub.subscribe(keys.trial())).await?;
    let mut connection = connector.dedicated().await?;
    let mut eval = redis::cmd("EVAL");
    eval.arg(TRIAL).arg(1).arg(keys.trial()).arg(keys.trial());
    connector.limited(eval.query_async::<i64>(&mut connection)).await.map(|_| ())
}
