//! Rate limits: so many a second, and so many at once. A bucket is one number, so that each connection can have some.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// So many a second, with a burst. Zero a second means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// The beginning of time for all buckets of this process.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
const SECOND: u64 = 1_000_000_000;

/// A token bucket, kept as the moment at which it will be full again (GCRA): no timer, no count.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// A full one.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a token; `false` when there is none.
    pub fn take(&self, rate: Rate, now: Instant) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        let now = u64::try_from(now.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX);
        let each = SECOND / u64::from(rate.per_second);
        let reserve = each.saturating_mul(u64::from(rate.burst.max(1)));
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now).saturating_add(each);
            (next - now <= reserve).then_some(next)
        });
        taken.is_ok()
    }
}

/// Says how often something may be said: once a second. Tells how many times it was not.
#[derive(Debug, Default)]
pub struct Hush {
    bucket: Bucket,
    unsaid: AtomicU64,
}

impl Hush {
    /// How many lines were left out before this one, if it may be said.
    pub fn may_say(&self) -> Option<u64> {
        if self.bucket.take(Rate { per_second: 1, burst: 1 }, Instant::now()) {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
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
    }
}
