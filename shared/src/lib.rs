//! What Diffyne gateways and workers must agree on.
//!
//! Nothing here opens a socket, except the bus (`bus::redis`) and the admin listener (`admin`).
//!
//! * [`settings`]: typed settings from defaults, a TOML file, `.env`, the environment and flags
//! * [`envelope`]: what a browser sends and what it is answered
//! * [`rpc`]: the frames between a gateway and a worker
//! * [`token`]: what gateways and workers prove to each other
//! * [`signing`]: the state signature, byte for byte PHP's
//! * [`bus`]: how gateways talk to each other: broadcasts, presence, the registry of workers
//! * [`telemetry`], [`metrics`], [`admin`]: logs, metrics, and the listener for them and for readiness
//! * [`listener`], [`backoff`]: sockets of all kinds, and waiting between attempts

pub mod admin;
pub mod backoff;
pub mod bus;
pub mod envelope;
pub mod listener;
pub mod metrics;
pub mod rate;
pub mod rpc;
pub mod settings;
pub mod signing;
pub mod telemetry;
pub mod tls;
pub mod token;

/// The version that `/health`, `--version` and the hello of the relay tell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
