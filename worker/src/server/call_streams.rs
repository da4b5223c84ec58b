//! The calls of one gateway whose clients take parts of the answer.

use std::collections::HashMap;
use std::time::Duration;

use diffyne_shared::rpc::Call;
use tokio::sync::mpsc;

use crate::call::Parts;
use crate::call::parts::SentPart;

/// The calls that run or wait, and the parts that they have sent. What each may be ahead of its client bounds them.
pub(super) struct CallStreams {
    calls: HashMap<u64, Parts>,
    sink: mpsc::UnboundedSender<SentPart>,
    sent: mpsc::UnboundedReceiver<SentPart>,
}

impl Default for CallStreams {
    fn default() -> Self {
        let (sink, sent) = mpsc::unbounded_channel();
        Self { calls: HashMap::new(), sink, sent }
    }
}

impl CallStreams {
    /// Where the parts of a call go.
    pub(super) fn begin(&mut self, call: &Call<'_>) -> Parts {
        if call.stream_ms == 0 {
            return Parts::default();
        }
        let [budget, total] = [call.budget_ms, call.stream_ms].map(|ms| Duration::from_millis(ms.into()));
        let parts = Parts::new(call.id, self.sink.clone(), budget, total);
        self.calls.insert(call.id, parts.clone());
        parts
    }

    /// Waits for the next part.
    pub(super) async fn next(&mut self) -> SentPart {
        match self.sent.recv().await {
            Some(part) => part,
            // Never: one sender is here.
            None => std::future::pending().await,
        }
    }

    /// The next part that is there.
    pub(super) fn next_now(&mut self) -> Option<SentPart> {
        self.sent.try_recv().ok()
    }

    /// Notes that parts of a call have been sent to its client.
    pub(super) fn sent(&self, call: u64, bytes: u32) {
        if let Some(parts) = self.calls.get(&call) {
            parts.sent(bytes);
        }
    }

    /// Notes that the client of a call has left.
    pub(super) fn cancel(&self, call: u64) {
        if let Some(parts) = self.calls.get(&call) {
            parts.cancel();
        }
    }

    /// Notes that all clients have left.
    pub(super) fn cancel_all(&self) {
        self.calls.values().for_each(Parts::cancel);
    }

    /// Forgets a call that has ended.
    pub(super) fn end(&mut self, call: u64) {
        self.calls.remove(&call);
    }
}
