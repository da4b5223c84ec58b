//! One client: its outbox, its calls, and the end of its connection.
//!
//! * [`session`]: reads messages
//! * [`component_call`]: calls on their way to a worker; [`component_queues`]: one call at a time per component;
//!   [`reply`]: the results of calls
//! * [`subscription_messages`]: subscribe, unsubscribe, resume; [`subscription`], [`grant_request`] and [`replay`]:
//!   what these messages cause; [`subscription_requests`]: those that have no answer yet
//! * [`room_messages`]: enter and leave rooms, whisper; [`room_request`]: asks a worker for it; [`room_membership`]: the rooms
//!   that a connection is in
//! * [`permission_call`]: what both ways to ask a worker share
//! * [`slow_consumer`]: writes the outbox, and ends clients that do not read; [`liveness`]: the heartbeat's decisions
//! * [`account`]: the cost of a client, in memory and in work
//! * [`user`]: who the user is; [`identification`]: what follows when a worker tells it
//! * [`selector`]: selects connections for an operator
//! * [`transport`]: how messages travel: over a WebSocket, or as server-sent events

pub mod account;
mod component_call;
pub mod component_queues;
pub mod grant_request;
mod identification;
mod liveness;
mod permission_call;
mod replay;
pub mod reply;
pub mod room_membership;
mod room_messages;
pub mod room_request;
pub mod selector;
pub mod session;
mod slow_consumer;
mod subscription;
mod subscription_messages;
mod subscription_requests;
pub mod transport;
pub mod user;

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use diffyne_shared::clock;
use serde_json::{Value, json};

use crate::auth::grant::EventSubscription;
use crate::quota::Ticket;
use crate::relay::Caller;
use crate::socket::{Close, Outbox, SocketIo, frame};
use crate::thread_metrics::ShardMetrics;
use account::{Account, HeldKind};
pub use liveness::LivenessAction;

use component_queues::ComponentQueues;
use room_membership::ConnectionRooms;
use subscription_requests::SubscriptionRequests;
use transport::ClientTransport;
use user::ConnectionUser;

/// The phase of a connection's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Messages are read and answered.
    Open,
    /// The client will send no more; its running calls are still answered.
    HalfClosed,
    /// The server stops. The connection ends when its running calls are answered.
    Draining,
    /// A close frame has been queued; incoming messages are dropped.
    Closing,
    /// The connection has ended.
    Gone,
}

/// The limits of a connection. Times are in seconds; zero means no limit.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The most bytes that may wait to be written.
    pub outbox_bytes_max: usize,
    /// The most bytes that may be held for the connection in all.
    pub held_bytes_max: usize,
    /// The time for a message to arrive completely.
    pub message_seconds: u32,
    /// The time during which the client may read nothing of its outbox.
    pub outbox_seconds: u32,
    /// The time without a message and without a subscription.
    pub idle_seconds: u32,
}

/// The terms on which a connection is admitted.
pub struct ConnectionTerms {
    /// The connection's slot in the quota.
    pub ticket: Ticket,
    /// The connection's limits, which all connections of a thread share.
    pub limits: Rc<ConnectionLimits>,
    /// The longest time since the handshake, in seconds; zero means no limit. It differs between connections, so that
    /// those that came together do not leave together.
    pub age_seconds: u32,
}

