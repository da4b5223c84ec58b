//! The connections of one thread: who is there, who hears what, and who has to be asked whether they live.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::bus::Position;
use serde_json::{Map, Value};
use slab::Slab;

use crate::connection::{Connection, Phase, Pulse};
use crate::history::{History, HistoryLimits};
use crate::metrics::ThreadMetrics;
use crate::socket::{Close, frame};

/// Connections that a fan-out serves before others get their turn.
const FAN_OUT_TURN: usize = 32;
/// Seconds that a closed connection has to end its side.
const CLOSE_SECONDS: u32 = 3;

/// Ending a connection for which less waits would free no memory worth having.
const SLOW_BYTES_MIN: usize = 64 * 1024;

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

/// What a subscription wants to hear of an event: all, or where fields of the first parameter are equal.
pub type Filter = Option<Map<String, Value>>;

#[derive(Debug)]
struct Subscription {
    since: u64,
    filters: Vec<Filter>,
    /// Its client came from a gateway that was ahead of this one: what is not behind this place it has already.
    floor: Option<Position>,
}

impl Subscription {
    fn wants(&self, delivery: &Delivery) -> bool {
        let heard = match delivery.audience {
            Audience::All => true,
            Audience::Before(moment) => self.since < moment,
            Audience::After(moment) => self.since > moment,
        };
        heard && !self.has(delivery) && self.filters.iter().any(|filter| matches(filter, delivery.first.as_ref()))
    }

    fn has(&self, delivery: &Delivery) -> bool {
        let (Some(floor), Some(place)) = (&self.floor, &delivery.position) else { return false };
        floor.epoch == place.epoch && place.offset <= floor.offset
    }
}

/// Equal fields, without coercion.
fn matches(filter: &Filter, first: Option<&Value>) -> bool {
    let Some(fields) = filter else { return true };
    let Some(Value::Object(first)) = first else { return fields.is_empty() };
    fields.iter().all(|(name, value)| first.get(name) == Some(value))
}

type Listeners = HashMap<usize, Subscription>;

