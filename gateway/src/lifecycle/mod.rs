//! Tells the application what happens to connections, by webhook or by calls of a PHP class. Nothing here exists where it
//! is off, and a shard never waits for it.
//!
//! * [`queue`]: the events that wait to be delivered; [`event`]: their JSON
//! * [`rooms`]: who subscribes to what on this gateway; [`occupancy`]: which rooms that opens and closes in the cluster
//! * [`delivery`]: sends each [`batch`] in order, again and again, but for what the receiver refuses ([`set_aside`]);
//!   [`webhook`]: over HTTP
//! * [`tasks`]: starts and stops them

mod batch;
pub mod delivery;
pub mod event;
mod occupancy;
pub mod queue;
pub mod rooms;
mod set_aside;
pub mod tasks;
pub mod webhook;
