//! Estimates a worker's usual latency. The estimate follows the median, so that one slow method does not count against
//! the worker.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The relative step by which each answer moves the estimate.
const STEP: f64 = 0.1;
/// The time without an answer after which the estimate falls, so that the worker is tried again.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// The time in which a stale estimate falls by half.
const HALF_LIFE: Duration = Duration::from_secs(2);
/// The smallest estimate, in microseconds. Differences below it mean nothing.
pub(super) const MICROS_MIN: f64 = 200.0;

/// Moves an estimate of a median towards a sample, by one step and not beyond it.
pub(super) fn follow_median(known: f64, sample: f64) -> f64 {
    if sample > known { (known * (1.0 + STEP)).min(sample) } else { (known / (1.0 + STEP)).max(sample) }
}

#[derive(Debug)]
pub(super) struct Latency {
    micros: Cell<f64>,
    told: Cell<Instant>,
}

impl Latency {
    pub(super) fn new() -> Self {
        Self { micros: Cell::new(MICROS_MIN), told: Cell::new(Instant::now()) }
    }

    /// Records the duration of an answered call.
    pub(super) fn observe(&self, took: Duration, now: Instant) {
        let next = follow_median(self.at(now), took.as_secs_f64() * 1e6);
        self.micros.set(next.max(MICROS_MIN));
        self.told.set(now);
    }

    /// Returns the estimate in microseconds.
    pub(super) fn at(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.told.get());
        let known = self.micros.get();
        match age.checked_sub(STALE_AFTER) {
            None => known,
            Some(stale) => (known * 0.5f64.powf(stale.as_secs_f64() / HALF_LIFE.as_secs_f64())).max(MICROS_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_median_and_falls_while_a_worker_is_silent() {
        let (latency, now) = (Latency::new(), Instant::now());
        for n in 0..200 {
            // One call in ten is of a slow method.
            let took = if n % 10 == 0 { Duration::from_secs(3) } else { Duration::from_millis(2) };
            latency.observe(took, now);
        }
        assert!((1_500.0..3_000.0).contains(&latency.at(now)), "{}", latency.at(now));
        for _ in 0..200 {
            latency.observe(Duration::from_millis(100), now);
        }
        assert!(latency.at(now) > 90_000.0);
        assert!(latency.at(now + Duration::from_secs(5)) < 30_000.0);
        assert!(latency.at(now + Duration::from_mins(1)) <= MICROS_MIN);
    }
}
