//! What Diffyne gateways and workers must agree on. Neither program's code is used here.
//!
//! | module | what is there | uses of this crate |
//! |---|---|---|
//! | [`rate`] | rate limits, without I/O | |
//! | [`token`] | the worker token: MACs by purpose | |
//! | [`signing`] | the state signature, byte for byte PHP's | |
//! | [`metrics`], [`backoff`], [`clock`], [`memory`], [`descriptors`], [`task`] | making metrics; waiting between attempts; the time of day; the system's page size; its limit of descriptors; starting tasks | |
//! | [`rpc`] | the protocol between a gateway and a worker: frames, handshake, endpoints | `token` |
//! | [`envelope`] | the messages that a browser sends | `rpc` |
//! | [`settings`] | typed settings from defaults, a TOML file, `.env`, the environment and flags | `rate`, `rpc`, `signing`, `token` |
//! | [`telemetry`] | logs, and texts from outside in them | `rate`, `settings` |
//! | [`signals`] | signals that would end the process and mean nothing | |
//! | [`listener`], [`tls`] | TCP and Unix sockets; certificates between gateways and workers | `rpc` |
//! | [`http_server`] | a small HTTP server with limits | `listener` |
//! | [`http_client`] | a request over a connection of its own | `listener`, `rpc`, `tls` |
//! | [`admin_tokens`] | who may ask that listener, and what | |
//! | [`admin`] | the listener for metrics, readiness and an operator's requests | `http_client`, `http_server`, `listener`, `rpc` |
//! | [`trace_context`] | the place of a hop in its trace, without I/O | |
//! | [`trace`] | spans of hops, and how they reach a collector | `http_client`, `metrics`, `rpc`, `telemetry`, `tls`, `trace_context` |
//! | [`bus`] | how gateways reach each other and find workers: in memory, or over Redis | all of these but `admin`, `http_client`, `http_server`, `listener`, `metrics` and `tls` |
//!
//! Sockets are opened by `listener` (which `admin` and `http_client` use) and by the bus over Redis; files are read by `settings` and
//! `tls`, and written by `telemetry`. Everything else is without I/O.

pub mod admin;
pub mod admin_tokens;
pub mod backoff;
pub mod bus;
pub mod clock;
pub mod descriptors;
pub mod envelope;
pub mod http_client;
pub mod http_server;
pub mod listener;
pub mod memory;
pub mod metrics;
mod process_metrics;
pub mod rate;
pub mod rpc;
pub mod settings;
pub mod signals;
pub mod signing;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod trace;
pub mod trace_context;

/// A boxed future, for traits and callbacks: one that can move between threads, and one that stays on its own.
pub use futures_util::future::{BoxFuture, LocalBoxFuture};

/// The version that `/health`, `--version` and the hello of the relay tell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit of the source, where the build was told it: `make build` and the packages do. A build script that asked git
/// would have every commit build everything again.
pub const REVISION: Option<&str> = match option_env!("DIFFYNE_REVISION") {
    Some(revision) if !revision.is_empty() => Some(revision),
    _ => None,
};

/// Version and commit, as `--version` and the first line of a log tell them.
pub fn build() -> String {
    format!("{VERSION} ({})", REVISION.unwrap_or("commit unknown"))
}
