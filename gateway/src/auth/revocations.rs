//! Users whom the application has disconnected: grants that were given to them before are not taken any more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Users that are remembered at a time. When there are more, the oldest is forgotten.
const USERS_MAX: usize = 100_000;

/// The clock of who gives grants may be this much ahead, in seconds.
const CLOCK_SKEW: u64 = 60;

/// The users, with the second of their last disconnection.
#[derive(Debug)]
pub struct Revocations {
    known: Mutex<Known>,
    /// After this long no grant is left that was given before, in seconds.
    life: u64,
}

#[derive(Debug, Default)]
struct Known {
    seconds: HashMap<Box<str>, u64>,
    /// The oldest first. A user who was disconnected again is here several times.
    order: VecDeque<(u64, Box<str>)>,
}

impl Revocations {
    /// Remembers users for as long as a grant lives.
    pub fn new(grant_life: Duration) -> Self {
        Self { known: Mutex::default(), life: grant_life.as_secs() + CLOCK_SKEW }
    }

    /// Notes that a user was disconnected in this second.
    pub fn add(&self, user: &str, now: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { seconds, order } = &mut *known;
        if seconds.insert(user.into(), now) == Some(now) {
            return;
        }
        order.push_back((now, user.into()));
        while let Some((second, oldest)) = order.front() {
            if order.len() <= USERS_MAX && second.saturating_add(self.life) > now {
                break;
            }
            if seconds.get(oldest) == Some(second) {
                seconds.remove(oldest);
            }
            order.pop_front();
        }
    }

    /// Whether what a user was given in this second is void.
    pub fn cover(&self, user: &str, given: u64) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.seconds.get(user).is_some_and(|second| given <= *second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_before_is_void_and_users_are_forgotten_in_time() {
        let revocations = Revocations::new(Duration::from_secs(10));
        revocations.add("ada", 100);
        assert!(revocations.cover("ada", 99) && revocations.cover("ada", 100));
        assert!(!revocations.cover("ada", 101) && !revocations.cover("eve", 99));
        revocations.add("ada", 105);
        revocations.add("eve", 105 + 10 + CLOCK_SKEW - 1);
        assert!(revocations.cover("ada", 104), "the later disconnection counts");
        revocations.add("eve", 105 + 10 + CLOCK_SKEW);
        assert!(!revocations.cover("ada", 104), "no grant is as old");
        for n in 0..2 * USERS_MAX as u64 {
            revocations.add(&n.to_string(), 200);
        }
        let known = revocations.known.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(known.seconds.len() <= USERS_MAX && known.order.len() <= USERS_MAX, "{}", known.seconds.len());
    }
}
