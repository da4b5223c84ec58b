//! Components written in Rust, in this process.

use super::{Backend, FinishedFuture, Job};
use crate::component::engine::Engine;

/// The backend over an engine.
pub struct NativeBackend {
    engine: std::sync::Arc<Engine>,
}

impl NativeBackend {
    /// Runs calls on this engine.
    pub fn new(engine: std::sync::Arc<Engine>) -> Self {
        Self { engine }
    }
}

impl Backend for NativeBackend {
    fn name(&self) -> &'static str {
        "native"
    }

    fn features(&self) -> Vec<String> {
        super::locked_feature(&self.engine.signer.load()).into_iter().collect()
    }

    fn run(&self, job: Job) -> FinishedFuture<'_> {
        Box::pin(async move { self.engine.run(job.kind, job.client, &job.payload).await })
    }
}
