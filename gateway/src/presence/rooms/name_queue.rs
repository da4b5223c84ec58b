//! Rooms that wait for something, each once, in the order in which they came: whoever takes only some at a time reaches all,
//! however many come meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct NameQueue {
    places: HashMap<Arc<str>, u64>,
    names: BTreeMap<u64, Arc<str>>,
    last: u64,
}

impl NameQueue {
    /// Adds a room behind all others; one that waits keeps its place.
    pub(super) fn insert(&mut self, name: Arc<str>) {
        if !self.places.contains_key(&name) {
            self.last += 1;
            self.names.insert(self.last, Arc::clone(&name));
            self.places.insert(name, self.last);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            self.names.remove(&place);
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The rooms, with the one first that waits longest.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.values()
    }

    /// The one that waits longest.
    pub(super) fn first(&self) -> Option<&Arc<str>> {
        self.iter().next()
    }

    /// Removes the one that waits longest.
    pub(super) fn pop_first(&mut self) -> Option<Arc<str>> {
        let (_, name) = self.names.pop_first()?;
        self.places.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_longest_is_first_whatever_its_name_is_and_coming_again_changes_nothing() {
        let mut queue = NameQueue::default();
        for name in ["z", "m", "z", "a"] {
            queue.insert(name.into());
        }
        queue.remove("m");
        queue.remove("m");
        queue.insert("m".into());
        assert_eq!(queue.iter().map(|name| &**name).collect::<Vec<_>>(), ["z", "a", "m"]);
        let (first, len) = (queue.first().cloned(), queue.len());
        assert_eq!((first.as_deref(), queue.pop_first().as_deref(), len), (Some("z"), Some("z"), 3));
        assert!(!queue.contains("z") && queue.contains("a"));
        queue.insert("z".into());
        assert_eq!(std::iter::from_fn(|| queue.pop_first()).map(|name| name.to_string()).collect::<String>(), "amz");
    }
}
