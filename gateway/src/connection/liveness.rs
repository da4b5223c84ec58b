//! Decides, once a second, what the heartbeat does with a connection.

use super::transport::ClientTransport;
use super::{Connection, Phase};

/// The most seconds that a poll takes from its beginning to the end of its answer.
const POLL_LIFE_SECONDS: u32 = 300;

/// The action of the heartbeat for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessAction {
    /// Do nothing.
    Fine,
    /// Send a ping.
    Ping,
    /// The client did not answer the ping.
    Dead,
    /// The client does not end its side of a closed connection.
    Overdue,
    /// The client reads nothing of its outbox.
    Stuck,
    /// The client does not finish a message.
    Unfinished,
    /// The client sends no messages and has no subscriptions.
    Idle,
    /// The connection has reached its maximum age.
    Old,
}

impl Connection {
    /// Returns what the heartbeat has to do with this connection in this second.
    pub fn check_liveness(&self, now: u32, ping_seconds: u32, close_seconds: u32) -> LivenessAction {
        self.seen.set(now);
        let limits = &self.terms.limits;
        let is_over = |limit: u32, since: u32| limit > 0 && now.saturating_sub(since) >= limit;
        match self.phase.get() {
            Phase::Open | Phase::Draining
                if self.flushing.get() && is_over(limits.outbox_seconds, self.progress.get()) =>
            {
                LivenessAction::Stuck
            }
            Phase::Open | Phase::Draining
                if self
                    .unfinished_since
                    .get()
                    .is_some_and(|after| is_over(limits.message_seconds, after.get() - 1)) =>
            {
                LivenessAction::Unfinished
            }
            Phase::Open if is_over(self.terms.age_seconds, self.born) => LivenessAction::Old,
            // A client that only hears sends its messages another way.
            Phase::Open
                if is_over(limits.idle_seconds, self.acted.get()) && self.is_idle() && !self.transport.is_one_way() =>
            {
                LivenessAction::Idle
            }
            // The answer of a poll may be long; the connection ends behind it.
            Phase::Closing if matches!(self.transport, ClientTransport::Poll(_)) && self.flushing.get() => {
                if is_over(limits.outbox_seconds, self.progress.get()) || is_over(POLL_LIFE_SECONDS, self.born) {
                    LivenessAction::Stuck
                } else {
                    LivenessAction::Fine
                }
            }
            Phase::Closing if now.saturating_sub(self.closing_since.get()) >= close_seconds => LivenessAction::Overdue,
            Phase::Open | Phase::Draining if self.transport.is_one_way() => self.check_heartbeat(now, ping_seconds),
            Phase::Open | Phase::Draining => {
                let silence = now.saturating_sub(self.heard.get());
                if silence >= 2 * ping_seconds {
                    LivenessAction::Dead
                } else if silence >= ping_seconds && !self.pinged.replace(true) {
                    LivenessAction::Ping
                } else {
                    LivenessAction::Fine
                }
            }
            _ => LivenessAction::Fine,
        }
    }

    /// A client that only hears does not answer. Whether it is there, its system has to say.
    fn check_heartbeat(&self, now: u32, ping_seconds: u32) -> LivenessAction {
        let (since, limit) = match self.transport {
            ClientTransport::Poll(seconds) => (self.born, u32::from(seconds)),
            _ => (self.heard.get(), ping_seconds),
        };
        if now.saturating_sub(since) < limit {
            return LivenessAction::Fine;
        }
        self.heard.set(now);
        LivenessAction::Ping
    }

    /// Whether the connection has neither calls nor subscriptions, and is in no room.
    fn is_idle(&self) -> bool {
        let hears = !self.subscriptions.borrow().is_empty() || !self.rooms.is_empty();
        !hears && self.component_queues.borrow().is_empty() && self.requests.is_empty()
    }
}
