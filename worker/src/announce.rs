//! Tells gateways through Redis that this worker is there.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::bus::{WorkerEntry, WorkerRegistry};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// Announces until draining begins, then takes the entry back.
pub async fn run(registry: Arc<WorkerRegistry>, entry: WorkerEntry, drain: CancellationToken) {
    let mut news = true;
    let mut told = false;
    loop {
        let wait = match registry.announce(&entry, news).await {
            Ok(()) => {
                if told || news {
                    tracing::info!(address = entry.address, "announced in redis");
                }
                (news, told) = (false, false);
                EVERY
            }
            Err(error) => {
                if !told {
                    tracing::warn!(error, "cannot announce this worker in redis; trying again");
                    told = true;
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
        tracing::warn!(error, "cannot take the announcement back; it ends by itself");
    }
}
