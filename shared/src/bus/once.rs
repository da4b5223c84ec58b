//! Names that are good once, as one process remembers them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names that are remembered; with more, the oldest is forgotten.
const NAMES_MAX: usize = 10_000;

/// What has been heard, and until when it counts.
#[derive(Default)]
pub(super) struct Once(Mutex<VecDeque<(String, Instant)>>);

impl Once {
    pub(super) fn first(&self, name: &str, life: Duration) -> bool {
        let now = Instant::now();
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|(_, until)| *until > now);
        if names.iter().any(|(known, _)| known == name) {
            return false;
        }
        if names.len() >= NAMES_MAX {
            names.pop_front();
        }
        names.push_back((name.to_owned(), now + life));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_good_once_within_its_life() {
        let once = Once::default();
        assert!(once.first("a", Duration::from_mins(1)));
        assert!(!once.first("a", Duration::from_mins(1)));
        assert!(once.first("b", Duration::ZERO));
        assert!(once.first("b", Duration::ZERO), "its life is over");
    }
}
