//! Which tasks of the bus reach Redis.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Whether each task of the bus reaches Redis.
#[derive(Debug)]
pub(super) struct RedisHealth {
    pub(super) publisher: AtomicBool,
    pub(super) subscriber: AtomicBool,
    pub(super) heartbeat: AtomicBool,
}

impl RedisHealth {
    /// The state at the start: the publisher has nothing to send yet, so nothing is wrong with it.
    pub(super) fn new() -> Self {
        Self { publisher: AtomicBool::new(true), subscriber: AtomicBool::new(false), heartbeat: AtomicBool::new(false) }
    }

    /// Whether all tasks reach Redis.
    pub(super) fn is_up(&self) -> bool {
        self.publisher.load(Relaxed) && self.subscriber.load(Relaxed) && self.heartbeat.load(Relaxed)
    }
}
