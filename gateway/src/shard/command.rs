//! What other threads tell a shard, and the handle by which they do.

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

/// AcceptedStream connections that may wait for a shard.
const ACCEPTED_MAX: usize = 1024;
/// Commands that may wait for a shard.
const COMMANDS_MAX: usize = 256;

/// What a shard is told to do.
pub enum Command {
    /// Deliver this broadcast.
    Deliver(Arc<Delivery>),
    /// The history begins here, after these.
    StartHistory(Position, Arc<[Arc<Delivery>]>),
    /// Tell those who subscribe that broadcasts are missing.
    Gap(Position),
    /// The server stops: send clients away, so many a second.
    Drain(f64),
    /// Close all connections that are left.
    Close,
    /// Name the connections that hold most memory.
    Largest(oneshot::Sender<Vec<LargeConnection>>),
    /// End these connections.
    Shed(Vec<LargeConnection>),
    /// Describe these connections.
    Find(ConnectionSelector, oneshot::Sender<Vec<Value>>),
    /// Close these connections, and say how many they were.
    Disconnect(ConnectionSelector, oneshot::Sender<usize>),
    /// Say how the workers are, as this shard sees them.
    Workers(oneshot::Sender<Vec<(Endpoint, Health)>>),
}

/// The two queues into a shard.
#[derive(Clone)]
pub struct ShardHandle {
    accepted: mpsc::Sender<AcceptedStream>,
    commands: mpsc::Sender<Command>,
}

/// The shard's ends of those queues.
pub(super) struct Inbox {
    pub(super) accepted: mpsc::Receiver<AcceptedStream>,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// The shard's thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardEnded;

impl ShardHandle {
    pub(super) fn new() -> (Self, Inbox) {
        let (accepted, accepted_here) = mpsc::channel(ACCEPTED_MAX);
        let (commands, commands_here) = mpsc::channel(COMMANDS_MAX);
        (Self { accepted, commands }, Inbox { accepted: accepted_here, commands: commands_here })
    }

    /// Gives the shard a connection; waits while its queue is full.
    pub async fn accept(&self, connection: AcceptedStream) -> Result<(), ShardEnded> {
        self.accepted.send(connection).await.map_err(|_| ShardEnded)
    }

    /// Sends a command; waits while its queue is full. A shard that has ended has nobody left to serve.
    pub async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    /// Sends a command that is answered; `None` from a shard that has ended.
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
