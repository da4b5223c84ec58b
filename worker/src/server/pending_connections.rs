//! Connections that have not proved the token yet.
//!
//! Their number is bounded. Beyond it, the oldest is evicted, so that silent connections keep no gateway out. A gateway
//! needs only a moment for its proof.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The number of connections that may not have proved the token yet.
const PENDING_MAX: usize = 1024;

/// All pending connections, the oldest first.
#[derive(Default)]
pub(super) struct PendingConnections(Mutex<PendingQueue>);

#[derive(Default)]
struct PendingQueue {
    connections: VecDeque<(u64, CancellationToken)>,
    next_number: u64,
}

/// A connection that is pending until this is dropped.
pub(super) struct PendingConnection<'a> {
    all: &'a PendingConnections,
    number: u64,
    eviction: CancellationToken,
}

impl PendingConnections {
    fn lock(&self) -> MutexGuard<'_, PendingQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection, and evicts the oldest if there are too many.
    pub(super) fn add(&self) -> PendingConnection<'_> {
        let mut queue = self.lock();
        if queue.connections.len() >= PENDING_MAX
            && let Some((_, oldest)) = queue.connections.pop_front()
        {
            oldest.cancel();
        }
        let (number, eviction) = (queue.next_number, CancellationToken::new());
        queue.next_number += 1;
        queue.connections.push_back((number, eviction.clone()));
        PendingConnection { all: self, number, eviction }
    }
}

impl PendingConnection<'_> {
    /// Returns when the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.eviction.cancelled().await;
    }
}

impl Drop for PendingConnection<'_> {
    fn drop(&mut self) {
        self.all.lock().connections.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_evicts_the_oldest_silent_one() {
        let pending = PendingConnections::default();
        let silent: Vec<PendingConnection<'_>> = (0..PENDING_MAX).map(|_| pending.add()).collect();
        assert!(silent.iter().all(|connection| !connection.eviction.is_cancelled()));
        let gateway = pending.add();
        let is_evicted = |connection: &PendingConnection<'_>| connection.eviction.is_cancelled();
        assert!(is_evicted(&silent[0]) && !is_evicted(&silent[1]) && !is_evicted(&gateway));
        drop(gateway);
        let next = pending.add();
        assert!(!is_evicted(&silent[1]), "there was space for one more");
        drop((silent, next));
        assert!(pending.lock().connections.is_empty());
    }
}
