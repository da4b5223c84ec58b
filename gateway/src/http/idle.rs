//! HTTP connections that are no WebSocket. Their number on a thread is limited. At the limit, the oldest connection that
//! has been silent for a while makes room, so that silent connections do not keep others out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a connection may take to send its first request before it has to make room for others.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A connection, until its first request has arrived.
#[derive(Debug)]
pub(super) struct IdleConnection {
    opened: Instant,
    has_request: Cell<bool>,
    evict: Notify,
}

impl IdleConnection {
    fn new() -> Self {
        Self { opened: Instant::now(), has_request: Cell::new(false), evict: Notify::new() }
    }

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
#[derive(Debug)]
pub struct IdleConnections {
    silence_max: Duration,
    idle: RefCell<VecDeque<Weak<IdleConnection>>>,
    open: Cell<usize>,
    /// A slot was released.
    released: Notify,
}

impl Default for IdleConnections {
    fn default() -> Self {
        Self::new(SILENCE_MAX)
    }
}

/// A connection's slot on its thread. Dropping it releases the slot.
pub(super) struct ConnectionSlot {
    pub(super) connection: Rc<IdleConnection>,
    connections: Rc<IdleConnections>,
}

impl IdleConnections {
    fn new(silence_max: Duration) -> Self {
        Self { silence_max, idle: RefCell::default(), open: Cell::new(0), released: Notify::new() }
    }

    /// Opens a slot for a new connection, as soon as fewer than `most` are in use or the oldest silent one makes room.
    pub(super) async fn open(self: &Rc<Self>, most: usize) -> ConnectionSlot {
        while self.open.get() >= most && !self.evict_oldest() {
            let silence = self.oldest().map_or(Duration::ZERO, |oldest| oldest.opened.elapsed());
            tokio::select! {
                () = self.released.notified() => {}
                () = tokio::time::sleep(self.silence_max.saturating_sub(silence)) => {}
            }
        }
        let connection = Rc::new(IdleConnection::new());
        // Those at the front that have sent a request, or have gone, are forgotten.
        self.oldest();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= most.saturating_mul(2) {
            idle.retain(|weak| weak.upgrade().is_some_and(|one| !one.has_request.get()));
        }
        idle.push_back(Rc::downgrade(&connection));
        self.open.set(self.open.get() + 1);
        ConnectionSlot { connection, connections: Rc::clone(self) }
    }

    /// Returns the oldest connection without a request.
    fn oldest(&self) -> Option<Rc<IdleConnection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(oldest) = idle.front() {
            if let Some(connection) = oldest.upgrade().filter(|connection| !connection.has_request.get()) {
                return Some(connection);
            }
            idle.pop_front();
        }
        *idle = VecDeque::new();
        None
    }

    /// Evicts the oldest connection without a request, if it has had its time.
    fn evict_oldest(&self) -> bool {
        let Some(oldest) = self.oldest().filter(|oldest| oldest.opened.elapsed() >= self.silence_max) else {
            return false;
        };
        self.idle.borrow_mut().pop_front();
        oldest.evict.notify_one();
        true
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.open.set(self.connections.open.get().saturating_sub(1));
        self.connection.set_active();
        // After a storm, those that have gone are not kept until the next one comes.
        self.connections.oldest();
        self.connections.released.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn open(connections: &Rc<IdleConnections>) -> Option<ConnectionSlot> {
        connections.open(2).now_or_never()
    }

    #[tokio::test]
    async fn connections_that_have_gone_are_forgotten_whether_they_were_silent_or_not() {
        let connections = Rc::<IdleConnections>::default();
        let (first, second) = (open(&connections).unwrap(), open(&connections).unwrap());
        first.connection.set_active();
        drop(first);
        drop(second);
        let idle = connections.idle.borrow();
        assert_eq!((connections.open.get(), idle.len(), idle.capacity()), (0, 0, 0));
    }

    #[tokio::test]
    async fn the_oldest_connection_without_a_request_is_evicted() {
        let connections = Rc::new(IdleConnections::new(Duration::ZERO));
        let (first, second) = (open(&connections).unwrap(), open(&connections).unwrap());
        first.connection.set_active();
        let third = open(&connections).unwrap();
        assert!(first.connection.evicted().now_or_never().is_none(), "it has a request under way");
        assert!(second.connection.evicted().now_or_never().is_some());
        drop(second);
        third.connection.set_active();
        assert!(open(&connections).is_none(), "all have a request under way");
        drop(first);
        assert!(open(&connections).is_some());
    }

    #[tokio::test]
    async fn a_connection_that_has_just_come_is_not_evicted() {
        let connections = Rc::new(IdleConnections::new(Duration::from_hours(1)));
        let (first, second) = (open(&connections).unwrap(), open(&connections).unwrap());
        assert!(open(&connections).is_none());
        let waiting = connections.open(2);
        drop(second);
        waiting.await;
        assert!(first.connection.evicted().now_or_never().is_none());
    }

    #[tokio::test]
    async fn closed_connections_are_forgotten() {
        let connections = Rc::new(IdleConnections::default());
        for _ in 0..1000 {
            let slot = open(&connections).unwrap();
            slot.connection.set_active();
        }
        assert!(connections.idle.borrow().len() <= 1);
        assert_eq!(connections.open.get(), 0);
    }
}
