//! The connections of one thread: their subscriptions, the fan-out of broadcasts, and the flush of their outboxes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use diffyne_shared::bus::Position;
use serde_json::{Map, Value};
use slab::Slab;

use super::delivery::{Clock, Delivery, Filter};
use super::history::{History, HistoryLimits};
use super::lifecycle_events::LifecycleEvents;
use super::pushes::OpenCalls;
use super::room_index::ShardRooms;
use super::subscription_index::{Insertion, SubscriptionIndex, filter_bytes};
use super::user_index::{UserIndex, may_get};
use crate::connection::Connection;
use crate::connection::account::HeldKind;
use crate::connection::transport::ClientTransport;
use crate::presence::rooms::Departure;
use crate::socket::{deflate, frame};
use crate::thread_metrics::ShardMetrics;

/// The number of connections that are served in a row before other tasks get their turn.
pub(super) const FAN_OUT_TURN: usize = 32;
/// The number of bytes that are queued for connections before they are written. A connection's outbox is bounded, so
/// that its frames must not pile up only because several broadcasts are delivered together.
pub(super) const FAN_OUT_BYTES: usize = 32 * 1024;
/// The memory that a subscription takes beside its filters, in bytes.
const SUBSCRIPTION_BYTES: usize = 256;
/// The number of broadcasts that one batch of a replay examines.
const BATCH_BROADCASTS_MAX: usize = 256;
/// The number of filters that one batch of a replay compares.
const BATCH_FILTERS_MAX: usize = 2048;
/// The number of bytes that one batch of a replay sends.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Why a subscription is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeError {
    /// The connection has as many subscriptions as it may.
    TooMany,
    /// The subscriptions would take more memory than the connection may hold.
    TooLarge,
}

/// The broadcasts that a client missed, as the history knows them.
#[derive(Debug)]
pub enum MissedBroadcasts {
    /// The history does not reach back to the position, or belongs to another epoch.
    Unrecoverable,
    /// The broadcasts that are sent before other connections get their turn.
    Batch(ReplayBatch),
}

/// A part of the broadcasts that a client missed.
#[derive(Debug)]
pub struct ReplayBatch {
    /// The frames to send, as they travel over the connection's transport.
    pub frames: Vec<Bytes>,
    /// The number of filters that were compared to find the frames.
    pub filters: usize,
    /// The position after this batch.
    pub position: Position,
    /// The history ends with this batch.
    pub is_last: bool,
}

/// What a fan-out has done since other tasks had their turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) pushes: usize,
    pub(super) bytes: usize,
}

/// The connections of one thread.
pub struct Hub {
    pub(super) connections: RefCell<Slab<Rc<Connection>>>,
    indexes: RefCell<HashMap<Rc<str>, SubscriptionIndex>>,
    pub(super) users: RefCell<UserIndex>,
    pub(super) rooms: ShardRooms,
    dirty: RefCell<Vec<Rc<Connection>>>,
    history: RefCell<History>,
    /// Calls whose client gets more.
    pub open_calls: OpenCalls,
    clock: Clock,
    /// A broadcast is in the history already, and not with all connections yet.
    fans_out: Cell<bool>,
    pub(super) second: Cell<u32>,
    pub(super) ping_seconds: u32,
    pub(super) metrics: Rc<ShardMetrics>,
    /// Where the application is told what happens here.
    pub(super) lifecycle: Option<LifecycleEvents>,
}

impl Hub {
    /// Creates an empty hub.
    pub fn new(
        clock: Clock,
        limits: HistoryLimits,
        ping_seconds: u32,
        rooms: ShardRooms,
        metrics: Rc<ShardMetrics>,
        lifecycle: Option<LifecycleEvents>,
    ) -> Self {
        Self {
            lifecycle,
            history: RefCell::new(History::new(limits)),
            open_calls: OpenCalls::default(),
            connections: RefCell::default(),
            indexes: RefCell::default(),
            users: RefCell::default(),
            rooms,
            dirty: RefCell::default(),
            clock,
            fans_out: Cell::new(false),
            second: Cell::new(0),
            ping_seconds,
            metrics,
        }
    }

    /// Returns the seconds since this hub was created, as the heartbeat counts them.
    pub fn now(&self) -> u32 {
        self.second.get()
    }

