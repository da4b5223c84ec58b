//! Writes the outbox of a connection, and ends clients that read too slowly. Beyond its limits, a connection is closed
//! without a close frame, because the frame would not arrive.

use std::net::Shutdown;
use std::rc::Rc;

use bytes::Bytes;

use super::transport::ClientTransport;
use super::{Connection, Phase};
use crate::socket::{Close, FlushResult};
use crate::thread_metrics::ShardMetrics;

impl Connection {
    /// Queues a frame for the next flush. Returns whether the caller has to list this connection for that flush.
    pub fn push(&self, frame: Bytes, metrics: &Rc<ShardMetrics>) -> bool {
        if !self.takes_messages() || frame.is_empty() {
            return false;
        }
        let mut outbox = self.outbox.borrow_mut();
        outbox.push(frame);
        let limits = &self.terms.limits;
        let held = outbox.bytes() + self.held_beside_outbox();
        // While the client reads, the outbox may be about to empty, so the limit applies only when a write is blocked.
        let holds_too_much = self.flushing.get() && held > limits.held_bytes_max;
        if outbox.bytes() > limits.outbox_bytes_max || holds_too_much {
            drop(outbox);
            self.give_up(&Close::SLOW_CONSUMER, metrics);
            return false;
        }
        metrics.messages_out.inc();
        !self.flushing.get() && !self.dirty.replace(true)
    }

    /// Ends a connection whose client does not read. Its receive window is full, so no close frame would arrive.
    pub fn give_up(&self, why: &Close, metrics: &ShardMetrics) {
        let held = self.held();
        self.outbox.borrow_mut().clear();
        if *why == Close::SLOW_CONSUMER {
            metrics.slow_consumers.inc();
        }
        metrics.close(why.code);
        tracing::info!(client = self.caller.id(), held, %why.reason, "closed a connection without a close frame: the client does not read, or memory is short");
        self.abort();
    }

    /// Whether the connection holds more memory than it may.
    pub fn holds_too_much(&self) -> bool {
        self.held() > self.terms.limits.held_bytes_max
    }

    /// Writes the outbox. If the client has to read first, a separate task continues.
    pub fn flush(self: &Rc<Self>, metrics: &Rc<ShardMetrics>, now: u32) {
        self.dirty.set(false);
        if self.flushing.get() || self.waits_for_news.get() {
            return;
        }
        // A poll is answered with what there is; its client comes again for the rest.
        if matches!(self.transport, ClientTransport::Poll(_)) && self.takes_messages() {
            self.phase.set(Phase::Closing);
            self.closing_since.set(now);
        }
        match self.flush_once(metrics) {
            Ok(FlushResult::All) => self.written(),
            Ok(FlushResult::Blocked) => {
                if self.holds_too_much() {
                    return self.give_up(&Close::SLOW_CONSUMER, metrics);
                }
                self.flushing.set(true);
                self.progress.set(now);
                let (connection, metrics) = (Rc::clone(self), Rc::clone(metrics));
                tokio::task::spawn_local(async move { connection.flush_slowly(&metrics).await });
            }
            Err(_broken) => self.abort(),
        }
    }

    fn flush_once(&self, metrics: &ShardMetrics) -> std::io::Result<FlushResult> {
        let mut outbox = self.outbox.borrow_mut();
        let before = outbox.bytes();
        let flushed = outbox.flush(&self.io);
        let written = before - outbox.bytes();
        metrics.bytes_out.inc_by(written as u64);
        self.sent.set(self.sent.get() + written as u64);
        if written > 0 {
            self.progress.set(self.progress.get().max(self.seen.get()));
        }
        flushed
    }

    async fn flush_slowly(self: Rc<Self>, metrics: &ShardMetrics) {
        loop {
            if self.phase.get() == Phase::Gone || self.io.writable().await.is_err() {
                break;
            }
            match self.flush_once(metrics) {
                Ok(FlushResult::All) => {
                    self.flushing.set(false);
                    self.written();
                    return;
                }
                Ok(FlushResult::Blocked) => {}
                Err(_broken) => break,
            }
        }
        self.flushing.set(false);
        self.abort();
    }

    /// Handles an empty outbox: a closing connection ends its direction.
    fn written(&self) {
        if self.phase.get() == Phase::Closing {
            self.closing_since.set(self.closing_since.get().max(self.seen.get()));
            self.io.shutdown(Shutdown::Write);
        }
    }
}
