//! The connections of one thread: who is there, who hears what, and who has to be asked whether they live.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::bus::Position;
use serde_json::Value;
use slab::Slab;

use crate::connection::account::Held;
use crate::connection::{Connection, Phase, Pulse};
use crate::history::{History, HistoryLimits};
use crate::metrics::ThreadMetrics;
use crate::socket::{Close, frame};
use crate::subscribers::{Added, Subscribers, filter_bytes};

pub use crate::subscribers::Filter;

/// Connections that a fan-out serves before others get their turn.
const FAN_OUT_TURN: usize = 32;
/// Seconds that a closed connection has to end its side.
const CLOSE_SECONDS: u32 = 3;

/// Ending a connection for which less is held would free no memory worth having.
const SHED_BYTES_MIN: usize = 64 * 1024;
/// Connections that one thread names when memory is short.
const LARGEST_MAX: usize = 256;
/// What a subscription takes beside its filters, in bytes.
const SUBSCRIPTION_BYTES: usize = 256;
/// Broadcasts of the past that a replay looks at before others get their turn,
const REPLAY_SLICE: usize = 256;
/// and filters that it compares them with,
const REPLAY_FILTERS_SLICE: usize = 2048;
/// and bytes that it sends.
const REPLAY_BYTES_SLICE: usize = 256 * 1024;

/// A client that was sent away has this long to leave by itself.
pub const LEAVE_GRACE: Duration = Duration::from_millis(500);

/// Whether and when a client that is sent away comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comeback {
    /// Not by itself.
    Never,
    /// After so many milliseconds.
    AfterMs(u64),
}

/// Orders subscriptions and local deliveries across threads, so that a broadcast that was delivered while Redis was
/// away is not delivered again to those who had it.
#[derive(Debug, Default, Clone)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// The next moment; no two are equal.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Which subscriptions a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    All,
    /// Those who had subscribed before a moment.
    Before(u64),
    /// Those who subscribed after a moment: the others have it.
    After(u64),
}

/// A broadcast ready to be handed out: one frame for all.
#[derive(Debug)]
pub struct Delivery {
    /// Event name.
    pub name: String,
    /// The whole WebSocket frame.
    pub frame: Bytes,
    /// The first parameter, which `match` looks at.
    pub first: Option<Value>,
    /// The client that has it already.
    pub except: Option<String>,
    /// For whom.
    pub audience: Audience,
    /// Its place in the history, if it has one.
    pub position: Option<Position>,
}

/// Why a connection may hear no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It has as many subscriptions as it may.
    Number,
    /// They would take more memory than it may hold.
    Bytes,
}

/// What a replay finds.
#[derive(Debug)]
pub enum Missed {
    /// The history does not reach back to the place, or is another one.
    Unknown,
    /// As much as may be looked at before others get their turn.
    Part(MissedPart),
}

/// A part of what was missed.
#[derive(Debug)]
pub struct MissedPart {
    /// What the client is sent.
    pub frames: Vec<Bytes>,
    /// Filters that were looked at to tell.
    pub filters: usize,
    /// Up to here it was looked at.
    pub place: Position,
    /// Nothing comes behind it now.
    pub is_last: bool,
}

/// A connection for which much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Large {
    /// How much.
    pub bytes: usize,
    /// The hub's second of its handshake.
    pub born: u32,
    /// Its place in its hub.
    pub key: usize,
}

/// One thread's connections.
pub struct Hub {
    connections: RefCell<Slab<Rc<Connection>>>,
    listeners: RefCell<HashMap<Rc<str>, Subscribers>>,
    dirty: RefCell<Vec<Rc<Connection>>>,
    history: RefCell<History>,
    clock: Clock,
    second: Cell<u32>,
    ping_seconds: u32,
    metrics: Rc<ThreadMetrics>,
}

