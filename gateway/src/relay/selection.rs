//! Selects the worker for the next call: the one that its component prefers, unless another is likely to finish the call
//! sooner by more than a small bound.

use std::rc::Rc;
use std::time::Instant;

use super::component_key::ComponentKey;
use super::health::Health;
use super::preference::{Rank, is_kept};
use super::upstream::Upstream;

/// The worker that gets a call.
#[derive(Debug)]
pub(super) struct Selected<'a> {
    pub(super) upstream: &'a Rc<Upstream>,
    /// It is the first choice of the component among all workers that answer.
    pub(super) is_preferred: bool,
}

/// Selects among the workers that can take a call: of two random ones the one that is likely to finish it sooner (the
/// power of two choices), or the one that the component prefers, if it is about as good.
///
/// A worker whose backend fails answers faster than a healthy one, so it gets calls only if no worker is healthy: then
/// the client at least gets an error.
pub(super) fn select(
    upstreams: &[Rc<Upstream>],
    component: ComponentKey,
    now: Instant,
    refused: impl Fn(&Rc<Upstream>) -> bool,
) -> Option<Selected<'_>> {
    let all_faulty = upstreams.iter().all(|upstream| upstream.health() != Health::Healthy);
    let is_usable = |upstream: &Rc<Upstream>| all_faulty || !upstream.is_faulty();
    let takes = |upstream: &&Rc<Upstream>| upstream.takes_calls() && is_usable(upstream) && !refused(upstream);
    let (mut count, mut first, mut first_that_takes) = (0, None, None);
    for upstream in upstreams.iter().filter(|upstream| upstream.is_connected() && is_usable(upstream)) {
        let rank = Rank::of(component, upstream);
        let is_above = |best: &Option<(Rank, _)>| best.as_ref().is_none_or(|(best, _)| rank.is_above(*best));
        if is_above(&first) {
            first = Some((rank, upstream));
        }
        if takes(&upstream) {
            count += 1;
            if is_above(&first_that_takes) {
                first_that_takes = Some((rank, upstream));
            }
        }
    }
    let (_, preferred) = first_that_takes?;
    let upstream = if count == 1 {
        preferred
    } else {
        let other = better_of_two(|n| upstreams.iter().filter(takes).nth(n), count, now)?;
        if Rc::ptr_eq(preferred, other) || is_kept(preferred, other) { preferred } else { other }
    };
    Some(Selected { upstream, is_preferred: first.is_some_and(|(_, first)| Rc::ptr_eq(first, upstream)) })
}

/// Returns the better of two random workers out of two or more.
fn better_of_two<'a>(
    nth: impl Fn(usize) -> Option<&'a Rc<Upstream>>,
    count: usize,
    now: Instant,
) -> Option<&'a Rc<Upstream>> {
    let first = fastrand::usize(..count);
    let second = (first + fastrand::usize(1..count)) % count;
    let (a, b) = (nth(first)?, nth(second)?);
    Some(if a.score(now) <= b.score(now) { a } else { b })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
