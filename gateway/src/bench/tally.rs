//! What a bench counts: in all, and in the current second.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Kinds of errors that are told apart; further ones count as `others`.
const ERROR_KINDS_MAX: usize = 20;

/// Times, each to within three percent.
#[derive(Debug, Default, Clone)]
pub(super) struct Times {
    buckets: Vec<u64>,
    count: u64,
    max_micros: u64,
}

/// The bucket of a time: 32 for each power of two.
fn bucket(micros: u64) -> usize {
    let shift = (micros | 1).ilog2().saturating_sub(5);
    shift as usize * 32 + (micros >> shift) as usize
}

/// The least time of a bucket.
fn least(bucket: usize) -> u64 {
    if bucket < 64 { bucket as u64 } else { ((bucket % 32 + 32) as u64) << (bucket / 32 - 1) }
}

impl Times {
    fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max_micros = self.max_micros.max(micros);
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A quantile, in milliseconds.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        let rank = (self.count as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                // The middle of the bucket, but nothing that was not seen.
                let middle = u64::midpoint(least(bucket), least(bucket + 1) - 1);
                return middle.min(self.max_micros) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// The longest, in milliseconds.
    pub(super) fn max(&self) -> f64 {
        self.max_micros as f64 / 1000.0
    }
}

/// One second of a bench. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Second {
    #[serde(rename = "second")]
    pub(super) number: u64,
    pub(super) connections: u64,
    pub(super) calls: u64,
    pub(super) call_p50_ms: f64,
    pub(super) call_p99_ms: f64,
    pub(super) deliveries: u64,
    pub(super) delivery_p99_ms: f64,
    pub(super) errors: u64,
}

/// Calls or deliveries: in all, and of this second.
#[derive(Debug, Default)]
struct Counted {
    all: RefCell<Times>,
    second: RefCell<Times>,
}

impl Counted {
    fn add(&self, time: Duration) {
        self.all.borrow_mut().add(time);
        self.second.borrow_mut().add(time);
    }
}

/// The counters of a bench.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) connected: Cell<u64>,
    pub(super) broadcasts: Cell<u64>,
    pub(super) under_way: Cell<u64>,
    calls: Counted,
    deliveries: Counted,
    handshakes: RefCell<Times>,
    errors: RefCell<BTreeMap<String, u64>>,
    errors_of_second: Cell<u64>,
}

/// Adds one.
pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl Tally {
    pub(super) fn call(&self, took: Duration) {
        self.calls.add(took);
    }

    pub(super) fn delivery(&self, took: Duration) {
        self.deliveries.add(took);
    }

    pub(super) fn handshake(&self, took: Duration) {
        self.handshakes.borrow_mut().add(took);
    }

    pub(super) fn error(&self, kind: &str) {
        count(&self.errors_of_second);
        let mut errors = self.errors.borrow_mut();
        let kind = if errors.contains_key(kind) || errors.len() < ERROR_KINDS_MAX { kind } else { "others" };
        *errors.entry(kind.to_owned()).or_default() += 1;
    }

    /// Forgets what was counted so far, but for errors: the load is complete now.
    pub(super) fn begin_again(&self) {
        self.calls.all.take();
        self.deliveries.all.take();
        self.broadcasts.set(0);
    }

    /// Ends a second.
    pub(super) fn end_second(&self, number: u64) -> Second {
        let (calls, deliveries) = (self.calls.second.take(), self.deliveries.second.take());
        Second {
            number,
            connections: self.connected.get(),
            calls: calls.count(),
            call_p50_ms: calls.quantile(0.5),
            call_p99_ms: calls.quantile(0.99),
            deliveries: deliveries.count(),
            delivery_p99_ms: deliveries.quantile(0.99),
            errors: self.errors_of_second.take(),
        }
    }

    pub(super) fn calls(&self) -> Times {
        self.calls.all.borrow().clone()
    }

    pub(super) fn deliveries(&self) -> Times {
        self.deliveries.all.borrow().clone()
    }

    pub(super) fn handshakes(&self) -> Times {
        self.handshakes.borrow().clone()
    }

    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut times = Times::default();
        for micros in 1..=100_000 {
            times.add(Duration::from_micros(micros));
        }
        for (quantile, millis) in [(0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = times.quantile(quantile);
            assert!((found / millis - 1.0).abs() < 0.03, "{quantile}: {found} instead of {millis}");
        }
        assert_eq!((times.count(), Times::default().quantile(0.5)), (100_000, 0.0));
    }

    #[test]
    fn every_time_is_in_the_bucket_that_begins_with_it_or_before() {
        for micros in (0..5000).chain([1 << 20, (1 << 20) + 1, 1 << 40, u64::MAX >> 1]) {
            let bucket = bucket(micros);
            assert!(least(bucket) <= micros && micros < least(bucket + 1), "{micros}");
        }
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let tally = Tally::default();
        for kind in 0..100 {
            tally.error(&kind.to_string());
        }
        assert_eq!((tally.errors().len(), tally.errors()["others"]), (ERROR_KINDS_MAX + 1, 80));
    }
}
