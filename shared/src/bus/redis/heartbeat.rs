//! Presence: each gateway reports its number of connections and reads those of the others. A gateway that is killed
//! disappears after its TTL. The heartbeat also keeps Laravel's status key alive.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_redis::redis::{self, RedisError, Script};
use tokio::time::{Instant, MissedTickBehavior};

use super::context::Context;
use crate::bus::state::Presence;
use crate::settings::gateway::StatusKey;

/// How often a change is reported at most.
const CHANGE_EVERY: Duration = Duration::from_millis(100);
/// How often the number is reported without a change.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long a silent gateway counts.
const LIFE: Duration = Duration::from_secs(5);

pub(super) struct Heartbeat {
    pub(super) context: Context,
    pub(super) connections: Arc<AtomicU64>,
    pub(super) status_key: Option<StatusKey>,
}

impl Heartbeat {
    pub(super) async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(CHANGE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut told_at, mut heard_at) = (None, Instant::now(), Instant::now());
        let mut status_due = Instant::now();
        loop {
            tick.tick().await;
            let count = self.connections.load(Relaxed);
            self.update_own_count(count, heard_at.elapsed() > LIFE);
            if told == Some(count) && told_at.elapsed() < BEAT_EVERY {
                continue;
            }
            let (value, news) = (count.to_string(), told != Some(count));
            told_at = Instant::now();
            match self.context.connector.limited(self.beat(&value, news)).await {
                Ok(presence) => {
                    told = Some(count);
                    heard_at = Instant::now();
                    self.context.shared.presence.store(Arc::new(presence));
                    self.context.health.heartbeat.store(true, Relaxed);
                }
                Err(error) => {
                    if self.context.health.heartbeat.swap(false, Relaxed) {
                        tracing::warn!(%error, "redis does not answer; presence is this gateway's own");
                    }
                }
            }
            if let Some(status) = self.status_key.as_ref().filter(|_| status_due <= Instant::now()) {
                match self.write_status(status, "connected").await {
                    Ok(()) => status_due = Instant::now() + status.ttl / 3,
                    Err(error) => {
                        tracing::debug!(%error, "the status key was not written");
                        status_due = Instant::now() + BEAT_EVERY;
                    }
                }
            }
        }
    }

    /// Updates this gateway's own count, and forgets the others' when Redis is silent.
    fn update_own_count(&self, count: u64, redis_is_silent: bool) {
        let presence = self.context.shared.presence.load();
        let own = &self.context.shared.identity.id;
        if presence.get(own) == Some(&count) && !(redis_is_silent && presence.len() > 1) {
            return;
        }
        let mut now = if redis_is_silent { Presence::new() } else { Presence::clone(&presence) };
        now.insert(own.clone(), count);
        self.context.shared.presence.store(Arc::new(now));
    }

    /// Sends one heartbeat; an empty `value` takes this gateway out.
    async fn beat(&self, value: &str, tell: bool) -> Result<Presence, RedisError> {
        let own = &self.context.shared.identity.id;
        let message = match (tell, value) {
            (false, _) => String::new(),
            (true, "") => format!(r#"{{"gateway":"{own}","connections":0}}"#),
            (true, count) => format!(r#"{{"gateway":"{own}","connections":{count}}}"#),
        };
        let mut connection = self.context.connector.pooled().await?;
        let script = Script::new(include_str!("scripts/register.lua"));
        let mut call = script.prepare_invoke();
        let [values, deadlines] = self.context.keys.gateways();
        call.key(values).key(deadlines);
        call.arg(own).arg(value).arg(LIFE.as_millis() as u64).arg(self.context.keys.status()).arg(message);
        call.invoke_async(&mut connection).await
    }

    /// Takes this gateway out of the presence; the last one writes the status for Laravel.
    pub(super) async fn leave(&self) {
        match self.context.connector.limited(self.beat("", true)).await {
            Ok(others) if others.is_empty() => {
                if let Some(status) = &self.status_key
                    && let Err(error) = self.write_status(status, "disconnected").await
                {
                    tracing::warn!(%error, "the status key was not written");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "could not leave the presence; it ends by itself"),
        }
    }

    /// Writes a string as Laravel's Redis cache stores it: PHP-serialized.
    async fn write_status(&self, status: &StatusKey, word: &str) -> Result<(), RedisError> {
        let value = format!("s:{}:\"{word}\";", word.len());
        let mut connection = self.context.connector.for_key(&status.key, status.database).await?;
        let ttl = status.ttl.as_secs().max(1);
        redis::cmd("SET").arg(&status.key).arg(value).arg("EX").arg(ttl).query_async(&mut connection).await
    }
}
