//! What shards tell their connections of rooms.

use std::sync::Arc;

use super::room::Watcher;
use crate::shard::delivery::SharedFrame;

/// Something to tell connections in a room.
#[derive(Debug)]
pub enum PresenceNews {
    /// Members have come or left: for all connections that have the list.
    Change {
        /// The room.
        room: Arc<str>,
        /// The message.
        frame: SharedFrame,
    },
    /// The list of the members.
    List {
        /// The room.
        room: Arc<str>,
        /// The message.
        frame: SharedFrame,
        /// The connections that have waited for it.
        watchers: Vec<Watcher>,
    },
    /// What a member whispers.
    Whisper {
        /// The room.
        room: Arc<str>,
        /// The message.
        frame: SharedFrame,
        /// The connection that it comes from, if that is one of this gateway.
        except: Option<Watcher>,
    },
}
