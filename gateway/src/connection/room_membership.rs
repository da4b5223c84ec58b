//! The rooms that one connection is in.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use diffyne_shared::bus::RoomMember;
use diffyne_shared::rate::{Bucket, Rate};

/// The memory that a membership takes in indexes, in bytes, beside its texts.
const MEMBERSHIP_BYTES: usize = 512;

/// A connection is in a room.
#[derive(Debug, Clone)]
pub struct RoomMembership {
    /// The room's name.
    pub room: Arc<str>,
    /// The id under which the connection's user is there.
    pub member: Arc<str>,
    /// Its memory, in bytes.
    pub bytes: usize,
}

impl RoomMembership {
    /// A connection enters a room.
    pub fn new(room: &Arc<str>, member: &RoomMember) -> Self {
        let bytes = MEMBERSHIP_BYTES + 2 * room.len() + member.bytes();
        Self { room: Arc::clone(room), member: Arc::clone(&member.id), bytes }
    }
}

/// The rooms of one connection. Most connections are in none, so this is one word.
#[derive(Debug, Default)]
pub struct ConnectionRooms(OnceCell<Box<RoomsOfOne>>);

#[derive(Debug, Default)]
struct RoomsOfOne {
    memberships: RefCell<Vec<RoomMembership>>,
    whispers: Bucket,
}

impl ConnectionRooms {
    /// Whether the connection is in no room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of rooms.
    pub fn len(&self) -> usize {
        self.0.get().map_or(0, |rooms| rooms.memberships.borrow().len())
    }

    /// Adds a room.
    pub fn add(&self, membership: RoomMembership) {
        self.0.get_or_init(Box::default).memberships.borrow_mut().push(membership);
    }

    /// Removes a room.
    pub fn remove(&self, room: &str) -> Option<RoomMembership> {
        let mut memberships = self.0.get()?.memberships.borrow_mut();
        let at = memberships.iter().position(|membership| &*membership.room == room)?;
        Some(memberships.swap_remove(at))
    }

    /// Removes all rooms.
    pub fn take(&self) -> Vec<RoomMembership> {
        self.0.get().map(|rooms| rooms.memberships.take()).unwrap_or_default()
    }

    /// Returns the id under which the connection's user is in a room.
    pub fn member_in(&self, room: &str) -> Option<Arc<str>> {
        let memberships = self.0.get()?.memberships.borrow();
        let found = memberships.iter().find(|membership| &*membership.room == room)?;
        Some(Arc::clone(&found.member))
    }

    /// Whether the rate allows one more whisper.
    pub fn may_whisper(&self, rate: Rate, now: Instant) -> bool {
        self.0.get().is_some_and(|rooms| rooms.whispers.take(rate, now))
    }
}
