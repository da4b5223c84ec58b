//! The memory budget: above it nobody else comes in, and the slowest consumers go, one after the other, until there
//! is room. A gateway that dies takes all of its clients with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::quota::Quota;
use crate::reactor::{Command, ReactorHandle};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// New connections are taken again below this part of the budget.
const RELIEF: f64 = 0.95;

/// Four fifths of what this host or container has; `None` when the system does not say.
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

/// Resident memory of this process, in bytes; 0 when the system does not say.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Looks after the memory until the program ends.
pub async fn watch(threads: Vec<ReactorHandle>, quota: Arc<Quota>, metrics: Arc<Metrics>, most: Option<usize>) {
    let Some(most) = most.or_else(four_fifths) else { return };
    metrics.memory_max.set(most as i64);
    loop {
        let now = resident();
        metrics.memory.set(now as i64);
        if now > most {
            if !quota.shedding.swap(true, Ordering::Relaxed) {
                tracing::warn!(bytes = now, most, "memory is short: no new connections, and the slowest consumers go");
            }
            shed(&threads).await;
        } else if (now as f64) < most as f64 * RELIEF && quota.shedding.swap(false, Ordering::Relaxed) {
            tracing::info!(bytes = now, most, "there is memory again: new connections are taken");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends the slowest consumer of all threads.
async fn shed(threads: &[ReactorHandle]) {
    let mut slowest: Option<(usize, &ReactorHandle)> = None;
    for thread in threads {
        let (ask, answer) = oneshot::channel();
        // A thread that has ended has nobody to send away.
        if thread.commands.send(Command::Slowest(ask)).await.is_ok()
            && let Ok(bytes) = answer.await
            && bytes > slowest.map_or(0, |(most, _)| most)
        {
            slowest = Some((bytes, thread));
        }
    }
    if let Some((_, thread)) = slowest {
        let _ = thread.commands.send(Command::Shed).await;
    }
}
