//! The memory budget. Above it, the gateway refuses new connections and ends those that hold the most memory, the
//! largest and oldest first, until usage is below the budget. Otherwise the process would be killed, and all of its
//! clients with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diffyne_shared::memory::page_bytes;

use crate::metrics::Metrics;
use crate::quota::Quota;
use crate::shard::command::{Command, ShardHandle};
use crate::shard::departures::LargeConnection;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The fraction of the budget below which new connections are accepted again.
const RELIEF: f64 = 0.95;

/// Returns four fifths of the memory of this host or container, or `None` if the system does not report it.
fn four_fifths() -> Option<usize> {
    let number = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok();
    let container =
        number("/sys/fs/cgroup/memory.max").or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let host = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches(" kB").parse::<usize>().ok()?.checked_mul(1024)
    });
    let there = container.into_iter().chain(host).min()?;
    Some(there / 5 * 4)
}

/// Returns the resident memory of this process in bytes, or 0 if the system does not report it.
fn resident(page_bytes: usize) -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * page_bytes
}

/// Enforces the budget until the program ends.
pub async fn watch(threads: Vec<ShardHandle>, quota: Arc<Quota>, metrics: Arc<Metrics>, most: Option<usize>) {
    let Some(most) = most.or_else(four_fifths) else { return };
    let relief = (most as f64 * RELIEF) as usize;
    let page_bytes = page_bytes();
    metrics.memory_max.set(most as i64);
    loop {
        let now = resident(page_bytes);
        metrics.memory.set(now as i64);
        if now > most && !quota.shedding.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                bytes = now,
                most,
                "memory is short: new connections are refused, and the largest connections end"
            );
        }
        if quota.shedding.load(Ordering::Relaxed) {
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
