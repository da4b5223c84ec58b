//! A stateless WebSocket gateway for Diffyne.
//!
//! It terminates browsers' connections, relays their component calls to workers, and shares broadcasts and presence
//! with the other gateways. It holds no component state, and depends on no worker.
//!
//! The path of a call: `acceptor` → `http` → `auth::admission` → `connection::session` → `relay` → worker →
//! `connection::reply` → `socket::outbox`. An AJAX call enters and leaves at `http::ajax`. The path of a broadcast: bus
//! → `cluster` → each `shard`'s hub → outboxes. `server` starts and stops everything.

mod acceptor;
mod admin;
pub mod auth;
mod bench;
mod call_log;
pub mod cli;
mod cluster;
mod connection;
mod doctor;
mod front_client;
pub mod http;
mod lifecycle;
mod lifecycle_listener;
mod memory;
mod metrics;
mod operator;
mod overview;
mod presence;
mod presence_api;
pub mod process;
mod protocol;
mod publish_api;
mod quota;
mod reaction;
mod relay;
mod retry_after;
pub mod scripts;
pub mod server;
mod shard;
pub mod socket;
mod thread_metrics;
#[cfg(feature = "top")]
mod top;
mod traces;

/// Internals that a test measures from outside: it compares their duration on short and long inputs. They are not an
/// interface.
#[doc(hidden)]
pub mod internals {
    pub use crate::auth::cookie_store::CookieStore;
    pub use crate::auth::grant::{EventSubscription, Grants};
    pub use crate::relay::Caller;
    pub use crate::shard::subscription_index::SubscriptionIndex;
}
