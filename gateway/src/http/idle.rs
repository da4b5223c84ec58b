//! HTTP connections that have not sent a request yet. A thread that is at its limit closes the oldest of them, so that
//! silent connections do not keep others out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

/// A connection, until its first request has arrived.
#[derive(Debug, Default)]
pub(super) struct IdleConnection {
    has_request: Cell<bool>,
    evict: Notify,
}

impl IdleConnection {
    /// Notes that a request has arrived.
    pub(super) fn set_active(&self) {
        self.has_request.set(true);
    }

    /// Returns when the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

/// The HTTP connections of one thread, with a list of those without a request, oldest first.
#[derive(Debug, Default)]
pub struct IdleConnections {
    idle: RefCell<VecDeque<Weak<IdleConnection>>>,
    open: Cell<usize>,
}

/// A connection's slot on its thread. Dropping it releases the slot.
pub(super) struct ConnectionSlot {
    pub(super) connection: Rc<IdleConnection>,
    connections: Rc<IdleConnections>,
}

impl IdleConnections {
    /// Opens a slot for a new connection, with at most `most` slots. Returns `None` if all other connections have a
    /// request in progress.
    pub(super) fn open(self: &Rc<Self>, most: usize) -> Option<ConnectionSlot> {
        if self.open.get() >= most && !self.evict_oldest() {
            return None;
        }
        let connection = Rc::new(IdleConnection::default());
        let mut idle = self.idle.borrow_mut();
        let is_idle = |weak: &Weak<IdleConnection>| weak.upgrade().is_some_and(|one| !one.has_request.get());
        while idle.front().is_some_and(|oldest| !is_idle(oldest)) {
            idle.pop_front();
        }
        if idle.len() >= most.saturating_mul(2) {
            idle.retain(is_idle);
        }
        idle.push_back(Rc::downgrade(&connection));
        self.open.set(self.open.get() + 1);
        Some(ConnectionSlot { connection, connections: Rc::clone(self) })
    }

    fn evict_oldest(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        while let Some(oldest) = idle.pop_front() {
            if let Some(connection) = oldest.upgrade().filter(|connection| !connection.has_request.get()) {
                connection.evict.notify_one();
                return true;
            }
        }
        false
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.open.set(self.connections.open.get().saturating_sub(1));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_oldest_connection_without_a_request_is_evicted() {
        let connections = Rc::new(IdleConnections::default());
        let (first, second) = (connections.open(2).unwrap(), connections.open(2).unwrap());
        first.connection.set_active();
        let third = connections.open(2).unwrap();
        assert!(first.connection.evicted().now_or_never().is_none(), "it has a request under way");
        assert!(second.connection.evicted().now_or_never().is_some());
        drop(second);
        third.connection.set_active();
        assert!(connections.open(2).is_none(), "all have a request under way");
        drop(first);
        assert!(connections.open(2).is_some());
    }

    #[test]
    fn closed_connections_are_forgotten() {
        let connections = Rc::new(IdleConnections::default());
        for _ in 0..1000 {
            let slot = connections.open(10).unwrap();
            slot.connection.set_active();
        }
        assert!(connections.idle.borrow().len() <= 1);
        assert_eq!(connections.open.get(), 0);
    }
}