/// A connected client.
pub struct Connection {
    /// The client's identity, as workers get it.
    pub caller: Rc<Caller>,
    /// The client's calls.
    pub component_queues: RefCell<ComponentQueues>,
    /// The client's user.
    pub user: ConnectionUser,
    /// How messages travel to the client.
    pub transport: ClientTransport,
    /// The connection's key in the hub.
    key: Cell<u32>,
    /// The names of the events that the connection subscribes to in the hub.
    pub subscriptions: RefCell<Vec<Rc<str>>>,
    /// The granted events, if grants are required.
    pub granted: RefCell<Box<[EventSubscription]>>,
    /// The rooms that the connection is in.
    pub rooms: ConnectionRooms,
    /// The client's subscribe and resume messages that have no answer yet.
    pub requests: SubscriptionRequests,
    /// The cost of the client.
    pub account: Account,
    /// The hub's second of the client's last message.
    pub acted: Cell<u32>,
    /// Bytes received.
    pub received: Cell<u64>,
    /// Bytes written.
    sent: Cell<u64>,
    io: SocketIo,
    outbox: RefCell<Outbox>,
    terms: ConnectionTerms,
    phase: Cell<Phase>,
    /// The hub's second of the handshake.
    born: u32,
    /// The hub's second of the last heartbeat.
    seen: Cell<u32>,
    /// The hub's second in which the client last read something of its outbox.
    progress: Cell<u32>,
    /// The connection is listed for the next flush.
    dirty: Cell<bool>,
    /// Nothing is written until there is news, as the client polls.
    waits_for_news: Cell<bool>,
    /// A task waits until the socket can be written.
    flushing: Cell<bool>,
    /// The hub's second after that in which the unfinished message began.
    unfinished_since: Cell<Option<NonZeroU32>>,
    /// The hub's second in which something last arrived.
    heard: Cell<u32>,
    pinged: Cell<bool>,
    /// The hub's second in which closing began.
    closing_since: Cell<u32>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.caller.id()).finish()
    }
}

impl Connection {
    /// Creates a connection after its handshake.
    pub fn new(io: SocketIo, caller: Caller, transport: ClientTransport, terms: ConnectionTerms, now: u32) -> Rc<Self> {
        Rc::new(Self {
            caller: Rc::new(caller),
            component_queues: RefCell::default(),
            user: ConnectionUser::default(),
            transport,
            waits_for_news: Cell::new(matches!(transport, ClientTransport::Poll(_))),
            key: Cell::new(u32::MAX),
            subscriptions: RefCell::default(),
            granted: RefCell::default(),
            rooms: ConnectionRooms::default(),
            requests: SubscriptionRequests::default(),
            account: Account::default(),
            unfinished_since: Cell::new(None),
            acted: Cell::new(now),
            received: Cell::new(0),
            sent: Cell::new(0),
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

    /// Returns the connection's key in the hub; of one that is not there, a key that none has.
    pub fn key(&self) -> usize {
        self.key.get() as usize
    }

    /// Notes that the hub has the connection under a key, or no longer.
    pub fn set_key(&self, key: Option<usize>) {
        self.key.set(key.and_then(|key| u32::try_from(key).ok()).unwrap_or(u32::MAX));
    }

    /// Returns the connection's phase.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether pushes and responses can still be sent.
    pub fn takes_messages(&self) -> bool {
        matches!(self.phase.get(), Phase::Open | Phase::HalfClosed | Phase::Draining)
    }

    /// Returns the bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// Returns the bytes that the client has been sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.get()
    }

    /// Returns the bytes that are held for the connection.
    pub fn held(&self) -> usize {
        self.waiting_bytes() + self.held_beside_outbox()
    }

    fn held_beside_outbox(&self) -> usize {
        self.caller.headers().len() + self.account.held()
    }

    /// Whether the connection may hold this many more bytes.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) <= self.terms.limits.held_bytes_max
    }

    /// Reads from the client, see [`SocketIo::poll_read`].
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        self.io.poll_read(cx, buffer)
    }

    /// Describes the connection for operators, at the hub's second.
    pub fn describe(&self, now: u32) -> Value {
        let events: Vec<String> = self.subscriptions.borrow().iter().map(ToString::to_string).collect();
        json!({
            "client": self.caller.id(),
            "user": self.user.id().as_deref(),
            "address": self.caller.ip(),
            "transport": self.transport.label(),
            "since": clock::unix_seconds().saturating_sub(now.saturating_sub(self.born).into()),
            "bytes_in": self.received.get(),
            "bytes_out": self.sent.get(),
            "events": events,
            "rooms": self.rooms.len(),
            "calls": self.component_queues.borrow().len(),
            "waiting_bytes": self.waiting_bytes(),
        })
    }

