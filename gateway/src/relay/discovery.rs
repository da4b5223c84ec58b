//! Finds workers: those named in the settings, and those that announced themselves in Redis. While Redis is away, the
//! list stays unchanged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::bus::WorkerRegistry;
use diffyne_shared::rpc::Endpoint;
use tokio::sync::watch;

/// The addresses of all workers.
pub type Workers = Arc<Vec<Endpoint>>;

/// How often the registry is read when no change is announced.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How long a registry that suddenly is empty is ignored: Redis may have restarted without its data.
const EMPTY_GRACE: Duration = Duration::from_secs(10);

/// Keeps the list up to date until the program ends.
pub async fn run(fixed: Vec<Endpoint>, registry: Option<WorkerRegistry>, list: watch::Sender<Workers>) {
    publish(&list, &fixed, &BTreeSet::new());
    let Some(registry) = registry else { return list.closed().await };
    let mut empty_since = None;
    loop {
        if let Ok(listing) = registry.list().await {
            let entries = listing.workers;
            let there = entries.iter().filter(|entry| !entry.draining);
            let found: BTreeSet<Endpoint> = there.filter_map(|entry| entry.address.parse().ok()).collect();
            if found.is_empty() && entries.is_empty() {
                let since = *empty_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > EMPTY_GRACE {
                    publish(&list, &fixed, &found);
                }
            } else {
                empty_since = None;
                publish(&list, &fixed, &found);
            }
        }
        tokio::select! {
            () = registry.changed() => {}
            () = tokio::time::sleep(READ_EVERY) => {}
            () = list.closed() => return,
        }
    }
}

fn publish(list: &watch::Sender<Workers>, fixed: &[Endpoint], found: &BTreeSet<Endpoint>) {
    let mut all: Vec<Endpoint> = fixed.to_vec();
    all.extend(found.iter().filter(|address| !fixed.contains(address)).cloned());
    list.send_if_modified(|now| {
        let differs = **now != all;
        if differs {
            *now = Arc::new(all);
        }
        differs
    });
}
