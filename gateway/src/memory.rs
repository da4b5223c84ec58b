//! The memory budget. Above it, the gateway refuses new connections and ends those that hold the most memory, the
//! largest and oldest first, until usage is below the budget. Otherwise the process would be killed, and all of its
//! clients with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diffyne_shared::memory::{MemorySource, page_bytes};

use crate::metrics::Metrics;
use crate::quota::Quota;
use crate::shard::command::{Command, ShardHandle};
use crate::shard::departures::LargeConnection;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The fraction of the budget below which new connections are accepted again.
const RELIEF: f64 = 0.95;

/// How often what the host still has is read.
const BUDGET_EVERY: u32 = 4;
/// The least that a gateway allows itself without a setting, in bytes.
const BUDGET_MIN: usize = 64 << 20;

/// The bytes that this gateway may use.
struct Budget {
    setting: Option<usize>,
    source: MemorySource,
}

impl Budget {
    /// Returns the budget of a gateway that uses so many bytes, or `None` if the system does not tell.
    ///
    /// Without a setting it is four fifths of what this gateway has and of what is left to it. So several gateways of a
    /// host share its memory, and one whose control group is limited keeps to that limit.
    fn bytes(&self, used: usize) -> Option<usize> {
        self.setting.or_else(|| {
            let left = usize::try_from(self.source.available()?).unwrap_or(usize::MAX);
            Some((used.saturating_add(left) / 5 * 4).max(BUDGET_MIN))
        })
    }
}

/// Returns the resident memory of this process in bytes, or 0 if the system does not report it.
fn resident(page_bytes: usize) -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * page_bytes
}

/// Enforces the budget until the program ends.
pub async fn watch(threads: Vec<ShardHandle>, quota: Arc<Quota>, metrics: Arc<Metrics>, setting: Option<usize>) {
    let budget = Budget { setting, source: MemorySource::of_this_process() };
    let page_bytes = page_bytes();
    let Some(mut most) = budget.bytes(resident(page_bytes)) else { return };
    for turn in (0..BUDGET_EVERY).cycle() {
        let now = resident(page_bytes);
        if turn == 0 {
            most = budget.bytes(now).unwrap_or(most);
        }
        metrics.memory.set(now as i64);
        metrics.memory_max.set(most as i64);
        if now > most && !quota.shedding.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                bytes = now,
                most,
                "memory is short (DIFFYNE_MEMORY_MAX): new connections are refused, and the largest connections end"
            );
        }
        if quota.shedding.load(Ordering::Relaxed) {
            let relief = (most as f64 * RELIEF) as usize;
            let is_over = now <= relief || (!shed(&threads, now - relief).await && now <= most);
            if is_over {
                quota.shedding.store(false, Ordering::Relaxed);
                tracing::info!(bytes = now, most, "memory is no longer short: new connections are taken");
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends the largest connections of all threads until this many bytes are free. Returns whether there was one to end.
async fn shed(threads: &[ShardHandle], bytes: usize) -> bool {
    let mut all: Vec<(LargeConnection, usize)> = Vec::new();
    for (thread, handle) in threads.iter().enumerate() {
        let largest = handle.ask(Command::Largest).await.unwrap_or_default();
        all.extend(largest.into_iter().map(|large| (large, thread)));
    }
    let chosen = choose(all, bytes);
    for (thread, handle) in threads.iter().enumerate() {
        let of_thread: Vec<LargeConnection> =
            chosen.iter().filter(|(_, at)| *at == thread).map(|(large, _)| *large).collect();
        if !of_thread.is_empty() {
            handle.send(Command::Shed(of_thread)).await;
        }
    }
    !chosen.is_empty()
}

/// Chooses the largest connections, and among equal ones the oldest, until they make up the bytes.
fn choose(mut all: Vec<(LargeConnection, usize)>, bytes: usize) -> Vec<(LargeConnection, usize)> {
    all.sort_unstable_by_key(|(large, _)| (std::cmp::Reverse(large.bytes), large.born));
    let mut free = 0;
    let needed = all.iter().take_while(|(large, _)| {
        let more = free < bytes;
        free += large.bytes;
        more
    });
    needed.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_and_oldest_are_chosen_and_no_more_than_needed() {
        let large = |bytes, born, key| (LargeConnection { bytes, born, key }, key % 2);
        let all = vec![large(10, 1, 0), large(50, 9, 1), large(50, 2, 2), large(20, 3, 3)];
        let keys = |bytes| choose(all.clone(), bytes).iter().map(|(large, _)| large.key).collect::<Vec<_>>();
        assert_eq!(keys(1), [2]);
        assert_eq!(keys(60), [2, 1]);
        assert_eq!(keys(1000), [2, 1, 3, 0]);
        assert_eq!(keys(0), Vec::<usize>::new());
    }
}