    /// Returns the hub's second of the handshake.
    pub fn born(&self) -> u32 {
        self.born
    }

    /// Notes after a read whether a message is unfinished, and how many bytes of it are held.
    pub fn set_unfinished(&self, is_mid_message: bool, bytes: usize, now: u32) {
        let since = self.unfinished_since.get().or(NonZeroU32::new(now.saturating_add(1)));
        self.unfinished_since.set(since.filter(|_| is_mid_message));
        self.account.set(HeldKind::Unfinished, bytes);
    }

    /// Notes that a message is complete; the next one gets its own time limit.
    pub fn finished_message(&self) {
        self.unfinished_since.set(None);
        self.account.set(HeldKind::Unfinished, 0);
    }

    /// Sends a close frame behind the outbox, and drops everything that arrives from now on.
    pub fn close(self: &Rc<Self>, close: &Close, metrics: &Rc<ShardMetrics>, now: u32) {
        if self.takes_messages() {
            metrics.close(close.code);
            self.close_with(frame::close(close), metrics, now);
        }
    }

    /// Answers the client's close frame.
    pub fn close_back(self: &Rc<Self>, code: Option<u16>, metrics: &Rc<ShardMetrics>, now: u32) {
        if self.takes_messages() {
            let frame = code.map_or_else(frame::close_empty, |code| frame::close(&Close::new(code, "")));
            self.close_with(frame, metrics, now);
        }
    }

    fn close_with(self: &Rc<Self>, frame: Bytes, metrics: &Rc<ShardMetrics>, now: u32) {
        let encoded = self.transport.encode(frame, None);
        if !encoded.is_empty() {
            self.outbox.borrow_mut().push(encoded);
        }
        self.waits_for_news.set(false);
        self.phase.set(Phase::Closing);
        self.closing_since.set(now);
        self.flush(metrics, now);
    }

    /// Notes that there is something that a client that polls has waited for.
    pub fn end_wait_for_news(&self) {
        self.waits_for_news.set(false);
    }

    /// Queues the head of the HTTP response whose body is what follows.
    pub fn begin_response(&self, head: Bytes) {
        self.outbox.borrow_mut().push(head);
    }

    /// Has the system end a connection whose client is silent: when it confirms nothing for this long.
    pub fn expect_silence(&self, limit: Duration) {
        self.io.limit_silence_of_peer(limit);
    }

    /// Ends the connection at once; the reading task sees the end of the stream.
    pub fn abort(&self) {
        if self.phase.get() != Phase::Gone {
            self.phase.set(Phase::Closing);
        }
        self.io.shutdown(Shutdown::Both);
    }

    /// Notes that the client will send no more, but still waits for responses.
    pub fn half_close(&self) {
        self.phase.set(Phase::HalfClosed);
    }

    /// Closes the connection once its running calls are answered.
    pub fn drain(&self) {
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Draining);
        }
    }

    /// Whether a response is pending or not yet written.
    pub fn owes_answers(&self) -> bool {
        self.takes_messages() && !(self.component_queues.borrow().is_empty() && self.outbox.borrow().is_empty())
    }

    /// Marks the connection as ended; nothing is written any more.
    pub fn gone(&self) {
        self.phase.set(Phase::Gone);
        self.outbox.borrow_mut().clear();
        // Who waits until the client reads on would wait for as long as it likes.
        if self.flushing.get() {
            self.io.shutdown(Shutdown::Both);
        }
    }

    /// Notes that something arrived.
    pub fn hear(&self, now: u32) {
        self.heard.set(now);
        self.pinged.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle connection takes here with its stream, beside tokio's parts and its headers. `diffyne-bench idle 200000` measures all.
    #[test]
    fn an_idle_connection_takes_little_memory() {
        assert!(size_of::<Connection>() <= 416, "{}", size_of::<Connection>());
        assert!(size_of::<Caller>() <= 48, "{}", size_of::<Caller>());
    }
}
