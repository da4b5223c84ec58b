//! The worker's metrics. Labels are names of its components in the application's spelling, never a client's.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use diffyne_shared::metrics::{LabelNames, Table, UNKNOWN};
use diffyne_shared::trace;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use crate::call::CallResult;

/// Methods that get labels of their own; the rest share [`UNKNOWN`].
const METHODS_MAX: usize = 2_000;
/// The longest name that becomes a label.
const NAME_BYTES_MAX: usize = 255;
/// Components whose times are counted by themselves: each takes as many series as there are buckets.
pub(crate) const TIMED_COMPONENTS_MAX: usize = 100;

/// Counters and gauges of one worker process.
pub(crate) struct WorkerMetrics {
    pub(crate) registry: Registry,
    calls: IntCounterVec,
    /// Methods that have labels of their own.
    methods: RwLock<Methods>,
    duration: HistogramVec,
    timed: LabelNames,
    /// Parts of answers.
    pub(crate) parts: IntCounter,
    /// Calls that run.
    pub(crate) running: IntGauge,
    /// Calls that wait for a slot.
    pub(crate) queued: IntGauge,
    pub(crate) queue_limit: IntGauge,
    /// Calls that may run at once.
    pub(crate) concurrency: IntGauge,
    /// Calls handed back.
    pub(crate) busy: IntCounter,
    /// Whether older code of the application runs calls because the newest does not start.
    pub(crate) outdated: IntGauge,
    /// Connections of gateways' threads.
    pub(crate) connections: IntGauge,
    /// Gateways turned away.
    pub(crate) refused: IntCounter,
    /// Spans, by what became of them.
    pub(crate) spans: IntCounterVec,
}

impl WorkerMetrics {
    /// A new set, with the process's own metrics.
    pub(crate) fn new() -> Arc<Self> {
        let table = Table::new("diffyne_worker");
        let (counter, gauge) = (|name, help| table.counter(name, help), |name, help| table.gauge(name, help));
        let labels = ["component", "method", "outcome"];
        table.build_info();
        Arc::new(Self {
            calls: table.counters("calls_total", "Component calls by component, method and outcome", &labels),
            methods: RwLock::default(),
            duration: table.seconds_by(
                "call_duration_seconds",
                "From a call's start to its end, by component",
                &["component"],
            ),
            timed: LabelNames::new(TIMED_COMPONENTS_MAX),
            parts: counter("parts_total", "Parts of answers sent while their calls ran"),
            running: gauge("calls_running", "Calls that run now"),
            queued: gauge("calls_queued", "Calls that wait for a place"),
            queue_limit: gauge("calls_queued_limit", "Calls that may wait at the present pace"),
            concurrency: gauge("concurrency", "Calls that may run side by side"),
            busy: counter("calls_handed_back_total", "Calls handed back to a gateway, not run"),
            outdated: gauge("old_code_serves", "1 while older code runs calls because the newest does not start"),
            connections: gauge("gateway_connections", "Connections from gateways, one a thread of theirs"),
            refused: counter("gateways_refused_total", "Gateways that were refused: token or protocol version"),
            spans: trace::counter(&table),
            registry: table.registry,
        })
    }

    /// Counts a call that has ended.
    pub(crate) fn count_call(&self, call: &CallResult) {
        fn label(name: &str) -> &str {
            if name.is_empty() || name.len() > NAME_BYTES_MAX { UNKNOWN } else { name }
        }
        let (class, method) = (label(&call.class), label(&call.method));
        let (class, method) = if self.has_labels(class, method) { (class, method) } else { (UNKNOWN, UNKNOWN) };
        self.calls.with_label_values(&[class, method, call.outcome.label()]).inc();
    }

    /// Counts how long a call took, by its component in the application's spelling; empty where that is not known.
    pub(crate) fn observe_duration(&self, component: &str, took: Duration) {
        self.duration.with_label_values(&[self.timed.label(component)]).observe(took.as_secs_f64());
    }

    fn has_labels(&self, class: &str, method: &str) -> bool {
        let methods = self.methods.read().unwrap_or_else(PoisonError::into_inner);
        let known = methods.contains(class, method);
        if known || methods.count >= METHODS_MAX {
            return known;
        }
        drop(methods);
        self.methods.write().unwrap_or_else(PoisonError::into_inner).add(class, method)
    }
}

/// Methods by the classes that have them.
#[derive(Default)]
struct Methods {
    by_class: HashMap<Box<str>, HashSet<Box<str>>>,
    count: usize,
}

impl Methods {
    fn contains(&self, class: &str, method: &str) -> bool {
        self.by_class.get(class).is_some_and(|methods| methods.contains(method))
    }

    /// Adds a method if there is a place, and tells whether it is among them.
    fn add(&mut self, class: &str, method: &str) -> bool {
        if self.contains(class, method) {
            return true;
        }
        let has_place = self.count < METHODS_MAX;
        if has_place {
            self.by_class.entry(class.into()).or_default().insert(method.into());
            self.count += 1;
        }
        has_place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers() {
        assert!(WorkerMetrics::new().registry.gather().len() >= 6);
    }

    #[test]
    fn components_and_methods_are_bounded() {
        let metrics = WorkerMetrics::new();
        for number in 0..3 * METHODS_MAX {
            let method = format!("m{number}");
            metrics.count_call(&CallResult { class: "C".to_owned(), method, ..CallResult::default() });
        }
        metrics.count_call(&CallResult { class: "x".repeat(400_000), ..CallResult::default() });
        let families = metrics.registry.gather();
        let calls = families.iter().find(|family| family.name() == "diffyne_worker_calls_total");
        assert_eq!(calls.map(|calls| calls.get_metric().len()), Some(METHODS_MAX + 1));
    }
}
