//! Metrics of uploads for components in Rust.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Counters and gauges of a store.
pub(super) struct UploadMetrics {
    /// Uploads by result.
    pub(super) uploads: IntCounterVec,
    /// Bytes of the files that wait.
    pub(super) bytes: IntGauge,
}

impl UploadMetrics {
    // Names and labels are constants, and a test makes them.
    #[allow(clippy::expect_used)]
    pub(super) fn new() -> Self {
        let uploads = Opts::new(
            "diffyne_worker_uploads_total",
            "File uploads by result: stored, too_large, full, invalid, failed, expired (removed)",
        );
        let bytes = Opts::new("diffyne_worker_upload_bytes", "Bytes of uploaded files that wait for their components");
        Self {
            uploads: IntCounterVec::new(uploads, &["result"]).expect("a counter's name and labels are well-formed"),
            bytes: IntGauge::with_opts(bytes).expect("a gauge's name is well-formed"),
        }
    }

    pub(super) fn count(&self, result: &str) {
        self.uploads.with_label_values(&[result]).inc();
    }

    pub(super) fn register(&self, registry: &Registry) {
        let registered = registry
            .register(Box::new(self.uploads.clone()))
            .and_then(|()| registry.register(Box::new(self.bytes.clone())));
        if let Err(error) = registered {
            tracing::error!(%error, "a metric of uploads was not registered");
        }
    }
}
