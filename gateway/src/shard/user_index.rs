//! The connections of each user on one thread, and who may get what.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::delivery::Delivery;
use crate::connection::Connection;

/// The index.
#[derive(Debug, Default)]
pub(super) struct UserIndex(HashMap<Rc<str>, HashSet<usize>>);

impl UserIndex {
    pub(super) fn add(&mut self, user: &str, key: usize) -> Rc<str> {
        if let Some((known, _)) = self.0.get_key_value(user) {
            let known = Rc::clone(known);
            self.0.entry(Rc::clone(&known)).or_default().insert(key);
            return known;
        }
        let user: Rc<str> = user.into();
        self.0.insert(Rc::clone(&user), HashSet::from([key]));
        user
    }

    pub(super) fn remove(&mut self, user: &str, key: usize) {
        if let Some(keys) = self.0.get_mut(user) {
            keys.remove(&key);
            if keys.is_empty() {
                self.0.remove(user);
            }
        }
    }

    pub(super) fn of(&self, user: &str) -> Vec<usize> {
        self.0.get(user).into_iter().flatten().copied().collect()
    }
}

/// Whether a connection may get a delivery that it has subscribed to: it is for everybody or for the connection's user,
/// and the client does not have it already. A client that polls keeps its name, and so does not hear of what it has caused
/// between two polls.
pub(super) fn may_get(connection: &Connection, delivery: &Delivery) -> bool {
    delivery.user.as_deref().is_none_or(|user| connection.user.is(user))
        && !delivery.is_disconnection()
        && delivery.except.as_deref() != Some(connection.caller.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_forgotten_with_its_last_connection() {
        let mut users = UserIndex::default();
        let id = users.add("7", 1);
        assert!(Rc::ptr_eq(&id, &users.add("7", 2)), "one text for all");
        users.add("8", 3);
        users.remove("7", 1);
        users.remove("8", 1);
        assert_eq!((users.of("7"), users.of("8"), users.of("9")), (vec![2], vec![3], vec![]));
        users.remove("7", 2);
        users.remove("8", 3);
        assert!(users.0.is_empty());
    }
}
