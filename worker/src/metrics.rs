//! What a worker counts. Labels are names that it has recognised.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::backend::Finished;

/// Counters and gauges of one worker process.
pub struct Metrics {
    /// Where they are registered.
    pub registry: Registry,
    calls: IntCounterVec,
    /// From a call's start to its end.
    pub duration: Histogram,
    /// Calls that run.
    pub running: IntGauge,
    /// Calls that wait for a place.
    pub queued: IntGauge,
    /// Calls that may run side by side.
    pub concurrency: IntGauge,
    /// Calls handed back.
    pub busy: IntCounter,
    /// Connected gateways' threads.
    pub connections: IntGauge,
    /// Gateways turned away.
    pub refused: IntCounter,
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    // Names and labels are constants of this file; a test registers them all.
    #[allow(clippy::expect_used)]
    let collector = collector.expect("a metric's name and labels are well-formed");
    #[allow(clippy::expect_used)]
    registry.register(Box::new(collector.clone())).expect("no metric is registered twice");
    collector
}

impl Metrics {
    /// A fresh set, with the process's own figures.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let name = |short: &str| format!("diffyne_worker_{short}");
        let counter = |short, help| register(&registry, IntCounter::new(name(short), help));
        let gauge = |short, help| register(&registry, IntGauge::new(name(short), help));
        let seconds = [0.000_1, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let duration = HistogramOpts::new(name("call_duration_seconds"), "From a call's start to its end");
        // Without /proc there are no figures of the process, and nothing else is wrong.
        let _ = registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        Arc::new(Self {
            calls: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(name("calls_total"), "Component calls by component, method and outcome"),
                    &["component", "method", "outcome"],
                ),
            ),
            duration: register(&registry, Histogram::with_opts(duration.buckets(seconds.to_vec()))),
            running: gauge("calls_running", "Calls that run now"),
            queued: gauge("calls_queued", "Calls that wait for a place"),
            concurrency: gauge("concurrency", "Calls that may run side by side"),
            busy: counter("calls_handed_back_total", "Calls handed back to a gateway, not run"),
            connections: gauge("gateway_connections", "Connections from gateways, one a thread of theirs"),
            refused: counter("gateways_refused_total", "Gateways turned away: token or protocol version"),
            registry,
        })
    }

    /// Counts a call that has ended.
    pub fn finished(&self, call: &Finished) {
        fn known(name: &str) -> &str {
            if name.is_empty() { "other" } else { name }
        }
        let labels = [known(&call.class), known(&call.method), call.outcome.label()];
        self.calls.with_label_values(&labels).inc();
    }
}
