//! Keys under which an event is published once: who repeats it gets the answer of the first time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is kept.
pub(super) const ANSWER_LIFE: Duration = Duration::from_mins(5);
/// Keys that one process remembers. While there are so many, a new one is refused.
const KEYS_MAX: usize = 50_000;
/// How often expired keys are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// The key is new. Whoever has it publishes, and says how that ended.
    New,
    /// An event with this key is being published.
    UnderWay,
    /// An event with this key was published, with this answer.
    Answered(String),
    /// No more keys can be remembered.
    Full,
}

/// The keys of one process.
#[derive(Default)]
pub(super) struct KnownKeys(Mutex<Keys>);

#[derive(Default)]
struct Keys {
    known: HashMap<String, Known>,
    cleaned: Option<Instant>,
}

struct Known {
    until: Instant,
    /// `None` while the event is being published.
    answer: Option<String>,
}

impl KnownKeys {
    /// Claims a key for so long.
    pub(super) fn claim(&self, key: &str, life: Duration) -> KeyClaim {
        let now = Instant::now();
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.cleaned.is_none_or(|cleaned| now.duration_since(cleaned) >= CLEAN_EVERY) {
            keys.known.retain(|_, known| known.until > now);
            keys.cleaned = Some(now);
        }
        match keys.known.get(key).filter(|known| known.until > now) {
            Some(Known { answer: Some(answer), .. }) => return KeyClaim::Answered(answer.clone()),
            Some(_) => return KeyClaim::UnderWay,
            None if keys.known.len() >= KEYS_MAX => return KeyClaim::Full,
            None => {}
        }
        keys.known.insert(key.to_owned(), Known { until: now + life, answer: None });
        KeyClaim::New
    }

    /// Keeps the answer to a key, or lets the key go.
    pub(super) fn settle(&self, key: &str, answer: Option<&str>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Some(answer) => {
                let known = Known { until: Instant::now() + ANSWER_LIFE, answer: Some(answer.to_owned()) };
                keys.known.insert(key.to_owned(), known);
            }
            None => drop(keys.known.remove(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(30);

    #[test]
    fn a_key_is_new_once_and_then_has_the_first_answer() {
        let keys = KnownKeys::default();
        assert_eq!(keys.claim("a", LIFE), KeyClaim::New);
        assert_eq!(keys.claim("a", LIFE), KeyClaim::UnderWay);
        keys.settle("a", Some("id-1"));
        assert_eq!(keys.claim("a", LIFE), KeyClaim::Answered("id-1".to_owned()));
        assert_eq!(keys.claim("b", LIFE), KeyClaim::New);
        keys.settle("b", None);
        assert_eq!(keys.claim("b", LIFE), KeyClaim::New, "what was not published can be published");
    }

    #[test]
    fn keys_are_bounded_and_known_ones_stay() {
        let keys = KnownKeys::default();
        assert_eq!(keys.claim("first", LIFE), KeyClaim::New);
        let taken = (0..2 * KEYS_MAX).filter(|n| keys.claim(&n.to_string(), LIFE) == KeyClaim::New).count();
        assert_eq!(taken, KEYS_MAX - 1);
        assert_eq!(keys.claim("first", LIFE), KeyClaim::UnderWay);
        assert_eq!(keys.claim("another", LIFE), KeyClaim::Full);
    }
}
