//! Which rooms have subscribers anywhere in the cluster, in Redis or in the memory of the only gateway.

use std::collections::HashSet;
use std::sync::Arc;

use super::redis::occupancy::RedisOccupancy;
use super::room_changes::{OccupancyChanges, RoomNews, RoomState};
use crate::clock;

/// The rooms of the cluster, as one gateway changes them.
pub struct Occupancy(pub(super) Variant);

pub(super) enum Variant {
    /// This gateway is the cluster.
    Memory(MemoryOccupancy),
    Redis(Box<RedisOccupancy>),
}

impl Occupancy {
    /// Whether the gateway has reported at all. Otherwise it has to report all its rooms, and say that it does.
    pub fn is_known(&self) -> bool {
        match &self.0 {
            Variant::Memory(_) => true,
            Variant::Redis(rooms) => rooms.is_known(),
        }
    }

    /// Whether there is more to find, of which one call returns a part.
    pub fn has_more(&self) -> bool {
        match &self.0 {
            Variant::Memory(_) => false,
            Variant::Redis(rooms) => rooms.has_more(),
        }
    }

    /// Applies changes, and returns the news, each of which this gateway has to tell. After an error the same changes have
    /// to be applied again before others. `None`: this gateway is not known, so that nothing was applied.
    pub async fn apply(&mut self, changes: &OccupancyChanges) -> Result<Option<Vec<RoomNews>>, String> {
        match &mut self.0 {
            Variant::Memory(rooms) => Ok(Some(rooms.apply(changes))),
            Variant::Redis(rooms) => rooms.apply(changes).await,
        }
    }
}

/// The rooms of a gateway without others.
#[derive(Default)]
pub(super) struct MemoryOccupancy {
    rooms: HashSet<Arc<str>>,
    version: u64,
}

impl MemoryOccupancy {
    fn apply(&mut self, changes: &OccupancyChanges) -> Vec<RoomNews> {
        // After a restart as well, what comes later is greater.
        self.version = self.version.max(clock::unix_millis().saturating_mul(1000));
        let mut news = Vec::new();
        let mut tell = |room: &Arc<str>, state| {
            self.version += 1;
            news.push(RoomNews { room: Arc::clone(room), version: self.version, state });
        };
        for room in &changes.entered {
            if self.rooms.insert(Arc::clone(room)) {
                tell(room, RoomState::Occupied);
            }
        }
        for room in &changes.left {
            if self.rooms.remove(room) {
                tell(room, RoomState::Vacated);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_alone_finds_the_first_and_the_last_by_itself() {
        let mut rooms = MemoryOccupancy::default();
        let mut apply = |entered: &[&str], left: &[&str]| {
            let list = |rooms: &[&str]| rooms.iter().map(|room| Arc::from(*room)).collect();
            let changes = OccupancyChanges { entered: list(entered), left: list(left), ..OccupancyChanges::default() };
            rooms.apply(&changes)
        };
        let first = apply(&["a", "b"], &[]);
        assert_eq!(first.iter().map(|news| news.state).collect::<Vec<_>>(), [RoomState::Occupied; 2]);
        assert_eq!(apply(&["a"], &["c"]), []);
        let last = apply(&[], &["a", "a"]);
        assert_eq!((last.len(), last[0].state), (1, RoomState::Vacated));
        assert!(last[0].version > first[1].version && first[1].version > first[0].version);
    }
}