impl Hub {
    /// An empty hub.
    pub fn new(clock: Clock, limits: HistoryLimits, ping_seconds: u32, metrics: Rc<ThreadMetrics>) -> Self {
        Self {
            history: RefCell::new(History::new(limits)),
            connections: RefCell::default(),
            listeners: RefCell::default(),
            dirty: RefCell::default(),
            clock,
            second: Cell::new(0),
            ping_seconds,
            metrics,
        }
    }

    /// Seconds since this hub began, as the heartbeat counts them.
    pub fn now(&self) -> u32 {
        self.second.get()
    }

    /// Takes a connection in.
    pub fn insert(&self, connection: &Rc<Connection>) {
        let key = self.connections.borrow_mut().insert(Rc::clone(connection));
        connection.key.set(key);
    }

    /// Lets a connection go, with its subscriptions.
    pub fn remove(&self, connection: &Rc<Connection>) {
        connection.gone();
        let key = connection.key.replace(usize::MAX);
        let mut connections = self.connections.borrow_mut();
        if connections.get(key).is_some_and(|other| Rc::ptr_eq(other, connection)) {
            connections.remove(key);
            if connections.is_empty() {
                *connections = Slab::new();
            }
            for name in connection.subscriptions.take() {
                self.forget(&name, key, None);
            }
        }
    }

    /// Takes back what a connection hears of an event: one filter of it, or all; whether that was the last.
    fn forget(&self, name: &str, key: usize, filter: Option<&Filter>) -> (usize, bool) {
        let mut listeners = self.listeners.borrow_mut();
        let Some(of_event) = listeners.get_mut(name) else { return (0, false) };
        let gone = of_event.remove(key, filter);
        if of_event.is_empty() {
            listeners.remove(name);
        }
        gone
    }

    /// Connections of this thread.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every connection, now.
    pub fn all(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect()
    }

    /// Adds what a connection wants to hear. An event name has at most `most` filters, and a connection as many names.
    pub fn subscribe(&self, connection: &Connection, name: &str, filter: &Filter, most: usize) -> Result<(), Excess> {
        let key = connection.key.get();
        let mut names = connection.subscriptions.borrow_mut();
        let mut listeners = self.listeners.borrow_mut();
        let is_new = !names.iter().any(|known| **known == *name);
        if is_new && names.len() >= most {
            return Err(Excess::Number);
        }
        let bytes = filter_bytes(filter) + if is_new { SUBSCRIPTION_BYTES + name.len() } else { 0 };
        if !connection.has_room_for(bytes) {
            return Err(Excess::Bytes);
        }
        let known = listeners.get_key_value(name).map(|(known, _)| Rc::clone(known));
        let name = known.unwrap_or_else(|| Rc::from(name));
        match listeners.entry(Rc::clone(&name)).or_default().add(key, filter, most, || self.clock.tick()) {
            Added::Full => return Err(Excess::Number),
            Added::Known => return Ok(()),
            Added::New => {}
        }
        connection.account.hold(Held::Subscriptions, bytes);
        if is_new {
            names.push(name);
        }
        Ok(())
    }

    /// Takes back what a connection wanted to hear; without a filter, all of that event.
    pub fn unsubscribe(&self, connection: &Connection, name: &str, filter: &Filter) {
        let (bytes, was_last) = self.forget(name, connection.key.get(), Some(filter));
        connection.account.release(Held::Subscriptions, bytes);
        if was_last {
            connection.account.release(Held::Subscriptions, SUBSCRIPTION_BYTES + name.len());
            connection.subscriptions.borrow_mut().retain(|known| &**known != name);
        }
    }

