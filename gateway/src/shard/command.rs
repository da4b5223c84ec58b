//! The commands that other threads send to a shard, and the handle that sends them.

use std::sync::Arc;

use diffyne_shared::bus::Position;
use diffyne_shared::listener::AcceptedStream;
use diffyne_shared::rpc::Endpoint;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::delivery::Delivery;
use super::departures::LargeConnection;
use crate::connection::selector::ConnectionSelector;
use crate::relay::Health;

/// The number of accepted connections that may wait for a shard.
const ACCEPTED_MAX: usize = 1024;
/// The number of commands that may wait for a shard.
const COMMANDS_MAX: usize = 256;

/// A command for a shard.
pub enum Command {
    /// Deliver these broadcasts, in this order.
    Deliver(Arc<[Arc<Delivery>]>),
    /// Start the history at this position, with the broadcasts before it.
    StartHistory(Position, Arc<[Arc<Delivery>]>),
    /// Tell subscribed clients that broadcasts up to this position are missing.
    Gap(Position),
    /// The server stops: disconnect this many clients per second.
    Drain(f64),
    /// Close all remaining connections.
    Close,
    /// List the connections that hold the most memory.
    Largest(oneshot::Sender<Vec<LargeConnection>>),
    /// End these connections.
    Shed(Vec<LargeConnection>),
    /// Describe the selected connections.
    Find(ConnectionSelector, oneshot::Sender<Vec<Value>>),
    /// Close the selected connections, and return their number.
    Disconnect(ConnectionSelector, oneshot::Sender<usize>),
    /// Return the health of the workers, as this shard sees it.
    Workers(oneshot::Sender<Vec<(Endpoint, Health)>>),
}

/// The sending ends of a shard's two queues.
#[derive(Clone)]
pub struct ShardHandle {
    accepted: mpsc::Sender<AcceptedStream>,
    commands: mpsc::Sender<Command>,
}

/// The receiving ends of a shard's two queues.
pub(super) struct Inbox {
    pub(super) accepted: mpsc::Receiver<AcceptedStream>,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// The error for a shard whose thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardEnded;

impl ShardHandle {
    pub(super) fn new() -> (Self, Inbox) {
        let (accepted, accepted_here) = mpsc::channel(ACCEPTED_MAX);
        let (commands, commands_here) = mpsc::channel(COMMANDS_MAX);
        (Self { accepted, commands }, Inbox { accepted: accepted_here, commands: commands_here })
    }

    /// Gives the shard a connection. Waits while the queue is full.
    pub async fn accept(&self, connection: AcceptedStream) -> Result<(), ShardEnded> {
        self.accepted.send(connection).await.map_err(|_| ShardEnded)
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
