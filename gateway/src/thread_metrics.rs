//! One serving thread's counters. What is counted for each message touches no memory that other threads use; it is added
//! to the shared counters ten times a second.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::bus::without_channel;
use prometheus::local::{LocalHistogram, LocalIntCounter};

use crate::metrics::Metrics;

/// One thread's counters.
pub struct ShardMetrics {
    shared: Arc<Metrics>,
    /// Messages received.
    pub messages_in: LocalIntCounter,
    /// Messages sent.
    pub messages_out: LocalIntCounter,
    /// Payload bytes received.
    pub bytes_in: LocalIntCounter,
    /// Bytes of frames sent.
    pub bytes_out: LocalIntCounter,
    /// Calls sent to the worker that their component prefers.
    pub sent_to_preferred: LocalIntCounter,
    /// Calls sent to another worker.
    pub sent_to_other: LocalIntCounter,
    /// Parts of answers that were sent on.
    pub parts: LocalIntCounter,
    /// Pushes to connections.
    pub deliveries: LocalIntCounter,
    /// Messages that were sent compressed.
    compressed: LocalIntCounter,
    /// Bytes that were not sent because of it.
    compression_saved: LocalIntCounter,
    /// Bytes of messages that arrived compressed, inflated.
    pub inflated: LocalIntCounter,
    in_flight: Cell<i64>,
    calls: ByName<HashMap<&'static str, LocalIntCounter>>,
    times: ByName<ComponentTimes>,
    event_bytes: ByName<LocalIntCounter>,
}

/// How long the calls of a component took, and waited.
struct ComponentTimes {
    duration: LocalHistogram,
    queue_wait: LocalHistogram,
}

