//! What the tests and the benchmarks share.
//!
//! * [`load`]: a load generator of our own, light enough not to be what is measured
//! * [`process`]: real processes, started and stopped
//! * [`cluster`]: gateways, workers, Redis and nginx as one thing to test
//! * [`browser`]: headless Chromium
//! * [`client`]: an independent WebSocket client

pub mod browser;
pub mod client;
pub mod cluster;
pub mod load;
pub mod process;
