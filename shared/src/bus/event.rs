//! What gateways publish, and what the bus delivers to them.

use std::sync::Arc;

use thiserror::Error;

use super::rooms::{RoomReport, Whisper};
use crate::trace_context::TraceContext;

/// An event to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Event name.
    pub name: String,
    /// The `params` list as JSON.
    pub params: String,
    /// The client that has the event already.
    pub except: Option<String>,
    /// How many broadcasts caused this one.
    pub depth: u32,
    /// The only user who gets it; `None`: everybody.
    pub user: Option<String>,
    /// The span that published it, where traces are recorded.
    pub trace: Option<TraceContext>,
}

/// A place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The history's name; another one means that the past is lost.
    pub epoch: Arc<str>,
    /// Number of the broadcast in this epoch, without gaps.
    pub offset: u64,
}

/// A broadcast to deliver.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Unique; clients drop one that they have seen.
    pub id: String,
    /// Its place in the history; `None` when it was delivered while Redis was away.
    pub position: Option<Position>,
    /// What was published.
    pub event: Publication,
}

/// What the bus tells its gateway, in order.
#[derive(Debug)]
pub enum BusEvent {
    /// Deliver to all subscribed.
    Broadcast(Broadcast),
    /// Redis is away: deliver to those who are subscribed now, and remember it under the id.
    Local(Broadcast),
    /// Comes first: where the history is, and what is in it, oldest first.
    Start {
        /// The head.
        position: Position,
        /// The broadcasts before the head, as far back as the history reaches.
        history: Vec<Broadcast>,
    },
    /// Something was missed that cannot be replayed.
    Gap(Position),
    /// A query of another gateway; see [`Bus::respond`](super::Bus::respond).
    Query {
        /// Names the query for the response.
        id: String,
        /// The query.
        query: String,
    },
    /// Another gateway's members have changed.
    Rooms(RoomReport),
    /// What members at another gateway whisper.
    Whispers(Vec<Whisper>),
}

/// The bus did not take a broadcast.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the queue of broadcasts is full")]
pub struct QueueFull;

/// An event for a user of this name is a command: gateways disconnect the user, and no client hears of it.
pub const DISCONNECT_EVENT: &str = "diffyne.disconnect";