/// Counters by the label of a name. The shared metrics bound the number of labels, and so of entries: names without a label
/// share one.
struct ByName<T>(RefCell<HashMap<Box<str>, T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> ByName<T> {
    fn with<'a>(
        &self,
        name: &'a str,
        label: impl FnOnce(&'a str) -> &'a str,
        make: impl FnOnce(&str) -> T,
        count: impl FnOnce(&mut T),
    ) {
        let mut entries = self.0.borrow_mut();
        if let Some(entry) = entries.get_mut(name) {
            return count(entry);
        }
        let label = label(name);
        if let Some(entry) = entries.get_mut(label) {
            return count(entry);
        }
        count(entries.entry(label.into()).or_insert_with(|| make(label)));
    }

    fn for_each(&self, each: impl FnMut(&T)) {
        self.0.borrow().values().for_each(each);
    }
}

impl Deref for ShardMetrics {
    type Target = Metrics;

    fn deref(&self) -> &Metrics {
        &self.shared
    }
}

impl ShardMetrics {
    /// Creates a thread's counters over the shared ones.
    pub fn new(shared: Arc<Metrics>) -> Self {
        Self {
            messages_in: shared.messages_in.local(),
            messages_out: shared.messages_out.local(),
            bytes_in: shared.bytes_in.local(),
            bytes_out: shared.bytes_out.local(),
            sent_to_preferred: shared.sent_to_preferred.local(),
            sent_to_other: shared.sent_to_other.local(),
            parts: shared.parts.local(),
            deliveries: shared.deliveries.local(),
            compressed: shared.compressed.local(),
            compression_saved: shared.compression_saved.local(),
            inflated: shared.inflated.local(),
            in_flight: Cell::new(0),
            calls: ByName::default(),
            times: ByName::default(),
            event_bytes: ByName::default(),
            shared,
        }
    }

    /// Adds the thread's counts to the shared metrics.
    pub fn flush(&self) {
        let messages = [&self.messages_in, &self.messages_out, &self.bytes_in, &self.bytes_out];
        let calls = [&self.sent_to_preferred, &self.sent_to_other, &self.deliveries, &self.parts];
        let compression = [&self.compressed, &self.compression_saved, &self.inflated];
        for counter in messages.into_iter().chain(calls).chain(compression) {
            counter.flush();
        }
        self.shared.calls_in_flight.add(self.in_flight.take());
        self.calls.for_each(|outcomes| outcomes.values().for_each(LocalIntCounter::flush));
        self.times.for_each(|times| {
            times.duration.flush();
            times.queue_wait.flush();
        });
        self.event_bytes.for_each(LocalIntCounter::flush);
    }

    /// Counts a message that is sent compressed.
    pub fn count_compressed(&self, before: usize, after: usize) {
        self.compressed.inc();
        self.compression_saved.inc_by((before - after) as u64);
    }

    /// Adds to the number of calls in flight.
    pub fn in_flight(&self, change: i64) {
        self.in_flight.set(self.in_flight.get() + change);
    }

    /// Counts a call that has ended. `component` is the name that a worker reported.
    pub fn call(&self, component: Option<&str>, outcome: &'static str) {
        let shared = &self.shared;
        self.calls.with(
            component.unwrap_or_default(),
            |name| shared.components.label(name),
            |_label| HashMap::new(),
            |outcomes| {
                let counter = outcomes.entry(outcome).or_insert_with(|| {
                    let label = shared.components.label(component.unwrap_or_default());
                    shared.calls.with_label_values(&[label, outcome]).local()
                });
                counter.inc();
            },
        );
    }

    /// Counts how long a call took, and how much of that it waited in this gateway.
    pub fn call_times(&self, component: Option<&str>, took: Duration, waited: Duration) {
        let shared = &self.shared;
        self.times.with(
            component.unwrap_or_default(),
            |name| shared.timed_components.label(name),
            |label| ComponentTimes {
                duration: shared.call_duration.with_label_values(&[label]).local(),
                queue_wait: shared.queue_wait.with_label_values(&[label]).local(),
            },
            |times| {
                times.duration.observe(took.as_secs_f64());
                times.queue_wait.observe(waited.as_secs_f64());
            },
        );
    }

    /// Counts the bytes of a broadcast to connections.
    pub fn event_bytes(&self, event: &str, bytes: u64) {
        let shared = &self.shared;
        self.event_bytes.with(
            &without_channel(event),
            |name| shared.events.label(name),
            |label| shared.broadcast_bytes.with_label_values(&[label]).local(),
            |counter| counter.inc_by(bytes),
        );
    }
}

#[cfg(test)]
mod tests {
    use diffyne_shared::bus::BusCounters;
    use diffyne_shared::metrics::UNKNOWN;

    use super::*;
    use crate::metrics::{COMPONENTS_MAX, RedisUse};

    #[test]
    fn every_metric_registers_and_components_are_bounded() {
        let metrics = Metrics::new(&BusCounters::default(), RedisUse::Yes);
        let threads = [ShardMetrics::new(Arc::clone(&metrics)), ShardMetrics::new(Arc::clone(&metrics))];
        for (thread, counters) in threads.iter().enumerate() {
            counters.call(None, "validation_error");
            for i in 0..COMPONENTS_MAX + 49 {
                let name = format!("C{thread}-{i}");
                counters.call(Some(&name), "ok");
                counters.call_times(Some(&name), Duration::from_millis(3), Duration::from_millis(1));
                counters.event_bytes(&name, 7);
            }
            counters.call(Some("C0-0"), "ok");
            counters.call(Some(&"x".repeat(400_000)), "ok");
            counters.flush();
        }
        let count = |name: &str| {
            let families = metrics.registry.gather();
            let found = families.iter().find(|family| family.name() == format!("diffyne_gateway_{name}"));
            found.map_or(0, |family| family.get_metric().len())
        };
        assert_eq!(metrics.calls.with_label_values(&["C0-0", "ok"]).get(), 3);
        assert_eq!(metrics.calls.with_label_values(&[UNKNOWN, "ok"]).get(), COMPONENTS_MAX as u64 + 49 + 49 + 2);
        assert_eq!(metrics.calls.with_label_values(&[UNKNOWN, "validation_error"]).get(), 2);
        assert_eq!(count("calls_total"), COMPONENTS_MAX + 2, "over both threads");
        assert_eq!((count("call_duration_seconds"), count("queue_wait_seconds")), (101, 101));
        assert_eq!(count("broadcast_bytes_total"), 201);
    }
}