    /// Adds a connection.
    pub fn insert(&self, connection: &Rc<Connection>) {
        let key = self.connections.borrow_mut().insert(Rc::clone(connection));
        connection.set_key(Some(key));
        self.metrics.transport(connection.transport.label(), 1);
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.connected(connection);
        }
    }

    /// Removes a connection and its subscriptions.
    pub fn remove(&self, connection: &Rc<Connection>) {
        connection.gone();
        self.leave_all_rooms(connection, Departure::AfterGrace);
        let user = connection.user.id();
        self.set_user(connection, None);
        let key = connection.key();
        connection.set_key(None);
        let mut connections = self.connections.borrow_mut();
        if connections.get(key).is_some_and(|other| Rc::ptr_eq(other, connection)) {
            connections.remove(key);
            self.metrics.transport(connection.transport.label(), -1);
            if connections.is_empty() {
                *connections = Slab::new();
            }
            for name in connection.subscriptions.take() {
                self.remove_filters(&name, key, None, |lifecycle, filters| lifecycle.left(&name, filters));
            }
            if let Some(lifecycle) = &self.lifecycle {
                lifecycle.disconnected(connection, user.as_deref(), self.now());
            }
        }
    }

    /// Removes one filter of a connection's subscription to an event, or all filters. Returns the bytes that they took,
    /// and whether no filter is left. `report` gets the filters where the application is told of them.
    fn remove_filters(
        &self,
        name: &str,
        key: usize,
        filter: Option<&Filter>,
        report: impl FnOnce(&LifecycleEvents, &[Map<String, Value>]),
    ) -> (usize, bool) {
        let mut indexes = self.indexes.borrow_mut();
        let Some(index) = indexes.get_mut(name) else { return (0, false) };
        if let Some(lifecycle) = &self.lifecycle {
            report(lifecycle, &index.filters(key, filter));
        }
        let gone = index.remove(key, filter);
        if index.is_empty() {
            indexes.remove(name);
        }
        gone
    }

    /// Returns all connections.
    pub fn all(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect()
    }

    /// Subscribes a connection, which may have `most` event names and `most` filters of each.
    pub fn subscribe(
        &self,
        connection: &Connection,
        name: &str,
        filter: &Filter,
        most: usize,
    ) -> Result<(), SubscribeError> {
        let key = connection.key();
        let mut names = connection.subscriptions.borrow_mut();
        let mut indexes = self.indexes.borrow_mut();
        let is_new = !names.iter().any(|known| **known == *name);
        if is_new && names.len() >= most {
            return Err(SubscribeError::TooMany);
        }
        let bytes = filter_bytes(filter) + if is_new { SUBSCRIPTION_BYTES + name.len() } else { 0 };
        if !connection.has_room_for(bytes) {
            return Err(SubscribeError::TooLarge);
        }
        let known = indexes.get_key_value(name).map(|(known, _)| Rc::clone(known));
        let name = known.unwrap_or_else(|| Rc::from(name));
        match indexes.entry(Rc::clone(&name)).or_default().add(key, filter, most, || self.clock.tick()) {
            Insertion::Full => return Err(SubscribeError::TooMany),
            Insertion::Known => return Ok(()),
            Insertion::New => {}
        }
        connection.account.hold(HeldKind::Subscriptions, bytes);
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.subscribed(connection, &name, filter);
        }
        if is_new {
            // Most connections have one subscription, and keep it long.
            if names.is_empty() {
                names.reserve_exact(1);
            }
            names.push(name);
        }
        Ok(())
    }

    /// Ends a connection's subscription; without a filter, all filters of that event.
    pub fn unsubscribe(&self, connection: &Connection, name: &str, filter: &Filter) {
        let report = |lifecycle: &LifecycleEvents, filters: &[_]| lifecycle.unsubscribed(connection, name, filters);
        let (bytes, was_last) = self.remove_filters(name, connection.key(), Some(filter), report);
        connection.account.release(HeldKind::Subscriptions, bytes);
        if was_last {
            connection.account.release(HeldKind::Subscriptions, SUBSCRIPTION_BYTES + name.len());
            connection.subscriptions.borrow_mut().retain(|known| &**known != name);
        }
    }

    /// Returns the connections that have a subscription.
    pub fn subscribed(&self) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        let subscribed = connections.iter().filter(|(_, connection)| !connection.subscriptions.borrow().is_empty());
        subscribed.map(|(_, connection)| Rc::clone(connection)).collect()
    }

    /// Returns how many connections of this thread subscribe to each event.
    pub fn events(&self) -> Vec<(String, usize)> {
        self.indexes.borrow().iter().map(|(name, index)| (name.to_string(), index.len())).collect()
    }

    /// Queues a frame for a connection. The next [`Hub::flush`] writes it.
    pub fn push(&self, connection: &Rc<Connection>, frame: Bytes) {
        self.push_at(connection, frame, None);
    }

    /// Queues a frame that tells a client its place in the history.
    pub fn push_at(&self, connection: &Rc<Connection>, frame: Bytes, place: Option<&Position>) {
        self.push_encoded(connection, self.encode(connection, frame, place));
    }

    /// Encodes a frame that only this client gets.
    fn encode(&self, connection: &Connection, frame: Bytes, place: Option<&Position>) -> Bytes {
        if connection.transport.deflate().is_some_and(|terms| terms.allows(frame.len()))
            && let Some(compressed) = deflate::compress(&frame)
        {
            self.metrics.count_compressed(frame.len(), compressed.len());
            return compressed;
        }
        connection.transport.encode(frame, place)
    }

    /// Queues what is encoded for the connection's transport already.
    pub fn push_encoded(&self, connection: &Rc<Connection>, encoded: Bytes) {
        connection.end_wait_for_news();
        if connection.push(encoded, &self.metrics) {
            self.dirty.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// Queues a text message that is no news: a client that polls waits on.
    pub fn send_quietly(&self, connection: &Rc<Connection>, text: &str, place: Option<&Position>) {
        if connection.push(self.encode(connection, frame::text(text), place), &self.metrics) {
            self.dirty.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// Queues a text message for a connection.
    pub fn send(&self, connection: &Rc<Connection>, text: &str) {
        self.push(connection, frame::text(text));
    }

    /// Queues a text message that tells a client its place in the history.
    pub fn send_at(&self, connection: &Rc<Connection>, text: &str, place: Option<&Position>) {
        self.push_at(connection, frame::text(text), place);
    }

    /// Returns the position up to which a connection has got everything, unless it is being sent something just now or
    /// waits for an answer about its subscriptions. A client that has asked to resume and hears nothing stays where it was,
    /// and so does a stream: it may come back from there, once it may hear something.
    pub fn place_of(&self, connection: &Connection) -> Option<Position> {
        let keeps_place = connection.transport.is_one_way() || connection.requests.has_resumed();
        let hears = !keeps_place || !connection.subscriptions.borrow().is_empty();
        let has_all = hears && connection.requests.is_empty();
        if has_all && !self.fans_out.get() { self.position() } else { None }
    }

    /// Writes all queued frames.
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

    /// Returns the position up to which this thread has delivered the history.
    pub fn position(&self) -> Option<Position> {
        self.history.borrow().position().cloned()
    }

    /// Starts the history at a position, with the broadcasts before it.
    pub fn start_history(&self, position: Position, before: &[Arc<Delivery>]) {
        self.history.borrow_mut().start(position, before);
    }

    /// Notes that a client has everything up to a position that this thread has not reached yet.
    pub fn set_floor(&self, connection: &Connection, position: &Position) {
        let mut indexes = self.indexes.borrow_mut();
        for name in connection.subscriptions.borrow().iter() {
            if let Some(index) = indexes.get_mut(name) {
                index.set_floor(connection.key(), position);
            }
        }
    }

    /// Returns the next batch of the broadcasts after a position that match the connection's current subscriptions.
    pub fn missed(&self, connection: &Connection, position: &Position) -> MissedBroadcasts {
        let mut history = self.history.borrow_mut();
        let indexes = self.indexes.borrow();
        let Some(missed) = history.since(position) else { return MissedBroadcasts::Unrecoverable };
        let mut batch = ReplayBatch { frames: Vec::new(), filters: 0, position: position.clone(), is_last: true };
        let mut bytes = 0;
        for (looked_at, delivery) in missed.enumerate() {
            if looked_at >= BATCH_BROADCASTS_MAX || batch.filters >= BATCH_FILTERS_MAX || bytes >= BATCH_BYTES_MAX {
                batch.is_last = false;
                break;
            }
            if let Some(index) = indexes.get(delivery.name.as_str()) {
                let (wanted, filters) = index.missed(connection.key(), delivery);
                batch.filters += filters;
                if wanted && may_get(connection, delivery) {
                    let frame = delivery.known_frame_for(connection.transport.deflate()).clone();
                    let frame = connection.transport.encode(frame, delivery.position.as_ref());
                    bytes += frame.len();
                    batch.frames.push(frame);
                }
            }
            if let Some(here) = &delivery.position {
                batch.position.offset = here.offset;
            }
        }
        MissedBroadcasts::Batch(batch)
    }

    /// Delivers broadcasts to all connections that subscribe to them, in turns with everything else on this thread. A
    /// connection that subscribes from now on finds them in the history. Frames for the same connection are written
    /// together.
    pub async fn fan_out(&self, deliveries: &[Arc<Delivery>]) {
        let mut turn = Turn::default();
        self.fans_out.set(true);
        for delivery in deliveries {
            let mut block = None;
            let started = Instant::now();
            self.history.borrow_mut().push(delivery);
            let moment = self.clock.tick();
            let keys = self.wanting(delivery, moment);
            let (mut delivered, mut bytes, mut others_had_their_turn) = (0, 0, false);
            for key in keys {
                if turn.pushes == FAN_OUT_TURN {
                    self.end_turn(&mut turn).await;
                    others_had_their_turn = true;
                }
                let connection = self.connections.borrow().get(key).cloned();
                let Some(connection) = connection else { continue };
                // The key may belong to another connection by now.
                if others_had_their_turn && !self.still_wants(key, delivery, moment) {
                    continue;
                }
                if !may_get(&connection, delivery) {
                    continue;
                }
                // The connection's replay will find the broadcast in the history.
                if delivery.position.is_some() && connection.requests.is_replaying() {
                    continue;
                }
                let encoded = match connection.transport {
                    ClientTransport::WebSocket(None) => delivery.frame.clone(),
                    ClientTransport::WebSocket(deflate) => {
                        let frame = delivery.frame_for(deflate);
                        if frame.len() < delivery.frame.len() {
                            self.metrics.count_compressed(delivery.frame.len(), frame.len());
                        }
                        frame.clone()
                    }
                    one_way => Bytes::clone(
                        block.get_or_insert_with(|| one_way.encode(delivery.frame.clone(), delivery.position.as_ref())),
                    ),
                };
                turn.bytes += encoded.len();
                bytes += encoded.len() as u64;
                self.push_encoded(&connection, encoded);
                turn.pushes += 1;
                if turn.bytes >= FAN_OUT_BYTES {
                    self.flush();
                    turn.bytes = 0;
                }
                delivered += 1;
            }
            self.history.borrow_mut().recount(delivery);
            self.metrics.deliveries.inc_by(delivered);
            self.metrics.event_bytes(&delivery.name, bytes);
            self.metrics.fan_out.observe(started.elapsed().as_secs_f64());
        }
        self.fans_out.set(false);
        if turn.pushes > 0 {
            self.end_turn(&mut turn).await;
        }
    }

    /// Returns the connections that subscribe to a delivery, as far as it may be for them.
    fn wanting(&self, delivery: &Delivery, moment: u64) -> Vec<usize> {
        let indexes = self.indexes.borrow();
        let Some(index) = indexes.get(delivery.name.as_str()) else { return Vec::new() };
        match &delivery.user {
            None => index.wanting(delivery),
            Some(_) if delivery.is_disconnection() => Vec::new(),
            Some(user) => {
                let mut keys = self.users.borrow().of(user);
                keys.retain(|key| index.wants(*key, delivery, moment));
                keys
            }
        }
    }

    /// Writes what a fan-out has queued, and lets other tasks have their turn.
    pub(super) async fn end_turn(&self, turn: &mut Turn) {
        self.flush();
        *turn = Turn::default();
        tokio::task::yield_now().await;
    }

    fn still_wants(&self, key: usize, delivery: &Delivery, moment: u64) -> bool {
        let indexes = self.indexes.borrow();
        indexes.get(delivery.name.as_str()).is_some_and(|index| index.wants(key, delivery, moment))
    }
}
