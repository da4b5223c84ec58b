//! What a gateway reports of the rooms in which it has subscribers, and what it learns by that.

use std::sync::Arc;

/// The beginning of what stands in the place of a room when a gateway has ended without leaving.
const LOST: &str = "lost:";

/// What has changed on a gateway.
#[derive(Debug, Clone, Default)]
pub struct OccupancyChanges {
    /// Rooms that have their first subscriber there.
    pub entered: Vec<Arc<str>>,
    /// Rooms whose last subscriber there has gone.
    pub left: Vec<Arc<str>>,
    /// News that were told, by their versions.
    pub told: Vec<(Arc<str>, u64)>,
    /// The gateway reports for the first time, or has reason to believe that it is not known.
    pub is_first: bool,
    /// The gateway stops.
    pub leaves: bool,
    /// The gateway has no room for news, and says no more than that it lives.
    pub only_lives: bool,
}

impl OccupancyChanges {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.left.is_empty() && self.told.is_empty() && !self.is_first
    }
}

/// What is to be told of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomNews {
    /// The room, as it was reported.
    pub room: Arc<str>,
    /// Grows with each of the room's changes.
    pub version: u64,
    /// What the room is now.
    pub state: RoomState,
}

/// What a room is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomState {
    /// It has subscribers.
    Occupied,
    /// It has none.
    Vacated,
    /// It is no room, but a gateway that has ended without leaving.
    LostGateway,
}

impl RoomNews {
    /// What was found of a room.
    pub(super) fn new(room: String, version: u64, is_occupied: bool) -> Self {
        let state = match (room.starts_with(LOST), is_occupied) {
            (true, _) => RoomState::LostGateway,
            (false, true) => RoomState::Occupied,
            (false, false) => RoomState::Vacated,
        };
        Self { room: room.into(), version, state }
    }

    /// The gateway that has ended.
    pub fn lost_gateway(&self) -> &str {
        self.room.strip_prefix(LOST).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_gateway_is_no_room() {
        let news = RoomNews::new("lost:shop-6001.0a".to_owned(), 1, false);
        assert_eq!((news.state, news.lost_gateway()), (RoomState::LostGateway, "shop-6001.0a"));
    }
}
