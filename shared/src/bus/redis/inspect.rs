//! What an operator should know about a Redis server before relying on it.

use deadpool_redis::redis::{self, ErrorKind, RedisError, ServerErrorKind};

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
    /// Why the bus cannot work with it, in its own words.
    pub unusable: Option<Unusable>,
}

/// Why the bus cannot work with a server that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// The user may not use our keys, our channels or a command.
    Forbidden(String),
    /// The server takes no writes from anybody (a replica, a full disk), or not in time.
    Refused(String),
}

/// How newer and older releases of Redis tell what a user may not do within a script. Their error has no code for it.
const FORBIDDEN_IN_SCRIPT: [&str; 2] = ["ACL failure in script", "The user executing the script"];

/// Writes and publishes where it changes nothing.
const TRIAL: &str = "redis.call('DEL', KEYS[1]) redis.call('PUBLISH', ARGV[1], '') return 1";

impl Inspection {
    /// Asks the server at a URL.
    pub async fn of(url: &str, settings: &RedisSettings) -> Result<Self, String> {
        let connector = Connector::new(url, settings)?;
        let mut found = Self::by(&connector).await.map_err(|error| error.to_string())?;
        found.unusable =
            trial(&connector, &RedisKeys::new(&settings.prefix)).await.err().map(|error| Unusable::by(&error));
        Ok(found)
    }

    pub(super) async fn by(connector: &Connector) -> Result<Self, RedisError> {
        let mut connection = connector.dedicated().await?;
        let info: String = match redis::cmd("INFO").arg("server").query_async(&mut connection).await {
            // The bus works without it.
            Err(error) if is_forbidden(&error) => String::new(),
            info => info?,
        };
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
            unusable: None,
        })
    }
}

impl Unusable {
    fn by(error: &RedisError) -> Self {
        let text = error.to_string();
        let is_in_script = FORBIDDEN_IN_SCRIPT.iter().any(|words| text.contains(words));
        if is_in_script || is_forbidden(error) { Self::Forbidden(text) } else { Self::Refused(text) }
    }
}

fn is_forbidden(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_user_may_not_do_is_told_as_that() {
        for (answer, is_forbidden) in [
            ("-NOPERM this user has no permissions to access one of the keys used as arguments", true),
            ("-ERR ACL failure in script: User x has no permissions to run the 'publish' command script: 1", true),
            ("-READONLY You can't write against a read only replica. script: 1, on @user_script:1.", false),
            ("-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist", false),
            ("-NOREPLICAS Not enough good replicas to write.", false),
            ("-ERR unknown command 'EVAL'", false),
        ] {
            let answer = redis::parse_redis_value(format!("{answer}\r\n").as_bytes());
            let error = answer.and_then(redis::Value::extract_error).unwrap_err();
            let found = Unusable::by(&error);
            assert_eq!(matches!(found, Unusable::Forbidden(_)), is_forbidden, "{found:?}");
        }
        let late = RedisError::from((ErrorKind::Io, "timed out"));
        assert_eq!(Unusable::by(&late), Unusable::Refused(late.to_string()));
    }
}
