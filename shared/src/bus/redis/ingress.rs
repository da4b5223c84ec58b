//! What applications publish by themselves: `RPUSH {diffyne}:ingress` with `{"name", "params": [...], "except"?}`.
//!
//! Gateways wait for an item without taking it. The first one takes, numbers and publishes it in one script, which also
//! returns the items that have come meanwhile; these follow as one batch.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, RedisError, Script};

use super::backlog::{BATCH_BYTES_MAX, BATCH_MAX};
use super::context::Context;
use crate::backoff::Backoff;
use crate::bus::state::random_bits;
use crate::bus::wire::history_event;
use crate::telemetry::LogThrottle;

/// Bytes of a malformed item in the log.
const SHOWN_BYTES: usize = 200;
/// Limits log lines about a list that cannot be read.
static FAULTS: LogThrottle = LogThrottle::new(1, 3);

pub(super) struct Ingress {
    context: Context,
    script: Script,
}

impl Ingress {
    pub(super) fn new(context: Context) -> Self {
        let source = concat!(include_str!("scripts/assign_offset.lua"), include_str!("scripts/ingress.lua"));
        Self { context, script: Script::new(source) }
    }

    /// Takes items until the bus ends.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut taken = 0u64;
        loop {
            if let Ok(mut connection) = self.context.connector.dedicated().await {
                loop {
                    match self.take(&mut connection, &mut taken).await {
                        Ok(()) => backoff.reset(),
                        Err(error) => {
                            if let Some(left_out) = FAULTS.allow() {
                                tracing::warn!(%error, left_out, "the ingress list cannot be read");
                            }
                            break;
                        }
                    }
                }
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Waits for one item for a while, and publishes it and all that follow.
    async fn take(&self, connection: &mut MultiplexedConnection, taken: &mut u64) -> Result<(), RedisError> {
        let list = self.context.keys.ingress();
        // Shorter than the connection's timeout.
        let seconds = self.context.connector.timeout.as_secs_f64() / 2.0;
        let mut wait = redis::cmd("BLMOVE");
        wait.arg(&list).arg(&list).arg("LEFT").arg("LEFT").arg(seconds);
        let first: Option<Vec<u8>> = wait.query_async(connection).await?;
        let mut items: Vec<Vec<u8>> = first.into_iter().collect();
        while !items.is_empty() {
            items = self.publish(connection, &list, &items, taken).await?;
        }
        Ok(())
    }

    /// Publishes items from the head of the list, unless another gateway was faster. Returns the items that are next.
    async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        list: &str,
        items: &[Vec<u8>],
        taken: &mut u64,
    ) -> Result<Vec<Vec<u8>>, RedisError> {
        let settings = &self.context.settings;
        let mut call = self.script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream()).key(list);
        call.arg(settings.history_length).arg(settings.history_bytes);
        call.arg(format!("{:016x}", random_bits())).arg(self.context.keys.events());
        call.arg(BATCH_MAX).arg(BATCH_BYTES_MAX).arg(settings.ingress_max);
        for item in items {
            *taken += 1;
            let id = format!("{}-i{taken}", self.context.shared.identity.id);
            let event = event_of(item);
            let id = if event.is_some() { id } else { String::new() };
            // Empty: the item as it is.
            let changed = if let Some(Cow::Owned(event)) = event { event } else { String::new() };
            call.arg(item).arg(id).arg(changed);
        }
        let (waiting, dropped, next): (u64, u64, Vec<Vec<u8>>) = call.invoke_async(connection).await?;
        let counters = &self.context.shared.counters;
        counters.ingress_waiting.store(waiting, Relaxed);
        if dropped > 0 {
            counters.ingress_dropped.fetch_add(dropped, Relaxed);
            tracing::error!(
                dropped,
                "the ingress list is longer than DIFFYNE_INGRESS_MAX: its oldest events were dropped"
            );
        }
        Ok(next)
    }
}

/// The event that is published for an item of the list. Says so in the log when it is none.
fn event_of(item: &[u8]) -> Option<Cow<'_, str>> {
    let event = std::str::from_utf8(item).ok().and_then(history_event);
    if event.is_none() {
        let shown = String::from_utf8_lossy(&item[..item.len().min(SHOWN_BYTES)]).into_owned();
        tracing::warn!(item = shown, "dropped an item of the ingress list, because it is not an event");
    }
    event
}
