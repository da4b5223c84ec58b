//! How many calls may wait for a slot: always a few, and more as long as none of them waits long.
//!
//! Gateways have queues of their own, from which a call can still go to another worker. But the threads of all gateways
//! share a worker's queue, so only there calls run in the order in which they have come. Where calls are quick, all of
//! them fit in; where one is slow, few wait behind it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The most that wait, however quick calls are, unless the settings want more.
const WAITING_MAX: usize = 256;
/// A call beyond those that may always wait is handed back after so many times the time that it should wait.
const PATIENCE: u32 = 5;
/// The weight of what is known of the pace, against one more call.
const WEIGHT: f64 = 3.0;

/// Counts the calls that wait in a worker, and decides whether one more may.
pub(super) struct CallQueue {
    /// So many may always wait.
    least: usize,
    /// More may, if they do not wait longer than this.
    wait_max: Duration,
    waiting: AtomicUsize,
    /// So many may wait at the present pace.
    at_pace: AtomicUsize,
    /// When a call last got a slot, or began to wait in an empty queue: microseconds since `created`.
    moved_micros: AtomicU64,
    created: Instant,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Place {
    /// Calls that waited when it came.
    ahead: usize,
    since: Instant,
    /// How long it waits at most.
    pub(super) patience: Duration,
}

impl CallQueue {
    pub(super) fn new(least: usize, wait_max: Duration) -> Self {
        Self {
            least,
            wait_max,
            waiting: AtomicUsize::new(0),
            at_pace: AtomicUsize::new(least),
            moved_micros: AtomicU64::new(0),
            created: Instant::now(),
        }
    }

    /// So many calls may always wait.
    pub(super) fn least(&self) -> usize {
        self.least
    }

    /// The number of calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The number of calls that may wait now.
    pub(super) fn limit(&self, now: Instant) -> usize {
        let moved = self.created + Duration::from_micros(self.moved_micros.load(Ordering::Relaxed));
        let is_stuck = self.waiting() > 0 && now.saturating_duration_since(moved) > self.wait_max;
        if is_stuck { self.least } else { self.at_pace.load(Ordering::Relaxed) }
    }

    /// Lets a call wait, which has so much time; `None`: it must not.
    pub(super) fn enter(&self, now: Instant, budget: Duration) -> Option<Place> {
        let limit = self.limit(now);
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        if ahead >= limit {
            self.leave();
            return None;
        }
        if ahead == 0 {
            self.note_move(now);
        }
        let patience = if ahead < self.least { budget } else { budget.min(self.wait_max.saturating_mul(PATIENCE)) };
        Some(Place { ahead, since: now, patience })
    }

    /// A call has got its slot. Returns how long it has waited.
    pub(super) fn got_slot(&self, place: &Place, now: Instant) -> Duration {
        self.leave();
        self.note_move(now);
        let waited = now.saturating_duration_since(place.since);
        let seconds = waited.max(Duration::from_micros(1)).as_secs_f64();
        let at_pace = (place.ahead + 1) as f64 * self.wait_max.as_secs_f64() / seconds;
        let known = self.at_pace.load(Ordering::Relaxed) as f64;
        let at_pace = (known * WEIGHT + at_pace.min(WAITING_MAX as f64)) / (WEIGHT + 1.0);
        self.at_pace.store((at_pace as usize).max(self.least), Ordering::Relaxed);
        waited
    }

    /// A call leaves without a slot.
    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn note_move(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.created).as_micros();
        self.moved_micros.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_millis(20);
    const BUDGET: Duration = Duration::from_secs(30);

    /// Runs calls that take so long each, with so many waiting, for a while. Returns when that was over.
    fn run(queue: &CallQueue, mut now: Instant, took: Duration, callers: usize) -> Instant {
        let mut places = std::collections::VecDeque::new();
        for _ in 0..200 {
            while places.len() < callers {
                let Some(place) = queue.enter(now, BUDGET) else { break };
                places.push_back(place);
            }
            now += took;
            queue.got_slot(&places.pop_front().unwrap(), now);
        }
        for _ in places {
            queue.leave();
        }
        now
    }

    #[test]
    fn as_many_quick_calls_wait_as_run_within_the_time_and_no_more_than_the_most() {
        let queue = CallQueue::new(16, WAIT_MAX);
        let now = run(&queue, Instant::now(), Duration::from_micros(200), 1_000);
        let limit = queue.limit(now);
        assert!((90..=110).contains(&limit), "100 calls take 20 ms: {limit}");
        let now = run(&queue, now, Duration::from_micros(1), 1_000);
        assert!((250..=WAITING_MAX).contains(&queue.limit(now)), "{}", queue.limit(now));
        let now = run(&queue, now, Duration::from_millis(5), 1_000);
        assert_eq!((queue.limit(now), queue.waiting()), (16, 0));
    }

    #[test]
    fn behind_a_slow_call_only_a_few_wait_and_those_that_came_before_lose_patience() {
        let queue = CallQueue::new(16, WAIT_MAX);
        let now = run(&queue, Instant::now(), Duration::from_micros(200), 1_000);
        let places: Vec<Place> = (0..60).map(|_| queue.enter(now, BUDGET).unwrap()).collect();
        assert!(places[..16].iter().all(|place| place.patience == BUDGET));
        assert!(places[16..].iter().all(|place| place.patience == Duration::from_millis(100)));
        let later = now + WAIT_MAX + Duration::from_millis(1);
        assert_eq!(queue.limit(later), 16);
        assert!(queue.enter(later, BUDGET).is_none());
        assert_eq!(queue.waiting(), 60);
        // It goes on.
        queue.got_slot(&places[0], later);
        assert!(queue.enter(later, BUDGET).is_some());
    }

    #[test]
    fn a_time_without_end_means_the_most_that_may_wait_and_their_own_time() {
        let queue = CallQueue::new(1, Duration::MAX);
        let now = run(&queue, Instant::now(), Duration::from_millis(1), 1_000);
        assert!((250..=WAITING_MAX).contains(&queue.limit(now)), "{}", queue.limit(now));
        let places: Vec<Place> = (0..2).map(|_| queue.enter(now, BUDGET).unwrap()).collect();
        assert!(places.iter().all(|place| place.patience == BUDGET));
    }

    #[test]
    fn without_such_a_time_and_without_a_queue_the_number_stays() {
        for (least, wait_max) in [(16, Duration::ZERO), (0, WAIT_MAX), (1_000, WAIT_MAX)] {
            let queue = CallQueue::new(least, wait_max);
            let now = Instant::now();
            let entered = (0..2_000).filter(|_| queue.enter(now, BUDGET).is_some()).count();
            assert_eq!(entered, least);
            for _ in 0..least {
                queue.got_slot(&Place { ahead: 0, since: now, patience: BUDGET }, now + Duration::from_secs(1));
            }
            assert_eq!((queue.limit(now), queue.waiting()), (least, 0));
        }
    }
}
