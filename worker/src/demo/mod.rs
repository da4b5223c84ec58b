//! The components of the tour, with class names as in PHP: a counter, and a chat room over SQLite; and their page.
//!
//! * `counter`, `chat_room`, `store`: the components, and where messages are kept
//! * `page`: the page; `site`: serves it beside a worker (`DIFFYNE_DEMO_LISTEN`), for `make cluster`
//! * `control`: the processes that its visitors may kill

mod chat_room;
mod control;
mod counter;
mod page;
mod site;
mod store;

use std::path::Path;
use std::sync::Arc;

use crate::component::{App, Registry};

pub use chat_room::ChatRoom;
pub use counter::Counter;
pub use page::html;
pub(crate) use site::serve;
pub use store::Store;

/// The counter's class.
pub const COUNTER: &str = counter::CLASS;
/// How the pages of the demo and of the gallery look: light and dark, with a contrast of 4.5 for every text.
pub const STYLE: &str = include_str!("style.css");
/// The chat room's class.
pub const CHAT_ROOM: &str = chat_room::CLASS;

/// Adds the demo components.
pub fn register(registry: &mut Registry) {
    registry.add(counter::definition());
    registry.add(chat_room::definition());
}

/// The demo's shared state: its messages, in one file for all workers of the machine.
pub fn app(database: &Path) -> anyhow::Result<App> {
    Ok(Arc::new(Store::open(database)?))
}
