//! Sets the users of connections, and finds the connections of a user.

use std::rc::Rc;

use super::hub::Hub;
use crate::connection::Connection;
use crate::connection::account::HeldKind;

/// The memory that a connection with a user takes in the index, in bytes, beside the id.
const USER_BYTES: usize = 192;

impl Hub {
    /// Sets the user of a connection: empty for a guest, `None` if it is unknown.
    ///
    /// What the connection has entered as another user, it leaves.
    pub fn set_user(&self, connection: &Rc<Connection>, user: Option<&str>) {
        if connection.user.known().is_some_and(|before| user != Some(&*before)) {
            self.leave_rooms_of_another(connection);
        }
        let mut users = self.users.borrow_mut();
        let key = connection.key();
        // Who has gone has no place in the index, though its last call may be answered only now.
        let user = user.filter(|_| key != usize::MAX);
        let id = user.map(|user| if user.is_empty() { Rc::from("") } else { users.add(user, key) });
        let bytes = id.as_ref().filter(|id| !id.is_empty()).map_or(0, |id| USER_BYTES + id.len());
        connection.account.set(HeldKind::User, bytes);
        let was_user = connection.user.id();
        connection.user.replace(id);
        let is_user = connection.user.id();
        if let Some(before) = was_user.as_ref().filter(|before| is_user.as_ref() != Some(before)) {
            users.remove(before, key);
        }
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.identified(connection, was_user.as_deref(), is_user.as_deref());
        }
        self.metrics.user_connections.add(i64::from(is_user.is_some()) - i64::from(was_user.is_some()));
    }

    /// Returns the connections of a user.
    pub fn connections_of(&self, user: &str) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        self.users.borrow().of(user).into_iter().filter_map(|key| connections.get(key).cloned()).collect()
    }
}
