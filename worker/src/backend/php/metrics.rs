//! The pool's counters and gauges.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::metrics::{LabelNames, UNKNOWN, made, register_all, seconds_opts};
use diffyne_shared::telemetry::{self, LogThrottle};
use prometheus::core::Collector;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::message::Leftover;
use super::status::STATES;
use crate::metrics::TIMED_COMPONENTS_MAX;

/// Kinds of leftovers that get labels of their own; the rest share [`OTHER`]. The catalogue in `sandbox.php` has fewer.
const KINDS_MAX: usize = 64;
/// The longest kind that becomes a label.
const KIND_BYTES_MAX: usize = 40;
/// The kind of processes in which `connection_aborted()` has become true.
const ABORTED: &str = "aborted";
/// The label of kinds that get none of their own.
const OTHER: &str = "other";
/// Limits log lines about leftovers: users can cause them.
static LEFTOVER_LINES: LogThrottle = LogThrottle::new(10, 50);

/// Counters and gauges of one pool.
#[derive(Clone)]
pub(super) struct PoolMetrics {
    /// Processes that are ready.
    pub(super) ready: IntGauge,
    /// Processes that may run calls at once.
    pub(super) slots: IntGauge,
    /// Calls that wait for a process.
    pub(super) queued: IntGauge,
    /// How long calls waited, by component.
    wait: HistogramVec,
    timed: Arc<LabelNames>,
    /// Processes by what they do.
    processes: IntGaugeVec,
    /// Processes that have ended, by reason.
    pub(super) ended: IntCounterVec,
    /// Calls that left something behind that cannot be put back, by kind.
    leftovers: IntCounterVec,
    /// Kinds that have labels.
    kinds: Arc<LabelNames>,
    /// Processes that did not become ready.
    pub(super) start_failures: IntCounter,
    /// Reloads because files have changed.
    pub(super) watch_reloads: IntCounter,
    /// Calls that got the reply of an equal one.
    pub(super) coalesced: IntCounter,
    /// Calls that wait for the reply of an equal one.
    pub(super) calls_waiting: IntGauge,
    /// Memory of the process that ran the last call.
    pub(super) memory: IntGauge,
}

impl PoolMetrics {
    pub(super) fn new() -> Self {
        let opts = |name: &str, help: &str| Opts::new(format!("diffyne_worker_php_{name}"), help);
        let gauge = |name, help| made(IntGauge::with_opts(opts(name, help)));
        let wait = seconds_opts(opts("queue_wait_seconds", "How long calls waited for a PHP process, by component"));
        Self {
            ready: gauge("processes_ready", "PHP processes that are ready, the spare one included"),
            slots: gauge("processes_wanted", "PHP processes that may run calls at once"),
            queued: gauge("calls_queued", "Calls that wait for a PHP process"),
            wait: made(HistogramVec::new(wait, &["component"])),
            timed: Arc::new(LabelNames::new(TIMED_COMPONENTS_MAX)),
            processes: made(IntGaugeVec::new(
                opts(
                    "processes",
                    "PHP processes by what they do: starting, template, idle, busy, cleaning_up, exiting",
                ),
                &["state"],
            )),
            ended: made(IntCounterVec::new(
                opts("processes_ended_total", "PHP processes that have ended"),
                &["reason"],
            )),
            leftovers: made(IntCounterVec::new(
                opts("leftovers_total", "Calls whose PHP process was replaced because of what they left behind"),
                &["kind"],
            )),
            kinds: Arc::new(LabelNames::new(KINDS_MAX)),
            start_failures: made(IntCounter::with_opts(opts(
                "start_failures_total",
                "PHP processes that did not start",
            ))),
            watch_reloads: made(IntCounter::with_opts(opts(
                "watch_reloads_total",
                "Times that PHP processes were replaced because files have changed",
            ))),
            coalesced: made(IntCounter::with_opts(opts(
                "calls_coalesced_total",
                "Calls of shared methods that got the reply of an equal one",
            ))),
            calls_waiting: gauge("calls_sharing", "Calls of shared methods that wait for the reply of an equal one"),
            memory: gauge(
                "process_memory_bytes",
                "Memory of the PHP process that ran a call last, without what is shared",
            ),
        }
    }

    /// Counts a call that left something behind, and logs what and where.
    pub(super) fn count_leftover(&self, process: u32, leftover: &Leftover) {
        let kind = self.kind(&leftover.kind);
        self.leftovers.with_label_values(&[kind]).inc();
        if kind == ABORTED {
            // The browser has left, as browsers do.
            return tracing::debug!(
                process,
                "a PHP process is replaced, because connection_aborted() stays true in it"
            );
        }
        if let Some(left_out) = LEFTOVER_LINES.allow() {
            let component = telemetry::name(&leftover.component);
            tracing::warn!(
                process,
                kind,
                %component,
                left_out,
                "a call left something behind that cannot be put back, so its PHP process is replaced"
            );
        }
    }

    /// The label of a kind.
    fn kind<'a>(&self, kind: &'a str) -> &'a str {
        let is_word = kind.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if kind.len() > KIND_BYTES_MAX || !is_word {
            return OTHER;
        }
        match self.kinds.label(kind) {
            UNKNOWN => OTHER,
            label => label,
        }
    }

    /// Counts how long a call waited, by its component in the application's spelling; empty where that is not known.
    pub(super) fn observe_wait(&self, component: &str, waited: Duration) {
        self.wait.with_label_values(&[self.timed.label(component)]).observe(waited.as_secs_f64());
    }

    /// Tells how many processes are in each state.
    pub(super) fn set_processes(&self, count: impl Fn(&str) -> usize) {
        for state in STATES {
            self.processes.with_label_values(&[state]).set(count(state) as i64);
        }
    }

    /// Adds the metrics to the worker's.
    pub(super) fn register(&self, registry: &Registry) {
        let collectors: [Box<dyn Collector>; 12] = [
            Box::new(self.ready.clone()),
            Box::new(self.slots.clone()),
            Box::new(self.queued.clone()),
            Box::new(self.wait.clone()),
            Box::new(self.processes.clone()),
            Box::new(self.ended.clone()),
            Box::new(self.leftovers.clone()),
            Box::new(self.start_failures.clone()),
            Box::new(self.watch_reloads.clone()),
            Box::new(self.coalesced.clone()),
            Box::new(self.calls_waiting.clone()),
            Box::new(self.memory.clone()),
        ];
        register_all(registry, collectors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_leftovers_are_bounded_words() {
        let metrics = PoolMetrics::new();
        let count = |kind: String| metrics.count_leftover(1, &Leftover { kind, ..Leftover::default() });
        for kind in ["", "Two Words", "\u{1b}[31m", &"x".repeat(KIND_BYTES_MAX + 1)] {
            count(kind.to_owned());
        }
        assert_eq!(metrics.leftovers.with_label_values(&[OTHER]).get(), 4);
        for number in 0..3 * KINDS_MAX {
            count(format!("kind_{number}"));
        }
        let labels: usize = metrics.leftovers.collect().iter().map(|family| family.get_metric().len()).sum();
        assert_eq!(labels, KINDS_MAX + 1);
    }
}
