//! Backends run calls: components written in Rust (`native`), or a Laravel application.
//!
//! The application runs in a pool of PHP processes (`php`) or behind a server of its own (`upstream`, over HTTP or
//! FastCGI). `bridge_reply` turns the replies of both into results; `rendering` makes patches of
//! what PHP has rendered, and `release` tells pages of a newer release of the application.

mod bridge_reply;
mod bridge_request;
mod names;
pub mod native;
pub(crate) mod php;
mod release;
mod rendering;
pub mod upstream;
mod verification;

use std::sync::Arc;

use diffyne_shared::signing::Signer;
use prometheus::Registry;
use serde_json::Value;

use crate::call::{BoxFuture, CallResult, Job};

/// How far a reload is.
#[derive(Debug, Clone, Default)]
pub struct ReloadProgress {
    /// Processes that still run older code.
    pub left: usize,
    /// Processes that run the newest code.
    pub renewed: usize,
    /// Why the newest code does not start, as PHP says it.
    pub error: Option<String>,
}

/// Runs calls.
pub trait Backend: Send + Sync {
    /// The name for logs and for the hello to gateways.
    fn name(&self) -> &'static str;
    /// Runs one call; must not panic and must return.
    fn run(&self, job: Job) -> BoxFuture<'_, CallResult>;
    /// What the hello tells gateways and operators about this backend: `bridge`, or `endpoint` without the bridge;
    /// `locked-upstream` where clients may choose the values of locked properties.
    fn features(&self) -> Vec<String> {
        Vec::new()
    }
    /// The release of the components, for pages to notice another one; `None` when it is not known.
    fn release(&self) -> Option<Arc<str>> {
        None
    }
    /// Replaces the keys that sign states, where the backend signs or verifies itself.
    fn set_signer(&self, _signer: &Signer) {}
    /// Gateways connected or disconnected, or this worker began to drain.
    fn gateways(&self, _connected: usize, _draining: bool) {}
    /// Loads the application's newest code; `false` when the backend has nothing to reload.
    fn reload(&self) -> bool {
        false
    }
    /// How far the last reload is.
    fn reload_progress(&self) -> ReloadProgress {
        ReloadProgress::default()
    }
    /// Why older code of the application still runs calls, where the newest does not start.
    fn outdated(&self) -> Option<String> {
        None
    }
    /// What each process does, and how many calls wait; `None` when the backend has no processes.
    fn processes(&self) -> Option<Value> {
        None
    }
    /// Adds the backend's own metrics to the worker's.
    fn register_metrics(&self, _registry: &Registry) {}
    /// Brings its gauges up to date before a scrape.
    fn refresh_metrics(&self) {}
    /// Whether the backend can run calls now, and if not, why.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
