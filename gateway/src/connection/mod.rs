//! One WebSocket client: what waits to be written to it, its calls, and how it ends.
//!
//! * [`session`]: reads messages
//! * [`component_call`]: calls on their way to a worker; [`component_queues`]: one at a time per component; [`reply`]:
//!   their results
//! * [`subscription_messages`]: subscribe, unsubscribe, resume; [`subscription`], [`grant_request`] and [`replay`]: what
//!   these do; [`subscription_requests`]: those under way
//! * [`slow_consumer`]: what waits to be written, and the end of a client that does not read; [`liveness`]: what the
//!   heartbeat does with a connection
//! * [`account`]: what a client costs, in memory and in work
//! * [`selector`]: which connections an operator means

pub mod account;
mod component_call;
pub mod component_queues;
pub mod grant_request;
mod liveness;
mod replay;
pub mod reply;
pub mod selector;
pub mod session;
mod slow_consumer;
mod subscription;
mod subscription_messages;
mod subscription_requests;

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::auth::grant::EventSubscription;
use crate::metrics::ShardMetrics;
use crate::quota::Ticket;
use crate::relay::Caller;
use crate::socket::{Close, IoWriter, Outbox, frame};
use account::{Account, Held};
pub use liveness::LivenessAction;

use component_queues::ComponentQueues;
use subscription_requests::SubscriptionRequests;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Messages are read and answered.
    Open,
    /// The peer will send no more; its running calls are still answered.
    HalfClosed,
    /// Ends when its running calls are answered: the server stops.
    Draining,
    /// A close frame is on its way; what arrives is dropped.
    Closing,
    /// Over.
    Gone,
}

/// How long a connection may live, and what it may do to the server. In seconds; zero: no limit.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Bytes that may wait to be written.
    pub outbox_bytes_max: usize,
    /// Bytes that may be held for it in all.
    pub held_bytes_max: usize,
    /// For a message to arrive.
    pub message_seconds: u32,
    /// While nothing of them is read.
    pub outbox_seconds: u32,
    /// Without a message and without a subscription.
    pub idle_seconds: u32,
    /// From its handshake on.
    pub age_seconds: u32,
}

/// What a connection comes in with.
pub struct ConnectionTerms {
    /// Its place.
    pub ticket: Ticket,
    /// Its limits.
    pub limits: ConnectionLimits,
}

/// A connected client.
pub struct Connection {
    /// Who it is, as workers are told.
    pub caller: Rc<Caller>,
    /// Its calls.
    pub component_queues: RefCell<ComponentQueues>,
    /// Its place in the hub.
    pub key: Cell<usize>,
    /// Whether the hub holds subscriptions of it.
    pub subscriptions: RefCell<Vec<Rc<str>>>,
    /// What it was granted to hear, where that is asked for.
    pub granted: RefCell<Vec<EventSubscription>>,
    /// Its subscribe and resume messages that have no answer yet.
    pub requests: SubscriptionRequests,
    /// What it costs.
    pub account: Account,
    /// The hub's second of its last message.
    pub acted: Cell<u32>,
    io: IoWriter,
    outbox: RefCell<Outbox>,
    terms: ConnectionTerms,
    phase: Cell<Phase>,
    /// The hub's second of its handshake.
    born: u32,
    /// The hub's second in which it was looked at last.
    seen: Cell<u32>,
    /// The hub's second in which something that waited was read last.
    progress: Cell<u32>,
    /// Listed for the next flush.
    dirty: Cell<bool>,
    /// A task waits for room to write.
    flushing: Cell<bool>,
    /// The hub's second in which the message that is not finished began.
    unfinished_since: Cell<Option<u32>>,
    /// The hub's second in which something arrived last.
    heard: Cell<u32>,
    pinged: Cell<bool>,
    /// The hub's second in which closing began.
    closing_since: Cell<u32>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.caller.id).finish()
    }
}

