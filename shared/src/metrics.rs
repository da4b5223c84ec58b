//! Making and registering metrics, for the tables of both programs.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// A metric whose name and labels are constants of the program: they are well-formed, since a test of each program makes
/// them all.
#[allow(clippy::expect_used)]
pub fn made<C>(collector: prometheus::Result<C>) -> C {
    collector.expect("a metric's name and labels are well-formed")
}

/// Adds metrics that a part of a program has made for itself.
pub fn register_all(registry: &Registry, collectors: impl IntoIterator<Item = Box<dyn Collector>>) {
    for collector in collectors {
        if let Err(error) = registry.register(collector) {
            tracing::error!(%error, "a metric was not registered");
        }
    }
}

/// A registry whose metrics share a prefix.
pub struct Table {
    prefix: &'static str,
    /// Where everything is registered.
    pub registry: Registry,
}

impl Table {
    /// A registry with the metrics of the process itself.
    pub fn new(prefix: &'static str) -> Self {
        let registry = Registry::new();
        // Without /proc the metrics of the process are missing, and nothing else is wrong.
        let _ = registry.register(Box::new(ProcessCollector::for_self()));
        Self { prefix, registry }
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.prefix), help)
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = made(collector);
        #[allow(clippy::expect_used)]
        self.registry.register(Box::new(collector.clone())).expect("no metric is registered twice");
        collector
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(self.opts(name, help)))
    }

    /// Counters by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(self.opts(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(self.opts(name, help)))
    }

    /// Gauges by labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(self.opts(name, help), labels))
    }

    /// Adds a metric that was made elsewhere.
    pub fn add<C: Collector + Clone + 'static>(&self, collector: &C) {
        self.register(Ok(collector.clone()));
    }

    /// A histogram.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts))
    }
}
