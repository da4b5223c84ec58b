//! Making and registering metrics, for the tables of both programs.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::process_metrics::ProcessMetrics;

/// The label of what has no name of its own: nothing has confirmed one, or others have taken all places.
pub const UNKNOWN: &str = "unknown";
/// The longest name that becomes a label, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Upper bounds of the buckets of every time, in seconds: from a tenth of a millisecond up to more than a call may take
/// (`DIFFYNE_CALL_TIMEOUT`). The same bounds everywhere, so that times of different programs can be compared and added.
pub const SECONDS: [f64; 17] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

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

/// Names that become labels: so many, as they come. The rest share [`UNKNOWN`].
#[derive(Debug)]
pub struct LabelNames {
    max: usize,
    /// Calls read it; only the first call of a name writes.
    known: RwLock<HashSet<Box<str>>>,
}

impl LabelNames {
    /// Gives this many names a label.
    pub fn new(max: usize) -> Self {
        Self { max, known: RwLock::default() }
    }

    /// The label of a name that the application has confirmed.
    pub fn label<'a>(&self, name: &'a str) -> &'a str {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return UNKNOWN;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return name;
        }
        if known.len() >= self.max {
            return UNKNOWN;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have taken the last place meanwhile.
        if known.contains(name) || (known.len() < self.max && known.insert(name.into())) { name } else { UNKNOWN }
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
        register_all(&registry, [Box::new(made(ProcessMetrics::new())) as Box<dyn Collector>]);
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

    /// A histogram of times.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(Histogram::with_opts(seconds_opts(self.opts(name, help))))
    }

    /// Histograms of times by labels.
    pub fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.register(HistogramVec::new(seconds_opts(self.opts(name, help)), labels))
    }

    /// Tells which build of the program this is.
    pub fn build_info(&self) {
        let info = self.gauges("build_info", "Version and commit of this program; always 1", &["version", "revision"]);
        info.with_label_values(&[crate::VERSION, crate::REVISION.unwrap_or(UNKNOWN)]).set(1);
    }
}

/// The options of a histogram of times.
pub fn seconds_opts(opts: Opts) -> HistogramOpts {
    HistogramOpts::from(opts).buckets(SECONDS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_names_become_labels_as_they_come() {
        let names = LabelNames::new(2);
        assert_eq!(["a", "b", "c", "a"].map(|name| names.label(name)), ["a", "b", UNKNOWN, "a"]);
        assert_eq!(names.label(""), UNKNOWN);
        assert_eq!(LabelNames::new(2).label(&"x".repeat(NAME_BYTES_MAX + 1)), UNKNOWN);
    }
}
