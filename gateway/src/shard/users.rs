//! The connections of each user on one thread.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::delivery::Delivery;
use super::hub::Hub;
use crate::connection::Connection;
use crate::connection::account::HeldKind;

/// The memory that a connection with a user takes in the index, in bytes, beside the id.
const USER_BYTES: usize = 192;

/// The index.
#[derive(Debug, Default)]
pub(super) struct UserIndex(HashMap<Rc<str>, HashSet<usize>>);

impl UserIndex {
    fn add(&mut self, user: &str, key: usize) -> Rc<str> {
        if let Some((known, _)) = self.0.get_key_value(user) {
            let known = Rc::clone(known);
            self.0.entry(Rc::clone(&known)).or_default().insert(key);
            return known;
        }
        let user: Rc<str> = user.into();
        self.0.insert(Rc::clone(&user), HashSet::from([key]));
        user
    }

    fn remove(&mut self, user: &str, key: usize) {
        if let Some(keys) = self.0.get_mut(user) {
            keys.remove(&key);
            if keys.is_empty() {
                self.0.remove(user);
            }
        }
    }

    fn of(&self, user: &str) -> Vec<usize> {
        self.0.get(user).into_iter().flatten().copied().collect()
    }
}

impl Hub {
    /// Sets the user of a connection: empty for a guest, `None` if it is unknown.
    pub fn set_user(&self, connection: &Connection, user: Option<&str>) {
        let mut users = self.users.borrow_mut();
        let key = connection.key.get();
        let id = user.map(|user| if user.is_empty() { Rc::from("") } else { users.add(user, key) });
        let bytes = id.as_ref().filter(|id| !id.is_empty()).map_or(0, |id| USER_BYTES + id.len());
        connection.account.set(HeldKind::User, bytes);
        let was_user = connection.user.id();
        connection.user.replace(id);
        let is_user = connection.user.id();
        if let Some(before) = was_user.as_ref().filter(|before| is_user.as_ref() != Some(before)) {
            users.remove(before, key);
        }
        self.metrics.user_connections.add(i64::from(is_user.is_some()) - i64::from(was_user.is_some()));
    }

    /// Returns the connections of a user.
    pub fn connections_of(&self, user: &str) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        self.users.borrow().of(user).into_iter().filter_map(|key| connections.get(key).cloned()).collect()
    }

    /// Returns the keys of those connections of a user that a delivery is for.
    pub(super) fn keys_of(&self, user: &str, is_wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut keys = self.users.borrow().of(user);
        keys.retain(|key| is_wanted(*key));
        keys
    }
}

/// Whether a connection may get a delivery that it has subscribed to: it is for everybody or for the connection's user,
/// and the client does not have it already. A client that polls keeps its name, and so does not hear of what it has caused
/// between two polls.
pub(super) fn may_get(connection: &Connection, delivery: &Delivery) -> bool {
    delivery.user.as_deref().is_none_or(|user| connection.user.is(user))
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
