//! The pool's counters and gauges.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Upper bounds of the wait time's buckets, in seconds.
const WAIT_BUCKETS: [f64; 10] = [0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Counters and gauges of one pool.
#[derive(Clone)]
pub(super) struct PoolMetrics {
    /// Processes that are ready.
    pub(super) ready: IntGauge,
    /// Processes that may run calls at once.
    pub(super) slots: IntGauge,
    /// Calls that wait for a process.
    pub(super) queued: IntGauge,
    /// How long calls waited.
    pub(super) wait: Histogram,
    /// Processes that have ended, by reason.
    pub(super) ended: IntCounterVec,
    /// Processes that did not become ready.
    pub(super) start_failures: IntCounter,
    /// Memory of the process that ran the last call.
    pub(super) memory: IntGauge,
}

// Names and labels are constants, and every test of the pool registers them.
#[allow(clippy::expect_used)]
fn valid<C>(collector: prometheus::Result<C>) -> C {
    collector.expect("a metric's name and labels are well-formed")
}

impl PoolMetrics {
    pub(super) fn new() -> Self {
        let opts = |name: &str, help: &str| Opts::new(format!("diffyne_worker_php_{name}"), help);
        let gauge = |name, help| valid(IntGauge::with_opts(opts(name, help)));
        let wait = HistogramOpts::from(opts("queue_wait_seconds", "How long calls waited for a PHP process"));
        Self {
            ready: gauge("processes_ready", "PHP processes that are ready, the spare one included"),
            slots: gauge("processes_wanted", "PHP processes that may run calls at once"),
            queued: gauge("calls_queued", "Calls that wait for a PHP process"),
            wait: valid(Histogram::with_opts(wait.buckets(WAIT_BUCKETS.to_vec()))),
            ended: valid(IntCounterVec::new(
                opts("processes_ended_total", "PHP processes that have ended"),
                &["reason"],
            )),
            start_failures: valid(IntCounter::with_opts(opts(
                "start_failures_total",
                "PHP processes that did not start",
            ))),
            memory: gauge(
                "process_memory_bytes",
                "Memory of the PHP process that ran a call last, without what is shared",
            ),
        }
    }

    /// Adds the metrics to the worker's.
    pub(super) fn register(&self, registry: &Registry) {
        let collectors: [Box<dyn Collector>; 7] = [
            Box::new(self.ready.clone()),
            Box::new(self.slots.clone()),
            Box::new(self.queued.clone()),
            Box::new(self.wait.clone()),
            Box::new(self.ended.clone()),
            Box::new(self.start_failures.clone()),
            Box::new(self.memory.clone()),
        ];
        for collector in collectors {
            if let Err(error) = registry.register(collector) {
                tracing::error!(%error, "a metric of the pool was not registered");
            }
        }
    }
}
