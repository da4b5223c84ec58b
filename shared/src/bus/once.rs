//! Names that are good once, as one process remembers them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names that are remembered; while there are so many, a new one is refused, as a name that is forgotten would be good
/// again.
const NAMES_MAX: usize = 50_000;
/// How often names whose time is over are taken out.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

/// What has been heard, and until when it counts.
#[derive(Default)]
pub(super) struct Once(Mutex<Names>);

#[derive(Default)]
struct Names {
    until: HashMap<String, Instant>,
    cleaned: Option<Instant>,
}

impl Names {
    fn clean(&mut self, now: Instant) {
        if self.cleaned.is_none_or(|cleaned| now.duration_since(cleaned) >= CLEAN_EVERY) {
            self.until.retain(|_, until| *until > now);
            self.cleaned = Some(now);
        }
    }
}

impl Once {
    pub(super) fn first(&self, name: &str, life: Duration) -> bool {
        let now = Instant::now();
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.clean(now);
        let known = names.until.get(name).is_some_and(|until| *until > now);
        if known || names.until.len() >= NAMES_MAX {
            return false;
        }
        names.until.insert(name.to_owned(), now + life);
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

    #[test]
    fn no_number_of_other_names_makes_a_name_good_again() {
        let once = Once::default();
        assert!(once.first("a", Duration::from_mins(1)));
        for other in 0..NAMES_MAX * 2 {
            once.first(&other.to_string(), Duration::from_mins(1));
        }
        assert!(!once.first("a", Duration::from_mins(1)));
    }
}
