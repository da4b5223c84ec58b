//! The components of the tour, named as PHP ones are on the wire: a counter, and a chat room over SQLite.

mod chat_room;
mod counter;
mod store;

use std::path::Path;
use std::sync::Arc;

use crate::component::{App, Registry};

pub use chat_room::ChatRoom;
pub use counter::Counter;
pub use store::Store;

/// The class of the counter.
pub const COUNTER: &str = "App\\Diffyne\\Counter";
/// The class of the chat room.
pub const CHAT_ROOM: &str = "App\\Diffyne\\ChatRoom";

/// Adds the demo components.
pub fn register(registry: &mut Registry) {
    registry.add(counter::definition());
    registry.add(chat_room::definition());
}

/// The demo's shared state: its messages, in a file that all workers of the machine share.
pub fn app(database: &Path) -> anyhow::Result<App> {
    Ok(Arc::new(Store::open(database)?))
}
