//! Ends connections: by the heartbeat, by draining at a stop, and by shedding when memory is short.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::hub::{FAN_OUT_TURN, Hub};
use crate::connection::{Connection, LivenessAction, Phase};
use crate::protocol;
use crate::socket::{Close, frame};

/// How long a client has to end its side of a closed connection, in seconds.
const CLOSE_SECONDS: u32 = 3;

/// Connections that the heartbeat looks at in a row before other tasks get their turn.
const LOOK_TURN: usize = 1024;
/// Connections that hold fewer bytes are not shed: ending them would not free enough memory.
const SHED_BYTES_MIN: usize = 64 * 1024;
/// The number of connections that one thread offers for shedding at once.
const LARGEST_MAX: usize = 256;
/// How long a disconnected client has to leave by itself.
pub const LEAVE_GRACE: Duration = Duration::from_millis(500);

/// Whether and when a disconnected client reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectPolicy {
    /// The client does not reconnect by itself.
    Never,
    /// The client reconnects after this many milliseconds.
    AfterMs(u64),
}

/// A connection that holds much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeConnection {
    /// The bytes held for the connection.
    pub bytes: usize,
    /// The hub's second of the handshake.
    pub born: u32,
    /// The connection's key in the hub.
    pub key: usize,
}

impl Hub {
    /// Runs once a second: pings silent connections, and ends those that are dead, stuck, idle or too old; in turns with
    /// everything else on this thread.
    pub async fn heartbeat(&self) {
        let now = self.second.get() + 1;
        self.second.set(now);
        let mut next = 0;
        while let Some(after) = self.heartbeat_turn(next, now) {
            next = after;
            tokio::task::yield_now().await;
        }
    }

    /// Checks connections from a key on, until this is enough for one turn. Returns the key to go on with.
    fn heartbeat_turn(&self, first: usize, now: u32) -> Option<usize> {
        let (mut key, mut due) = (first, Vec::new());
        let connections = self.connections.borrow();
        let end = connections.capacity();
        while key < end && key - first < LOOK_TURN && due.len() < FAN_OUT_TURN {
            if let Some(connection) = connections.get(key) {
                let action = connection.check_liveness(now, self.ping_seconds, CLOSE_SECONDS);
                if action != LivenessAction::Fine {
                    due.push((Rc::clone(connection), action));
                }
            }
            key += 1;
        }
        drop(connections);
        for (connection, action) in &due {
            self.act(connection, *action);
        }
        self.flush();
        (key < end).then_some(key)
    }

    fn act(&self, connection: &Rc<Connection>, action: LivenessAction) {
        match action {
            LivenessAction::Fine => {}
            LivenessAction::Ping => self.push_at(connection, frame::ping(), self.place_of(connection).as_ref()),
            LivenessAction::Dead => {
                self.metrics.dead_peers.inc();
                self.metrics.close(1006);
                tracing::debug!(client = connection.caller.id(), "dropped: no answer to a ping");
                connection.abort();
            }
            LivenessAction::Overdue => connection.abort(),
            LivenessAction::Stuck => connection.give_up(&Close::SLOW_CONSUMER, &self.metrics),
            LivenessAction::Unfinished => {
                self.metrics.limited.with_label_values(&["message_time"]).inc();
                self.close(connection, &Close::UNFINISHED);
            }
            LivenessAction::Idle => {
                self.send_disconnect(connection, "idle", ReconnectPolicy::Never);
                self.close(connection, &Close::IDLE);
            }
            LivenessAction::Old => {
                self.send_disconnect(connection, "age", ReconnectPolicy::AfterMs(0));
                connection.drain();
                self.close_if_drained(connection);
            }
        }
    }

    /// Closes a connection for this reason.
    pub fn close(&self, connection: &Rc<Connection>, reason: &Close) {
        connection.close(reason, &self.metrics, self.now());
    }

    /// Tells a client that its connection ends, and whether to reconnect.
    pub fn send_disconnect(&self, connection: &Rc<Connection>, reason: &str, policy: ReconnectPolicy) {
        let after_ms = match policy {
            ReconnectPolicy::Never => None,
            ReconnectPolicy::AfterMs(ms) => Some(ms),
        };
        self.push(connection, protocol::disconnect(reason, after_ms));
    }

    /// Disconnects all clients at a stop, this many per second, and tells each one when to reconnect elsewhere.
    ///
    /// A client continues to work until it is disconnected. Then the page's script leaves by itself, between two calls.
    /// The connection of a client that stays is closed as soon as it has no running call, and none of which more is to come. Returns when all clients were
    /// told.
    pub async fn drain(&self, per_second: f64) {
        let (started, all) = (Instant::now(), self.all());
        let due = |index: usize| Duration::from_secs_f64(index as f64 / per_second);
        for turn in all.iter().enumerate().collect::<Vec<_>>().chunks(FAN_OUT_TURN) {
            for (index, connection) in turn {
                let ms = u64::try_from(due(*index).as_millis()).unwrap_or(u64::MAX);
                self.send_disconnect(connection, "the server stops", ReconnectPolicy::AfterMs(ms));
            }
            self.flush();
            tokio::task::yield_now().await;
        }
        for (index, connection) in all.iter().enumerate() {
            if let Some(wait) = (due(index) + LEAVE_GRACE).checked_sub(started.elapsed()) {
                tokio::time::sleep(wait).await;
            }
            connection.drain();
            self.close_if_drained(connection);
        }
    }

    /// Returns the connections that hold the most memory: the largest first, and among equal ones the oldest.
    pub fn largest(&self) -> Vec<LargeConnection> {
        let connections = self.connections.borrow();
        let all = connections.iter().filter(|(_, connection)| connection.takes_messages());
        let large =
            all.map(|(key, connection)| LargeConnection { bytes: connection.held(), born: connection.born(), key });
        let mut large: Vec<LargeConnection> = large.filter(|large| large.bytes >= SHED_BYTES_MIN).collect();
        large.sort_unstable_by_key(|large| (std::cmp::Reverse(large.bytes), large.born));
        large.truncate(LARGEST_MAX);
        large
    }

    /// Ends these connections because memory is short, unless they have released it meanwhile.
    pub fn shed(&self, chosen: &[LargeConnection]) {
        for large in chosen {
            let connection = self.connections.borrow().get(large.key).cloned();
            let still =
                connection.filter(|connection| connection.born() == large.born && connection.held() >= SHED_BYTES_MIN);
            if let Some(connection) = still {
                self.metrics.shed.inc();
                connection.give_up(&Close::SHEDDING, &self.metrics);
            }
        }
    }

    /// Removes what is left of connections whose clients did not answer the close frame of a gateway that stops.
    pub fn abandon(&self) {
        for connection in self.all() {
            self.remove(&connection);
        }
    }

    /// Closes a draining connection that has no running call.
    pub fn close_if_drained(&self, connection: &Rc<Connection>) {
        if !connection.component_queues.borrow().is_empty() || self.open_calls.count(connection) > 0 {
            return;
        }
        if connection.phase() == Phase::Draining {
            self.close(connection, &Close::GOING_AWAY);
        }
    }
}
