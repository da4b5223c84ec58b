//! Measures how many calls the workers answer while calls wait, so that a call that would wait in vain is refused at
//! once.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The throughput is known after calls have waited for this long.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
/// The length of the window. After it, older measurements lose half of their weight.
const WINDOW: Duration = Duration::from_secs(10);

/// Measures the throughput while calls wait.
#[derive(Default)]
pub(super) struct Throughput {
    /// The time since which calls have been waiting without interruption.
    since: Cell<Option<Instant>>,
    /// The number of answers since then.
    answered: Cell<u32>,
}

impl Throughput {
    /// Counts an answered call.
    pub(super) fn observe_answer(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Notes whether calls wait. Runs with every sweep.
    pub(super) fn update(&self, now: Instant, waiting: usize) {
        match self.since.get() {
            _ if waiting == 0 => self.since.set(None),
            None => {
                self.since.set(Some(now));
                self.answered.set(0);
            }
            // Recent answers count most.
            Some(since) if now.duration_since(since) > WINDOW => {
                self.since.set(Some(since + now.duration_since(since) / 2));
                self.answered.set(self.answered.get() / 2);
            }
            Some(_) => {}
        }
    }

    /// Returns how long it takes to answer this many calls, or `None` while that is unknown.
    pub(super) fn time_for(&self, calls: usize, now: Instant) -> Option<Duration> {
        let measured = now.duration_since(self.since.get()?);
        let known = measured >= KNOWN_AFTER && self.answered.get() > 0;
        known.then(|| measured.mul_f64(calls as f64 / f64::from(self.answered.get())))
    }
}
