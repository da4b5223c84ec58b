//! Announces this worker in Redis, where gateways look for workers.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::bus::{WorkerEntry, WorkerRegistry};
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// Announces the worker until it drains, and then withdraws the entry.
pub(crate) async fn run(registry: Arc<WorkerRegistry>, entry: WorkerEntry, drain: CancellationToken) {
    let mut is_first = true;
    let mut is_failing = false;
    loop {
        let wait = match registry.announce(&entry, is_first).await {
            Ok(()) => {
                if is_failing || is_first {
                    tracing::info!(address = entry.address, "announced in redis");
                }
                (is_first, is_failing) = (false, false);
                INTERVAL
            }
            Err(error) => {
                if !is_failing {
                    tracing::warn!(error, "cannot announce this worker in redis; trying again");
                    is_failing = true;
                }
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = drain.cancelled() => break,
        }
    }
    if let Err(error) = registry.withdraw(&entry.id).await {
        tracing::warn!(error, "cannot withdraw the announcement; it expires by itself");
    }
}
