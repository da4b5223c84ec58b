//! Tells the application what happens to connections, by webhook or by calls of a PHP class. Nothing here exists where it
//! is off, and a shard never waits for it.
//!
//! * [`queue`]: the events that wait to be delivered; [`event`]: their JSON
//! * [`rooms`]: who subscribes to what on this gateway; [`occupancy`]: which rooms that opens and closes in the cluster
//! * [`delivery`]: sends batches in order, again and again; [`webhook`]: over HTTP
//! * [`tasks`]: starts and stops them

pub mod delivery;
pub mod event;
mod occupancy;
pub mod queue;
pub mod rooms;
pub mod tasks;
pub mod webhook;
