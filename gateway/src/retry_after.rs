//! Spreads refused clients over time: the more were refused lately, the later each of them is told to come again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refused clients for each second over which they are spread.
const CLIENTS_PER_SECOND: u32 = 500;
/// The latest second that a client is told.
const SECONDS_MAX: u32 = 30;

/// The clients that were refused in this second and in the one before.
#[derive(Debug)]
pub struct RetryAfter(Mutex<Window>);

#[derive(Debug)]
struct Window {
    since: Instant,
    now: u32,
    before: u32,
}

impl Default for RetryAfter {
    fn default() -> Self {
        Self(Mutex::new(Window { since: Instant::now(), now: 0, before: 0 }))
    }
}

impl RetryAfter {
    /// Counts a refused client. Returns the seconds after which it should come again.
    pub fn next_seconds(&self) -> u32 {
        fastrand::u32(1..=self.latest(Instant::now()))
    }

    fn latest(&self, now: Instant) -> u32 {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(window.since);
        if age >= Duration::from_secs(1) {
            let before = if age < Duration::from_secs(2) { window.now } else { 0 };
            *window = Window { since: now, now: 0, before };
        }
        window.now = window.now.saturating_add(1);
        (2 + (window.now.saturating_add(window.before)) / CLIENTS_PER_SECOND).min(SECONDS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_refused_the_longer_they_are_spread() {
        let (retry, start) = (RetryAfter::default(), Instant::now());
        assert_eq!(retry.latest(start), 2);
        let after = |count: u32, at: Duration| (0..count).map(|_| retry.latest(start + at)).last();
        assert_eq!(after(2500, Duration::from_millis(500)), Some(7));
        assert_eq!(after(1, Duration::from_millis(1500)), Some(7), "the second before counts");
        assert_eq!(after(100_000, Duration::from_millis(1600)), Some(SECONDS_MAX));
        assert_eq!(after(1, Duration::from_secs(10)), Some(2));
        assert!((1..=2).contains(&retry.next_seconds()));
    }
}
