//! Components written in Rust, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::DEMO_BACKEND;
use prometheus::Registry;

use super::Backend;
use super::verification::locked_feature;
use crate::call::{BoxFuture, CallResult, Job};
use crate::component::engine::Engine;
use crate::component::follow_up;

/// The backend over a component engine.
pub struct NativeBackend {
    engine: Arc<Engine>,
    name: &'static str,
}

impl NativeBackend {
    /// Runs calls on this engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, name: "native" }
    }

    /// Runs calls of the demo's components, and says so to gateways and operators.
    pub fn demo(engine: Arc<Engine>) -> Self {
        Self { engine, name: DEMO_BACKEND }
    }
}

impl Backend for NativeBackend {
    fn name(&self) -> &'static str {
        self.name
    }

    fn features(&self) -> Vec<String> {
        locked_feature(&self.engine.signer.load()).into_iter().collect()
    }

    fn release(&self) -> Option<Arc<str>> {
        Some(self.engine.release())
    }

    fn register_metrics(&self, registry: &Registry) {
        if let Some(uploads) = &self.engine.uploads {
            uploads.register_metrics(registry);
        }
    }

    fn run(&self, job: Job) -> BoxFuture<'_, CallResult> {
        Box::pin(async move {
            let began = Instant::now();
            let user = if job.wants_user { self.engine.registry.user_of(&job.client) } else { None };
            let mut result = follow_up::run(&self.engine, job).await;
            let answered = began.elapsed().saturating_sub(Duration::from_micros(result.phases.diff.into()));
            result.phases.split_queue_and_run(Duration::ZERO, answered);
            // A method that has told it knows better.
            result.user = result.user.or(user);
            result
        })
    }
}
