//! Ties an AJAX call to its request.

use std::rc::Rc;

use crate::shard::call::CallOrigin;
use crate::shard::state::Shard;

/// Cancels a call when its request is dropped before the result is available.
pub(super) struct CancelOnDrop {
    shard: Rc<Shard>,
    number: u64,
}

impl CancelOnDrop {
    /// Guards the call of the request with this number.
    pub(super) fn new(shard: &Rc<Shard>, number: u64) -> Self {
        Self { shard: Rc::clone(shard), number }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let is_own = |origin: &CallOrigin| matches!(origin, CallOrigin::Ajax(pending) if pending.number == self.number);
        let unsent = self.shard.relay.cancel(is_own);
        self.shard.metrics.in_flight(-(unsent as i64));
    }
}
