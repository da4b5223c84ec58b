//! What operators are told of single calls: those that took long, in the log, and those that failed last.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diffyne_shared::clock;
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{Outcome, Reply};
use diffyne_shared::telemetry::{self, LogThrottle};
use serde::Serialize;

/// Failed calls that are kept.
const FAILURES_MAX: usize = 50;
/// Failed calls that are kept in a second; more of them say nothing new.
const FAILURES_PER_SECOND: u32 = 20;

/// A call that a worker has answered.
pub struct EndedCall<'a> {
    /// From its arrival to its answer.
    pub took: Duration,
    /// From when it was sent to a worker to its answer.
    pub with_worker: Duration,
    /// The answer.
    pub reply: &'a Reply<'a>,
}

impl EndedCall<'_> {
    /// How long the call waited in this gateway: for earlier calls of its component, and for a worker.
    pub fn waited(&self) -> Duration {
        self.took.saturating_sub(self.with_worker)
    }
}

/// A call that failed.
#[derive(Debug, Clone, Serialize)]
pub struct FailedCall {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The component and the method as the application spells them; empty where they are not known.
    pub component: String,
    /// See `component`.
    pub method: String,
    /// How it ended, as in the metrics.
    pub outcome: &'static str,
    /// The request's id in the logs of the worker; empty where no worker had the call.
    pub request: String,
}

/// What is told of single calls.
pub struct CallLog {
    /// `DIFFYNE_SLOW_CALL`; zero: none is logged.
    slow: Duration,
    lines: LogThrottle,
    failures_kept: LogThrottle,
    failures: Mutex<VecDeque<FailedCall>>,
}

impl CallLog {
    /// Logs calls that take longer than this; zero: none.
    pub fn new(slow: Duration) -> Self {
        Self {
            slow,
            lines: LogThrottle::new(10, 50),
            failures_kept: LogThrottle::new(FAILURES_PER_SECOND, FAILURES_PER_SECOND),
            failures: Mutex::default(),
        }
    }

    /// Notes a call that a worker has answered.
    pub fn ended(&self, call: &EndedCall<'_>) {
        if !self.slow.is_zero() && call.took > self.slow {
            self.log_slow(call);
        }
        if is_failure(call.reply.outcome) {
            let details = call.reply.details.unwrap_or_default();
            self.keep(
                call.reply.outcome.label(),
                call.reply.component.unwrap_or_default(),
                details.method,
                details.request,
            );
        }
    }

    /// Notes a call that no worker has answered.
    pub fn failed(&self, failure: FailureKind) {
        self.keep(failure.label(), "", "", "");
    }

    /// The calls that failed last, the newest first.
    pub fn failures(&self) -> Vec<FailedCall> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FailedCall>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, outcome: &'static str, component: &str, method: &str, request: &str) {
        if self.failures_kept.allow().is_none() {
            return;
        }
        let [component, method, request] = [component, method, request].map(|text| telemetry::name(text).to_string());
        let mut failures = self.lock();
        if failures.len() >= FAILURES_MAX {
            failures.pop_front();
        }
        failures.push_back(FailedCall { at_ms: clock::unix_millis(), component, method, outcome, request });
    }

    fn log_slow(&self, call: &EndedCall<'_>) {
        let Some(left_out) = self.lines.allow() else { return };
        let details = call.reply.details.unwrap_or_default();
        let component = telemetry::name(call.reply.component.unwrap_or("unknown"));
        let (method, request) = (telemetry::name(details.method), telemetry::name(details.request));
        let in_worker = Duration::from_micros(details.total.into());
        tracing::warn!(
            %component,
            %method,
            %request,
            outcome = call.reply.outcome.label(),
            total_ms = millis(call.took),
            queue_ms = millis(call.waited()),
            relay_ms = millis(call.with_worker.saturating_sub(in_worker)),
            worker_queue_ms = details.queue / 1000,
            run_ms = details.run / 1000,
            render_ms = details.render / 1000,
            diff_ms = details.diff / 1000,
            left_out,
            "a call was slow (DIFFYNE_SLOW_CALL)"
        );
    }
}

/// Whether an operator wants to know of it: not what a page's user or script got wrong.
pub fn is_failure(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::ServerError | Outcome::Exception | Outcome::Timeout | Outcome::Other)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failures_are_kept_and_what_users_get_wrong_is_none() {
        let log = CallLog::new(Duration::ZERO);
        let ended = |outcome| {
            let reply = Reply::new(1, outcome, 500, b"{}");
            let reply = Reply { component: Some("App\\Cart\u{1b}"), ..reply };
            log.ended(&EndedCall { took: Duration::from_secs(9), with_worker: Duration::from_secs(8), reply: &reply });
        };
        for outcome in [Outcome::Ok, Outcome::ValidationError, Outcome::MethodError, Outcome::SecurityError] {
            ended(outcome);
        }
        assert!(log.failures().is_empty());
        ended(Outcome::Exception);
        log.failed(FailureKind::NoWorker);
        let kept = log.failures();
        assert_eq!(kept.iter().map(|call| call.outcome).collect::<Vec<_>>(), ["server_error", "exception"]);
        assert_eq!(kept[1].component, "App\\Cart\\u{1b}");
        for _ in 0..3 * FAILURES_MAX {
            log.failed(FailureKind::NoWorker);
        }
        assert!(log.failures().len() <= FAILURES_MAX);
    }
}
