//! Names that are valid once, as one process remembers them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names that are remembered. While there are so many, a new one is refused: a name that is forgotten would be valid
/// again.
const NAMES_MAX: usize = 50_000;
/// How often expired names are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

/// The names that were seen, each until it expires.
#[derive(Default)]
pub(super) struct SeenNames(Mutex<Names>);

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

impl SeenNames {
    /// Remembers a name; `false` when it is known, or when no more names can be remembered.
    pub(super) fn insert(&self, name: &str, life: Duration) -> bool {
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
        let seen = SeenNames::default();
        assert!(seen.insert("a", Duration::from_mins(1)));
        assert!(!seen.insert("a", Duration::from_mins(1)));
        assert!(seen.insert("b", Duration::ZERO));
        assert!(seen.insert("b", Duration::ZERO), "its life is over");
    }

    #[test]
    fn no_number_of_other_names_makes_a_name_good_again() {
        let seen = SeenNames::default();
        assert!(seen.insert("a", Duration::from_mins(1)));
        for other in 0..NAMES_MAX * 2 {
            seen.insert(&other.to_string(), Duration::from_mins(1));
        }
        assert!(!seen.insert("a", Duration::from_mins(1)));
    }
}
