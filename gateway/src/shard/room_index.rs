//! The connections of one thread in each room.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::presence::registry::RoomRegistry;
use crate::presence::room::Watcher;

/// The rooms of one thread's connections.
pub struct ShardRooms {
    /// The number of the shard.
    index: usize,
    /// Who is in which room, over all threads and gateways.
    pub(super) presence: Arc<RoomRegistry>,
    pub(super) connections: RefCell<RoomIndex>,
}

impl ShardRooms {
    /// No connection is in a room.
    pub(super) fn new(index: usize, presence: Arc<RoomRegistry>) -> Self {
        Self { index, presence, connections: RefCell::default() }
    }

    /// Names a connection of this shard.
    pub(super) fn watcher(&self, key: usize) -> Watcher {
        Watcher { shard: self.index, key }
    }

    /// Returns the key of a connection, if it is one of this shard.
    pub(super) fn key_of(&self, watcher: Watcher) -> Option<usize> {
        (watcher.shard == self.index).then_some(watcher.key)
    }
}

/// The index: by room, the keys of connections, and whether they have the list.
#[derive(Debug, Default)]
pub(super) struct RoomIndex(HashMap<Arc<str>, HashMap<usize, bool>>);

impl RoomIndex {
    pub(super) fn add(&mut self, room: &Arc<str>, key: usize) {
        self.0.entry(Arc::clone(room)).or_default().insert(key, false);
    }

    pub(super) fn remove(&mut self, room: &str, key: usize) {
        if let Some(keys) = self.0.get_mut(room) {
            keys.remove(&key);
            if keys.is_empty() {
                self.0.remove(room);
            }
        }
    }

    /// Notes that a connection gets the list. Returns `false` if it is not in the room any more.
    pub(super) fn set_listed(&mut self, room: &str, key: usize) -> bool {
        match self.0.get_mut(room).and_then(|keys| keys.get_mut(&key)) {
            Some(listed) => {
                *listed = true;
                true
            }
            None => false,
        }
    }

    /// Whether a connection is in the room and has its list.
    pub(super) fn is_listed(&self, room: &str, key: usize) -> bool {
        self.0.get(room).and_then(|keys| keys.get(&key)).copied().unwrap_or(false)
    }

    /// Returns the connections that have the list.
    pub(super) fn listed(&self, room: &str) -> Vec<usize> {
        let keys = self.0.get(room).into_iter().flatten();
        keys.filter(|(_, listed)| **listed).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_that_have_the_list_hear_of_changes() {
        let (mut index, room): (RoomIndex, Arc<str>) = (RoomIndex::default(), "r".into());
        index.add(&room, 1);
        index.add(&room, 2);
        assert!(index.listed("r").is_empty() && !index.is_listed("r", 2));
        assert!(index.set_listed("r", 2) && !index.set_listed("r", 3) && !index.set_listed("s", 2));
        assert_eq!(index.listed("r"), [2]);
        index.remove("r", 2);
        index.remove("r", 1);
        index.remove("s", 1);
        assert!(index.0.is_empty(), "nothing is left of a room without connections");
    }
}
