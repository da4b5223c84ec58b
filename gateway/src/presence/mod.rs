//! Who is in which room, over all gateways.
//!
//! * [`rooms`]: the members of each [`room`], as this gateway and the others have reported them; without I/O
//! * [`news`]: what shards tell their connections of it
//! * [`registry`]: what shards change of it
//! * [`feed`]: from there to the shards; [`sync`]: from and to the other gateways

pub mod feed;
pub mod news;
pub mod registry;
pub mod room;
pub mod rooms;
pub mod sync;
