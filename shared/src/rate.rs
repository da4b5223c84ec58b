//! Rate limits: so many a second, and so many at once. A limiter is one number, so that each connection can have some.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many a second, with a burst. Zero a second means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// Tokens a second in the long run.
    pub per_second: u32,
    /// Tokens at once, after a pause.
    pub burst: u32,
}

/// The instant from which the buckets of this process count time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
const SECOND: u64 = 1_000_000_000;

/// A token bucket, kept as the moment at which it will be full again (GCRA): no timer, no count.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// A full bucket.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a token; `false` when there is none.
    pub fn take(&self, rate: Rate, now: Instant) -> bool {
        self.take_many(rate, 1, now)
    }

    /// Takes so many tokens at once; `false`, and none taken, when there are fewer.
    pub fn take_many(&self, rate: Rate, count: u32, now: Instant) -> bool {
        if rate.per_second == 0 || count == 0 {
            return true;
        }
        let now = u64::try_from(now.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX);
        let each = SECOND / u64::from(rate.per_second);
        let reserve = each.saturating_mul(u64::from(rate.burst.max(1)));
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now).saturating_add(each.saturating_mul(u64::from(count)));
            (next - now <= reserve).then_some(next)
        });
        taken.is_ok()
    }
}

/// Limits work whose cost is known only afterwards. The cost is charged, and a caller beyond the burst waits until the
/// rate has caught up. One number, like [`Bucket`].
#[derive(Debug, Default)]
pub struct CostLimiter(AtomicU64);

impl CostLimiter {
    /// Charges `cost`, and returns how long to wait before the next work; zero: not at all.
    ///
    /// A single cost may be larger than the burst: the caller waits for it.
    pub fn charge(&self, rate: Rate, cost: u64, now: Instant) -> Duration {
        if rate.per_second == 0 || cost == 0 {
            return Duration::ZERO;
        }
        let now = u64::try_from(now.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX);
        let nanos = |units: u64| {
            let nanos = u128::from(units) * u128::from(SECOND) / u128::from(rate.per_second);
            u64::try_from(nanos).unwrap_or(u64::MAX)
        };
        let paid_at = self.0.load(Ordering::Relaxed).max(now).saturating_add(nanos(cost));
        self.0.store(paid_at, Ordering::Relaxed);
        Duration::from_nanos((paid_at - now).saturating_sub(nanos(u64::from(rate.burst))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        LazyLock::force(&START);
        let (bucket, rate, now) = (Bucket::default(), Rate { per_second: 10, burst: 3 }, Instant::now());
        let taken = |at: Duration| (0..20).filter(|_| bucket.take(rate, now + at)).count();
        assert_eq!(taken(Duration::ZERO), 3);
        assert_eq!(taken(Duration::from_millis(99)), 0);
        assert_eq!(taken(Duration::from_millis(201)), 2);
        assert_eq!(taken(Duration::from_mins(1)), 3, "no more than the burst is saved up");
        let unlimited = Rate::default();
        assert!((0..1000).all(|_| bucket.take(unlimited, now)));
        let bucket = Bucket::default();
        assert!(!bucket.take_many(rate, 4, now) && bucket.take_many(rate, 3, now), "all of them or none");
    }

    #[test]
    fn a_cost_beyond_the_burst_has_to_be_waited_for() {
        LazyLock::force(&START);
        let (limiter, rate, now) = (CostLimiter::default(), Rate { per_second: 1000, burst: 500 }, Instant::now());
        assert_eq!(limiter.charge(rate, 500, now), Duration::ZERO);
        assert_eq!(limiter.charge(rate, 100, now), Duration::from_millis(100));
        assert_eq!(limiter.charge(rate, 5000, now), Duration::from_millis(5100), "larger than the burst: waited for");
        assert_eq!(limiter.charge(rate, 1, now + Duration::from_mins(1)), Duration::ZERO);
        assert_eq!(limiter.charge(Rate::default(), u64::MAX, now), Duration::ZERO, "no limit");
    }
}
