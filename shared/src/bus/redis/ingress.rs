//! What applications publish by themselves: `RPUSH {diffyne}:ingress` with `{"name", "params": [...], "except"?}`.
//!
//! Gateways wait for an item without taking it. The first one takes, numbers and publishes it in one script.

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, RedisError, Script};

use super::context::Context;
use crate::backoff::Backoff;
use crate::bus::state::random_bits;
use crate::bus::wire::read_event;

/// Bytes of a malformed item in the log.
const SHOWN_BYTES: usize = 200;

pub(super) struct Ingress {
    pub(super) context: Context,
}

impl Ingress {
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
                            tracing::debug!(%error, "the ingress list cannot be read");
                            break;
                        }
                    }
                }
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Waits for one item for a while, and publishes it.
    async fn take(&self, connection: &mut MultiplexedConnection, taken: &mut u64) -> Result<(), RedisError> {
        let list = self.context.keys.ingress();
        // Shorter than the connection's timeout.
        let seconds = self.context.connector.timeout.as_secs_f64() / 2.0;
        let mut wait = redis::cmd("BLMOVE");
        wait.arg(&list).arg(&list).arg("LEFT").arg("LEFT").arg(seconds);
        let Some(item) = wait.query_async::<Option<Vec<u8>>>(connection).await? else { return Ok(()) };
        let text = std::str::from_utf8(&item).ok();
        let event = text.and_then(read_event);
        if event.is_none() {
            let shown = String::from_utf8_lossy(&item[..item.len().min(SHOWN_BYTES)]).into_owned();
            tracing::warn!(item = shown, "an item of the ingress list is no event and was dropped");
        }
        *taken += 1;
        let script =
            Script::new(concat!(include_str!("scripts/assign_offset.lua"), include_str!("scripts/ingress.lua")));
        let mut call = script.prepare_invoke();
        call.key(self.context.keys.meta()).key(self.context.keys.stream()).key(&list);
        call.arg(format!("{}-i{taken}", self.context.shared.identity.id)).arg(&item);
        call.arg(self.context.settings.history_length)
            .arg(self.context.settings.history_bytes)
            .arg(u8::from(event.is_some()));
        call.arg(format!("{:016x}", random_bits())).arg(self.context.keys.events());
        call.invoke_async::<i64>(connection).await.map(|_| ())
    }
}
