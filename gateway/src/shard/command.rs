//! The commands that other threads send to a shard, and the handle that sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use diffyne_shared::bus::Position;
use diffyne_shared::listener::AcceptedStream;
use diffyne_shared::rpc::Endpoint;
use prometheus::IntGauge;
use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::delivery::Delivery;
use super::departures::LargeConnection;
use crate::connection::selector::{ConnectionPage, ConnectionSelector};
use crate::lifecycle::delivery::DeliveryError;
use crate::presence::news::PresenceNews;
use crate::quota::HttpTicket;
use crate::relay::Health;

/// The number of commands that may wait for a shard.
const COMMANDS_MAX: usize = 256;

/// A command for a shard.
pub enum Command {
    /// Deliver these broadcasts, in this order.
    Deliver(Arc<[Arc<Delivery>]>),
    /// Tell connections what there is of their rooms, in this order.
    Rooms(Arc<[PresenceNews]>),
    /// Start the history at this position, with the broadcasts before it.
    StartHistory(Position, Arc<[Arc<Delivery>]>),
    /// Tell subscribed clients that broadcasts up to this position are missing.
    Gap(Position),
    /// The server stops: disconnect this many clients per second.
    Drain(f64),
    /// Close all remaining connections.
    Close,
    /// Forget those that are still there.
    Abandon,
    /// Have a worker call the class that is told of connections, and return why it was not.
    Lifecycle(LifecycleCall, oneshot::Sender<Result<(), DeliveryError>>),
    /// List the connections that hold the most memory.
    Largest(oneshot::Sender<Vec<LargeConnection>>),
    /// End these connections.
    Shed(Vec<LargeConnection>),
    /// Describe the selected connections.
    Find(ConnectionSelector, oneshot::Sender<Vec<Value>>),
    /// Describe a page of all connections.
    List(ConnectionPage, oneshot::Sender<Vec<Value>>),
    /// Close the selected connections, and return their number.
    Disconnect(ConnectionSelector, oneshot::Sender<usize>),
    /// Ask the workers what each of their processes does.
    AskProcesses,
    /// Return what they have told by now, as JSON.
    Processes(oneshot::Sender<Vec<(Endpoint, Option<String>)>>),
    /// Count the subscribers of each event.
    Events(oneshot::Sender<Vec<(String, usize)>>),
    /// Return the health of the workers, as this shard sees it.
    Workers(oneshot::Sender<Vec<(Endpoint, Health)>>),
}

/// A call of the class that is told of connections.
#[derive(Debug, Clone)]
pub struct LifecycleCall {
    /// The class and the events, as JSON.
    pub payload: Arc<str>,
    /// The time after which nobody waits for the result.
    pub deadline: Instant,
}

/// A connection that a shard is to serve.
pub struct AcceptedConnection {
    /// The connection.
    pub stream: AcceptedStream,
    /// The places where it is counted until it becomes a WebSocket or ends.
    pub counted: CountedHandshake,
}

/// Counts a connection that is no WebSocket yet. Dropping it ends that.
pub struct CountedHandshake {
    handshakes: Arc<AtomicUsize>,
    _address: Option<HttpTicket>,
    /// The number of those that wait for their thread, this one included.
    waiting: Option<IntGauge>,
}

impl CountedHandshake {
    /// Counts a connection that waits for its thread.
    pub fn new(handshakes: &Arc<AtomicUsize>, address: Option<HttpTicket>, waiting: &IntGauge) -> Self {
        handshakes.fetch_add(1, Ordering::Relaxed);
        waiting.inc();
        Self { handshakes: Arc::clone(handshakes), _address: address, waiting: Some(waiting.clone()) }
    }

    /// Notes that the thread has taken the connection.
    pub fn end_wait(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.dec();
        }
    }
}

impl Drop for CountedHandshake {
    fn drop(&mut self) {
        self.end_wait();
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sending ends of a shard's two queues.
#[derive(Clone)]
pub struct ShardHandle {
    accepted: mpsc::Sender<AcceptedConnection>,
    commands: mpsc::Sender<Command>,
}

/// The receiving ends of a shard's two queues.
pub(super) struct Inbox {
    pub(super) accepted: mpsc::Receiver<AcceptedConnection>,
    pub(super) commands: mpsc::Receiver<Command>,
}

impl ShardHandle {
    /// Creates a handle. So many accepted connections may wait for the shard.
    pub(super) fn new(accepted_max: usize) -> (Self, Inbox) {
        let (accepted, accepted_here) = mpsc::channel(accepted_max);
        let (commands, commands_here) = mpsc::channel(COMMANDS_MAX);
        (Self { accepted, commands }, Inbox { accepted: accepted_here, commands: commands_here })
    }

    /// Gives the shard a connection, and returns it if the shard has no room for it.
    pub fn accept(&self, connection: AcceptedConnection) -> Result<(), AcceptedConnection> {
        self.accepted.try_send(connection).map_err(TrySendError::into_inner)
    }

    /// Sends a command. Waits while the queue is full. A shard that has ended serves nobody, so the command is dropped.
    pub async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    /// Sends a command and returns its answer, or `None` if the shard has ended.
    pub async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await;
        answer.await.ok()
    }
}

/// Sends the same command to every shard.
pub async fn send_to_all(shards: &[ShardHandle], command: impl Fn() -> Command) {
    for shard in shards {
        shard.send(command()).await;
    }
}
