//! The gateway's side of the relay protocol: which worker gets a call, and what becomes of it.
//!
//! One relay a thread, with its own connection to each worker. A call runs at most once: a worker that has it, and has
//! not handed it back (`Busy`), is the only one that ever gets it.
//!
//! * [`discovery`]: which workers there are
//! * [`upstream`]: one worker as this thread sees it; [`health`], [`breaker`] and [`latency`]: whether it is well
//! * [`selection`]: which worker gets the next call
//! * [`calls`]: the calls under way; [`throughput`]: how fast they are answered; [`dispatch`]: all of it together
//! * [`connect`], [`link`]: opening a connection to a worker, and keeping it

mod breaker;
mod call;
mod calls;
mod connect;
pub mod discovery;
mod dispatch;
mod health;
mod latency;
mod link;
mod selection;
mod settings;
mod throughput;
mod upstream;

pub use call::{CallHandler, CallRequest, Caller, RelayObserver, RelayResult};
pub use connect::greet_once;
pub use dispatch::Relay;
pub use health::Health;
pub use settings::RelaySettings;