impl Connection {
    /// A connection whose handshake is done.
    pub fn new(io: IoWriter, caller: Caller, terms: ConnectionTerms, now: u32) -> Rc<Self> {
        let account = Account::default();
        account.set(Held::Headers, caller.headers.len());
        Rc::new(Self {
            caller: Rc::new(caller),
            component_queues: RefCell::default(),
            key: Cell::new(usize::MAX),
            subscriptions: RefCell::default(),
            granted: RefCell::default(),
            requests: SubscriptionRequests::default(),
            account,
            unfinished_since: Cell::new(None),
            acted: Cell::new(now),
            io,
            outbox: RefCell::default(),
            terms,
            phase: Cell::new(Phase::Open),
            born: now,
            seen: Cell::new(now),
            progress: Cell::new(now),
            dirty: Cell::new(false),
            flushing: Cell::new(false),
            heard: Cell::new(now),
            pinged: Cell::new(false),
            closing_since: Cell::new(0),
        })
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether pushes and answers still make sense.
    pub fn takes_messages(&self) -> bool {
        matches!(self.phase.get(), Phase::Open | Phase::HalfClosed | Phase::Draining)
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// Bytes that are held for it.
    pub fn held(&self) -> usize {
        self.waiting_bytes() + self.account.held()
    }

    /// Whether so much more may be held for it.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) <= self.terms.limits.held_bytes_max
    }

    /// What operators see of it.
    pub fn describe(&self) -> Value {
        let events: Vec<String> = self.subscriptions.borrow().iter().map(ToString::to_string).collect();
        json!({
            "client": self.caller.id,
            "address": self.caller.ip,
            "events": events,
            "calls": self.component_queues.borrow().len(),
            "waiting_bytes": self.waiting_bytes(),
        })
    }

    /// The hub's second of its handshake.
    pub fn born(&self) -> u32 {
        self.born
    }

    /// Whether a message is not finished after this read, and how much of it is held.
    pub fn set_unfinished(&self, is_mid_message: bool, bytes: usize, now: u32) {
        let since = self.unfinished_since.get();
        self.unfinished_since.set(is_mid_message.then(|| since.unwrap_or(now)));
        self.account.set(Held::Unfinished, bytes);
    }

    /// A message is finished: the next one has its own time.
    pub fn finished_message(&self) {
        self.unfinished_since.set(None);
        self.account.set(Held::Unfinished, 0);
    }

    /// Sends a close frame behind what waits; what arrives from now on is dropped.
    pub fn close(self: &Rc<Self>, close: &Close, metrics: &Rc<ShardMetrics>, now: u32) {
        if self.takes_messages() {
            metrics.close(close.code);
            self.close_with(frame::close(close), metrics, now);
        }
    }

    /// Answers the peer's close frame.
    pub fn close_back(self: &Rc<Self>, code: Option<u16>, metrics: &Rc<ShardMetrics>, now: u32) {
        if self.takes_messages() {
            let frame = code.map_or_else(frame::close_empty, |code| frame::close(&Close::new(code, "")));
            self.close_with(frame, metrics, now);
        }
    }

    fn close_with(self: &Rc<Self>, frame: Bytes, metrics: &Rc<ShardMetrics>, now: u32) {
        self.outbox.borrow_mut().push(frame);
        self.phase.set(Phase::Closing);
        self.closing_since.set(now);
        self.flush(metrics, now);
    }

    /// Ends at once; the reading task sees the end of the stream.
    pub fn abort(&self) {
        if self.phase.get() != Phase::Gone {
            self.phase.set(Phase::Closing);
        }
        self.io.shutdown(Shutdown::Both);
    }

    /// The peer will send no more, but waits for answers.
    pub fn half_close(&self) {
        self.phase.set(Phase::HalfClosed);
    }

    /// To be closed when its running calls are answered.
    pub fn drain(&self) {
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Draining);
        }
    }

    /// Whether an answer is still to come or to be written.
    pub fn owes_answers(&self) -> bool {
        self.takes_messages() && !(self.component_queues.borrow().is_empty() && self.outbox.borrow().is_empty())
    }

    /// It is over; nothing is written any more.
    pub fn gone(&self) {
        self.phase.set(Phase::Gone);
        self.outbox.borrow_mut().clear();
    }

    /// Something arrived.
    pub fn hear(&self, now: u32) {
        self.heard.set(now);
        self.pinged.set(false);
    }
}