    /// Connections that hear something.
    pub fn subscribed(&self) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        let listening = connections.iter().filter(|(_, connection)| !connection.subscriptions.borrow().is_empty());
        listening.map(|(_, connection)| Rc::clone(connection)).collect()
    }

    /// Queues a frame for a connection; it leaves with the next [`Hub::flush`].
    pub fn push(&self, connection: &Rc<Connection>, frame: Bytes) {
        if connection.push(frame, &self.metrics) {
            self.dirty.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// Writes what was queued.
    pub fn flush(&self) {
        let (mut dirty, now) = (self.dirty.take(), self.now());
        for connection in dirty.drain(..) {
            connection.flush(&self.metrics, now);
        }
        let mut now = self.dirty.borrow_mut();
        if now.is_empty() && dirty.capacity() <= 1024 {
            *now = dirty;
        }
    }

    /// Up to where this thread has delivered.
    pub fn position(&self) -> Option<Position> {
        self.history.borrow().position().cloned()
    }

    /// Begins at a place in the history, with what came before it.
    pub fn start_history(&self, position: Position, before: &[Arc<Delivery>]) {
        self.history.borrow_mut().start(position, before);
    }

    /// A connection has everything up to a place that this thread has not reached yet.
    pub fn set_floor(&self, connection: &Connection, place: &Position) {
        let mut listeners = self.listeners.borrow_mut();
        for name in connection.subscriptions.borrow().iter() {
            if let Some(of_event) = listeners.get_mut(name) {
                of_event.set_floor(connection.key.get(), place);
            }
        }
    }

    /// The next part of what a connection has missed since a place, as far as it hears it now.
    pub fn missed(&self, connection: &Connection, place: &Position) -> Missed {
        let mut history = self.history.borrow_mut();
        let listeners = self.listeners.borrow();
        let Some(since) = history.since(place) else { return Missed::Unknown };
        let mut part = MissedPart { frames: Vec::new(), filters: 0, place: place.clone(), is_last: true };
        let mut bytes = 0;
        for (looked_at, delivery) in since.enumerate() {
            if looked_at >= REPLAY_SLICE || part.filters >= REPLAY_FILTERS_SLICE || bytes >= REPLAY_BYTES_SLICE {
                part.is_last = false;
                break;
            }
            if let Some(of_event) = listeners.get(delivery.name.as_str()) {
                let (hears, filters) = of_event.missed(connection.key.get(), delivery);
                part.filters += filters;
                if hears {
                    bytes += delivery.frame.len();
                    part.frames.push(delivery.frame.clone());
                }
            }
            if let Some(here) = &delivery.position {
                part.place.offset = here.offset;
            }
        }
        Missed::Part(part)
    }

    /// Hands a broadcast to all who want it, in turns with everything else on this thread. Whoever subscribes from
    /// now on finds it in the history.
    pub async fn fan_out(&self, delivery: &Arc<Delivery>) {
        let started = Instant::now();
        self.history.borrow_mut().push(delivery);
        let moment = self.clock.tick();
        let keys = self.listeners.borrow().get(delivery.name.as_str()).map(|of_event| of_event.wanting(delivery));
        let Some(keys) = keys else { return };
        let mut delivered = 0;
        let mut others_had_their_turn = false;
        for turn in keys.chunks(FAN_OUT_TURN) {
            for key in turn {
                let connection = self.connections.borrow().get(*key).cloned();
                let Some(connection) = connection else { continue };
                // The place may have another tenant by now.
                if others_had_their_turn && !self.still_wants(*key, delivery, moment) {
                    continue;
                }
                if delivery.except.as_ref() == Some(&connection.caller.id) {
                    continue;
                }
                // Its replay has not come as far as this: it will find it in the history.
                if delivery.position.is_some() && connection.replaying.get() {
                    continue;
                }
                if connection.push(delivery.frame.clone(), &self.metrics) {
                    connection.flush(&self.metrics, self.now());
                }
                delivered += 1;
            }
            tokio::task::yield_now().await;
            others_had_their_turn = true;
        }
        self.metrics.deliveries.inc_by(delivered);
        self.metrics.fan_out.observe(started.elapsed().as_secs_f64());
    }

    fn still_wants(&self, key: usize, delivery: &Delivery, moment: u64) -> bool {
        let listeners = self.listeners.borrow();
        listeners.get(delivery.name.as_str()).is_some_and(|of_event| of_event.wants(key, delivery, moment))
    }

    /// One second has passed: pings the silent, drops the dead.
    pub fn heartbeat(&self) {
        let now = self.second.get() + 1;
        self.second.set(now);
        for connection in self.all() {
            match connection.pulse(now, self.ping_seconds, CLOSE_SECONDS) {
                Pulse::Fine => {}
                Pulse::Ping => self.push(&connection, frame::ping()),
                Pulse::Dead => {
                    self.metrics.dead_peers.inc();
                    self.metrics.close(1006);
                    tracing::debug!(client = connection.caller.id, "dropped: no answer to a ping");
                    connection.abort();
                }
                Pulse::Overdue => connection.abort(),
                Pulse::Stuck => connection.give_up(&Close::SLOW_CONSUMER, &self.metrics),
                Pulse::Unfinished => {
                    self.metrics.limited.with_label_values(&["message_time"]).inc();
                    connection.close(&Close::UNFINISHED, &self.metrics, now);
                }
                Pulse::Idle => {
                    self.say_goodbye(&connection, "idle", Comeback::Never);
                    connection.close(&Close::IDLE, &self.metrics, now);
                }
                Pulse::Old => {
                    self.say_goodbye(&connection, "age", Comeback::AfterMs(0));
                    connection.drain();
                    self.close_if_drained(&connection);
                }
            }
        }
        self.flush();
    }

    /// Tells a client that its connection ends, and when to come back.
    pub fn say_goodbye(&self, connection: &Rc<Connection>, reason: &str, comeback: Comeback) {
        let (reconnect, after) = match comeback {
            Comeback::Never => (false, 0),
            Comeback::AfterMs(ms) => (true, ms),
        };
        let text = format!(
            r#"{{"event":"diffyne.disconnect","data":{{"reason":"{reason}","reconnect":{reconnect},"retryAfter":{after}}}}}"#
        );
        self.push(connection, frame::text(&text));
    }

    /// The server stops: everybody is told when to leave, so many a second. Those whose time has not come work on
    /// meanwhile; the page's scripts leave by themselves when it has, between two calls, and whoever is still there a
    /// moment later is closed when no call of it runs. Ends when all were sent away.
    pub async fn drain(&self, per_second: f64) {
        let (started, all) = (Instant::now(), self.all());
        let due = |index: usize| Duration::from_secs_f64(index as f64 / per_second);
        for turn in all.iter().enumerate().collect::<Vec<_>>().chunks(FAN_OUT_TURN) {
            for (index, connection) in turn {
                let ms = u64::try_from(due(*index).as_millis()).unwrap_or(u64::MAX);
                self.say_goodbye(connection, "the server stops", Comeback::AfterMs(ms));
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

    /// The connections for which most is held, the largest first and of equal ones the oldest.
    pub fn largest(&self) -> Vec<Large> {
        let connections = self.connections.borrow();
        let all = connections.iter().filter(|(_, connection)| connection.takes_messages());
        let large = all.map(|(key, connection)| Large { bytes: connection.held(), born: connection.born(), key });
        let mut large: Vec<Large> = large.filter(|large| large.bytes >= SHED_BYTES_MIN).collect();
        large.sort_unstable_by_key(|large| (std::cmp::Reverse(large.bytes), large.born));
        large.truncate(LARGEST_MAX);
        large
    }

    /// Ends these connections, as far as that much is still held for them: memory is short.
    pub fn shed(&self, chosen: &[Large]) {
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

    /// Closes a connection whose last call was waited for.
    pub fn close_if_drained(&self, connection: &Rc<Connection>) {
        if !connection.lanes.borrow().is_empty() {
            return;
        }
        if connection.phase() == Phase::Draining {
            connection.close(&Close::GOING_AWAY, &self.metrics, self.now());
        }
    }
}
