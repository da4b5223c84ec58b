//! Counters and gauges of patches that the worker makes for an application.

use diffyne_shared::metrics::{made, register_all};
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters and gauges of the tree cache.
#[derive(Clone)]
pub(super) struct TreeMetrics {
    /// Calls whose client shows HTML that was at hand.
    pub(super) hits: IntCounter,
    /// Calls for which PHP rendered the old state as well.
    pub(super) misses: IntCounter,
    /// Entries that were dropped, by reason.
    pub(super) evicted: IntCounterVec,
    /// Bytes of all entries.
    pub(super) bytes: IntGauge,
    /// Entries.
    pub(super) entries: IntGauge,
}

impl TreeMetrics {
    pub(super) fn new() -> Self {
        let opts = |name: &str, help: &str| Opts::new(format!("diffyne_worker_tree_cache_{name}"), help);
        let counter = |name, help| made(IntCounter::with_opts(opts(name, help)));
        let gauge = |name, help| made(IntGauge::with_opts(opts(name, help)));
        Self {
            hits: counter("hits_total", "Calls whose client shows HTML that the worker had"),
            misses: counter("misses_total", "Calls for which PHP rendered the component's old state as well"),
            evicted: made(IntCounterVec::new(
                opts("evicted_total", "Entries of the tree cache that were dropped"),
                &["reason"],
            )),
            bytes: gauge("bytes", "Bytes that the tree cache takes"),
            entries: gauge("entries", "Trees in the tree cache"),
        }
    }

    /// Adds the metrics to the worker's.
    pub(super) fn register(&self, registry: &Registry) {
        let collectors: [Box<dyn Collector>; 5] = [
            Box::new(self.hits.clone()),
            Box::new(self.misses.clone()),
            Box::new(self.evicted.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.entries.clone()),
        ];
        register_all(registry, collectors);
    }
}
