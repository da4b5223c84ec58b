//! Which worker a component has, and when its calls go elsewhere.
//!
//! The worker that answered a component's last call may still hold the tree that its page shows, so that the next call
//! is cheaper there. Nobody remembers which one that was: each component ranks the workers by a hash (rendezvous
//! hashing), so all threads of all gateways send it to the same one. A worker that leaves gives up its own components
//! and no others; one that joins takes its share.

use super::component_key::ComponentKey;
use super::upstream::Upstream;

/// How much more of its capacity a component's worker may use than another one, and still get the call.
const AHEAD: f64 = 1.0 / 4.0;
/// The same in calls. Workers with components in Rust have a capacity of hundreds, which says little of their cores.
const AHEAD_CALLS: std::ops::RangeInclusive<f64> = 1.0..=16.0;
/// Utilizations beyond which a call waits in its worker. A worker's capacity is what it runs at once, or twice as much:
/// a PHP process has one call that runs and one that is next.
const WAITS_BEYOND: [f64; 2] = [0.5, 1.0];
/// How many times as slow as another a worker may be, and still get the calls of its components.
const SLOWER: f64 = 2.0;

/// The rank of a worker for a component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rank {
    hash: u64,
    capacity: u32,
}

impl Rank {
    pub(super) fn of(component: ComponentKey, worker: &Upstream) -> Self {
        Self { hash: component.with_worker(worker.identity), capacity: worker.capacity() }
    }

    /// Whether this worker ranks higher than another. A worker ranks first for a share of the components that is in
    /// proportion to its capacity.
    pub(super) fn is_above(self, other: Self) -> bool {
        if self.capacity == other.capacity {
            return self.hash > other.hash;
        }
        self.distance() < other.distance()
    }

    /// A number that is distributed exponentially, with the capacity as its rate.
    fn distance(self) -> f64 {
        let uniform = ((self.hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -uniform.ln() / f64::from(self.capacity)
    }
}

/// Whether a component's worker gets its call, when `other` is the one that would get it without a preference.
pub(super) fn is_kept(preferred: &Upstream, other: &Upstream) -> bool {
    let (own, best) = (preferred.utilization(), other.utilization());
    let waits = WAITS_BEYOND.iter().any(|limit| own > *limit && best <= *limit);
    let capacity = f64::from(preferred.capacity());
    let ahead = (AHEAD * capacity).clamp(*AHEAD_CALLS.start(), *AHEAD_CALLS.end()) / capacity;
    !waits && own <= best + ahead && preferred.slowness.get() <= SLOWER * other.slowness.get()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
