//! Decides whether a worker that failed is tried again: a circuit breaker with half-open probes.
//!
//! A failure is a call that timed out, a connection that broke during a call, or an invalid answer. After several
//! failures in a row, the worker gets no calls for a pause, and then a single call. If that succeeds, the worker is
//! back in use; if it fails, the pause doubles.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The number of consecutive failures that open the breaker.
const FAILURES_MAX: u32 = 5;
/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_LAST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    /// Calls pass.
    Closed,
    /// No call passes before this moment; after it, one passes as a probe.
    Open(Instant),
    /// The probe is in progress.
    Probing,
}

/// The change of state that a failure or a success caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened(Duration),
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: Cell<BreakerState>,
    failures: Cell<u32>,
    pause: Cell<Duration>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: Cell::new(BreakerState::Closed), failures: Cell::new(0), pause: Cell::new(PAUSE_FIRST) }
    }
}

impl Breaker {
    /// Whether a call may be sent.
    pub(super) fn allows(&self) -> bool {
        match self.state.get() {
            BreakerState::Closed => true,
            BreakerState::Open(until) => Instant::now() >= until,
            BreakerState::Probing => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == BreakerState::Closed
    }

    /// Notes that a call was sent.
    pub(super) fn sent(&self) {
        if matches!(self.state.get(), BreakerState::Open(_)) {
            self.state.set(BreakerState::Probing);
        }
    }

    /// Notes that a call was handed back (`Busy`), which is neither a success nor a failure. A probe may be repeated at
    /// once.
    pub(super) fn handed_back(&self) {
        if self.state.get() == BreakerState::Probing {
            self.state.set(BreakerState::Open(Instant::now()));
        }
    }

    pub(super) fn succeeded(&self) -> Change {
        self.failures.set(0);
        if self.state.replace(BreakerState::Closed) == BreakerState::Closed {
            return Change::None;
        }
        self.pause.set(PAUSE_FIRST);
        Change::Closed
    }

    pub(super) fn failed(&self) -> Change {
        self.failures.set(self.failures.get() + 1);
        let opens = match self.state.get() {
            BreakerState::Closed => self.failures.get() >= FAILURES_MAX,
            BreakerState::Probing => true,
            // This is a late failure of a call sent before the breaker opened.
            BreakerState::Open(_) => false,
        };
        if !opens {
            return Change::None;
        }
        let pause = self.pause.get();
        self.pause.set((pause * 2).min(PAUSE_LAST));
        self.state.set(BreakerState::Open(Instant::now() + pause));
        Change::Opened(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(breaker: &Breaker) -> Change {
        (1..FAILURES_MAX).for_each(|_| assert_eq!(breaker.failed(), Change::None));
        breaker.failed()
    }

    /// Ends the pause.
    fn wait(breaker: &Breaker) {
        breaker.state.set(BreakerState::Open(Instant::now()));
    }

    #[test]
    fn a_failing_worker_is_excluded_and_probed_with_one_call() {
        let breaker = Breaker::default();
        assert_eq!(open(&breaker), Change::Opened(PAUSE_FIRST));
        assert!(!breaker.allows());
        wait(&breaker);
        assert!(breaker.allows());
        breaker.sent();
        assert!(!breaker.allows(), "one at a time");
        assert_eq!(breaker.failed(), Change::Opened(PAUSE_FIRST * 2));
        wait(&breaker);
        breaker.sent();
        breaker.handed_back();
        assert!(breaker.allows(), "a busy worker is asked again");
        breaker.sent();
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert!(breaker.allows() && breaker.is_closed());
        assert_eq!(open(&breaker), Change::Opened(PAUSE_FIRST), "the pause begins anew");
    }

    #[test]
    fn a_worker_that_fails_occasionally_stays_in_use() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.failed(), Change::None);
            assert_eq!(breaker.succeeded(), Change::None);
        }
    }
}
