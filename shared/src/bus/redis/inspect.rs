//! What an operator should know about a Redis server before relying on it.

use deadpool_redis::redis::{self, RedisError};

use super::connector::Connector;
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
}

impl Inspection {
    /// Asks the server at a URL.
    pub async fn of(url: &str, settings: &RedisSettings) -> Result<Self, String> {
        let connector = Connector::new(url, settings)?;
        Self::by(&connector).await.map_err(|error| error.to_string())
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
        })
    }
}