/// One thread's connections.
pub struct Hub {
    connections: RefCell<Slab<Rc<Connection>>>,
    listeners: RefCell<HashMap<Rc<str>, Listeners>>,
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
                self.forget(&name, key);
            }
        }
    }

    fn forget(&self, name: &Rc<str>, key: usize) {
        let mut listeners = self.listeners.borrow_mut();
        if let Some(of_event) = listeners.get_mut(name) {
            of_event.remove(&key);
            if of_event.is_empty() {
                listeners.remove(name);
            }
        }
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

    /// Adds what a connection wants to hear; `false` when it has as many subscriptions as it may.
    pub fn subscribe(&self, connection: &Connection, name: &str, filter: Filter, most: usize) -> bool {
        let key = connection.key.get();
        let mut names = connection.subscriptions.borrow_mut();
        let mut listeners = self.listeners.borrow_mut();
        if let Some(subscription) = listeners.get_mut(name).and_then(|of_event| of_event.get_mut(&key)) {
            if subscription.filters.contains(&filter) {
                return true;
            }
            if subscription.filters.len() >= most {
                return false;
            }
            subscription.filters.push(filter);
            return true;
        }
        if names.len() >= most {
            return false;
        }
        let name = listeners.get_key_value(name).map_or_else(|| Rc::from(name), |(known, _)| Rc::clone(known));
        let subscription = Subscription { since: self.clock.tick(), filters: vec![filter], floor: None };
        listeners.entry(Rc::clone(&name)).or_default().insert(key, subscription);
        names.push(name);
        true
    }

    /// Takes back what a connection wanted to hear; without a filter, all of that event.
    pub fn unsubscribe(&self, connection: &Connection, name: &str, filter: &Filter) {
        let key = connection.key.get();
        let over = {
            let mut listeners = self.listeners.borrow_mut();
            let Some(subscription) = listeners.get_mut(name).and_then(|of_event| of_event.get_mut(&key)) else {
                return;
            };
            subscription.filters.retain(|known| filter.is_some() && known != filter);
            subscription.filters.is_empty()
        };
        if over {
            let mut names = connection.subscriptions.borrow_mut();
            if let Some(at) = names.iter().position(|known| &**known == name) {
                let name = names.swap_remove(at);
                self.forget(&name, key);
            }
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
            let subscription = listeners.get_mut(name).and_then(|of_event| of_event.get_mut(&connection.key.get()));
            if let Some(subscription) = subscription {
                subscription.floor = Some(place.clone());
            }
        }
    }

    /// What a connection has missed since a place, as far as it hears it now; `None` when that is not known any more,
    /// or more than `bytes_max`.
    pub fn missed(&self, connection: &Connection, place: &Position, bytes_max: usize) -> Option<Vec<Bytes>> {
        let mut history = self.history.borrow_mut();
        let listeners = self.listeners.borrow();
        let hears = |delivery: &Delivery| {
            let subscription =
                listeners.get(delivery.name.as_str()).and_then(|of_event| of_event.get(&connection.key.get()));
            subscription.is_some_and(|subscription| {
                subscription.filters.iter().any(|filter| matches(filter, delivery.first.as_ref()))
            })
        };
        let frames: Vec<Bytes> =
            history.since(place)?.filter(|delivery| hears(delivery)).map(|delivery| delivery.frame.clone()).collect();
        (frames.iter().map(Bytes::len).sum::<usize>() <= bytes_max).then_some(frames)
    }

    /// Hands a broadcast to all who want it, in turns with everything else on this thread. Whoever subscribes from
    /// now on finds it in the history.
    pub async fn fan_out(&self, delivery: &Arc<Delivery>) {
        let started = Instant::now();
        self.history.borrow_mut().push(delivery);
        let moment = self.clock.tick();
        let keys: Vec<usize> = match self.listeners.borrow().get(delivery.name.as_str()) {
            Some(of_event) => {
                let wanting = of_event.iter().filter(|(_, subscription)| subscription.wants(delivery));
                wanting.map(|(key, _)| *key).collect()
            }
            None => return,
        };
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
        let subscription = listeners.get(delivery.name.as_str()).and_then(|of_event| of_event.get(&key));
        subscription.is_some_and(|subscription| subscription.since < moment && subscription.wants(delivery))
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

    /// The connection for which most waits, if that is worth its end.
    pub fn slowest(&self) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        let all = connections.iter().map(|(_, connection)| connection).filter(|connection| connection.takes_messages());
        let slowest = all.max_by_key(|connection| connection.waiting_bytes())?;
        (slowest.waiting_bytes() >= SLOW_BYTES_MIN).then(|| Rc::clone(slowest))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(value: Value) -> Filter {
        value.as_object().cloned()
    }

    #[test]
    fn a_match_compares_fields_without_coercion() {
        let first = json!({"room_id": 1, "who": {"id": 2}});
        let cases = [
            (json!({"room_id": 1}), true),
            (json!({"room_id": "1"}), false),
            (json!({"room_id": 1, "who": {"id": 2}}), true),
            (json!({"room_id": 1, "nope": null}), false),
            (json!({}), true),
        ];
        for (wanted, expected) in cases {
            assert_eq!(matches(&filter(wanted.clone()), Some(&first)), expected, "{wanted}");
        }
        assert!(matches(&None, None));
        assert!(!matches(&filter(json!({"a": 1})), Some(&json!(7))));
    }

    #[test]
    fn a_late_copy_reaches_only_those_who_subscribed_since() {
        let clock = Clock::default();
        let early = Subscription { since: clock.tick(), filters: vec![None], floor: None };
        let moment = clock.tick();
        let late = Subscription { since: clock.tick(), filters: vec![None], floor: None };
        let delivery = |audience| Delivery {
            name: String::new(),
            frame: Bytes::new(),
            first: None,
            except: None,
            audience,
            position: None,
        };
        let local = delivery(Audience::Before(moment));
        let again = delivery(Audience::After(moment));
        assert!(early.wants(&local) && !late.wants(&local));
        assert!(!early.wants(&again) && late.wants(&again));
    }
}
