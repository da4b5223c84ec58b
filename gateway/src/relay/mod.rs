//! The gateway's side of the relay protocol: selects a worker for each call, and returns the result.
//!
//! Each thread has one relay, with its own connection to each worker. A call runs at most once: it goes to another
//! worker only after the first one has handed it back (`Busy`).
//!
//! * [`discovery`]: finds workers
//! * [`upstream`]: one worker as this thread sees it; [`health`], [`breaker`], [`latency`] and [`slowness`]: its condition
//! * [`selection`]: selects the worker for the next call; [`preference`]: which worker a component has, and when it is
//!   left alone; [`component_key`]: the component
//! * [`calls`]: the calls in progress; [`throughput`]: the rate at which they are answered; [`dispatch`]: combines
//!   these parts
//! * [`part_count`]: parts of an answer that a worker has not been told of
//! * [`connect`], [`link`]: open a connection to a worker, and keep it

mod breaker;
mod call;
mod calls;
mod component_key;
mod connect;
pub mod discovery;
mod dispatch;
mod health;
mod latency;
mod link;
mod part_count;
mod preference;
mod selection;
mod settings;
mod slowness;
mod throughput;
mod upstream;

pub use call::{CallHandler, CallRequest, Caller, RelayObserver, RelayResult};
pub use component_key::ComponentKey;
pub use connect::greet_once;
pub use dispatch::Relay;
pub use health::Health;
pub use part_count::PartCount;
pub use settings::{OwnWorker, RelaySettings};
