//! The registry of workers in Redis: a worker announces itself with a TTL; gateways read which workers there are, and
//! accept what is signed ([`super::trust`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{RedisError, Script};
use tokio::sync::Notify;

use super::claim::{WorkerEntry, WorkerList};
use super::connector::Connector;
use super::keys::RedisKeys;
use super::trust::Trust;
use crate::settings::common::RedisSettings;
use crate::token::SharedTokens;

/// How long a silent worker counts.
const LIFE: Duration = Duration::from_secs(6);

/// Reads and writes the registry.
#[derive(Clone)]
pub struct WorkerRegistry {
    connector: Connector,
    keys: RedisKeys,
    trust: Arc<Trust>,
    changed: Arc<Notify>,
}

impl WorkerRegistry {
    pub(super) fn new(connector: Connector, keys: RedisKeys, trust: Arc<Trust>, changed: Arc<Notify>) -> Self {
        Self { connector, keys, trust, changed }
    }

    /// Opens the registry for a worker; Redis need not be there yet. What it announces is signed with these tokens.
    pub fn open(url: &str, settings: &RedisSettings, tokens: SharedTokens) -> Result<Self, String> {
        let connector = Connector::new(url, settings)?;
        let trust = Arc::new(Trust::new(tokens, settings));
        Ok(Self::new(connector, RedisKeys::new(&settings.prefix), trust, Arc::new(Notify::new())))
    }

    /// Announces a worker for the next seconds; with `news`, gateways learn it at once.
    pub async fn announce(&self, entry: &WorkerEntry, news: bool) -> Result<(), String> {
        let value = self.trust.sign_entry(entry).ok_or("an entry that cannot be written")?;
        self.register(&entry.id, &value, news).await.map(|_| ())
    }

    /// Removes a worker.
    pub async fn withdraw(&self, id: &str) -> Result<(), String> {
        self.register(id, "", true).await.map(|_| ())
    }

    /// The workers that are there, and the registrations that are rejected.
    pub async fn list(&self) -> Result<WorkerList, String> {
        let entries = self.register("", "", false).await?;
        Ok(self.trust.read_entries(entries.values()))
    }

    /// Waits until a gateway's subscription reports a change.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn register(&self, id: &str, value: &str, news: bool) -> Result<BTreeMap<String, String>, String> {
        let message = if news { format!(r#"{{"workers":"{id}"}}"#) } else { String::new() };
        let work = async {
            let mut connection = self.connector.pooled().await?;
            let script = Script::new(include_str!("scripts/register.lua"));
            let mut call = script.prepare_invoke();
            let [values, deadlines] = self.keys.workers();
            call.key(values).key(deadlines);
            call.arg(id).arg(value).arg(LIFE.as_millis() as u64).arg(self.keys.status()).arg(message);
            call.invoke_async(&mut connection).await
        };
        self.connector.limited(work).await.map_err(|error: RedisError| error.to_string())
    }
}
