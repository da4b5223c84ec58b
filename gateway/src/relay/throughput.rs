//! How many calls the workers answer while calls wait for them, so that one that would wait in vain is refused at once.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The throughput is known after calls have waited for this long.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
/// What was measured longer ago than this counts half.
const WINDOW: Duration = Duration::from_secs(10);

/// Measures while calls wait.
#[derive(Default)]
pub(super) struct Throughput {
    /// Since when calls wait without a pause.
    since: Cell<Option<Instant>>,
    /// Answers since then.
    answered: Cell<u32>,
}

impl Throughput {
    /// A call was answered.
    pub(super) fn observe_answer(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Notes whether calls wait; called with every sweep.
    pub(super) fn update(&self, now: Instant, waiting: usize) {
        match self.since.get() {
            _ if waiting == 0 => self.since.set(None),
            None => {
                self.since.set(Some(now));
                self.answered.set(0);
            }
            // The newest answers count most.
            Some(since) if now.duration_since(since) > WINDOW => {
                self.since.set(Some(since + now.duration_since(since) / 2));
                self.answered.set(self.answered.get() / 2);
            }
            Some(_) => {}
        }
    }

    /// How long it takes to answer so many calls, once that is known.
    pub(super) fn time_for(&self, calls: usize, now: Instant) -> Option<Duration> {
        let measured = now.duration_since(self.since.get()?);
        let known = measured >= KNOWN_AFTER && self.answered.get() > 0;
        known.then(|| measured.mul_f64(calls as f64 / f64::from(self.answered.get())))
    }
}
