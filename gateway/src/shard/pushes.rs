//! Calls that were answered and whose client gets more: values that come later.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::connection::Connection;

/// Such calls of one connection, at most. Beyond it, calls wait for all that they have to say.
const OF_CONNECTION_MAX: usize = 16;

/// The open calls of one thread.
#[derive(Default)]
pub struct OpenCalls(RefCell<Table>);

#[derive(Default)]
struct Table {
    /// The connection and the id of the component, as JSON, by the relay's key of the call.
    calls: HashMap<u64, (Rc<Connection>, Box<str>)>,
    /// The calls of a connection, by its key in the hub.
    of_connection: HashMap<usize, Vec<u64>>,
}

impl OpenCalls {
    /// Whether a connection may have one more.
    pub fn has_room(&self, connection: &Connection) -> bool {
        self.count(connection) < OF_CONNECTION_MAX
    }

    /// Returns the number of a connection's calls.
    pub fn count(&self, connection: &Connection) -> usize {
        self.0.borrow().of_connection.get(&connection.key()).map_or(0, Vec::len)
    }

    /// Adds a call that was answered.
    pub fn insert(&self, call: u64, connection: &Rc<Connection>, component: &str) {
        let mut table = self.0.borrow_mut();
        table.calls.insert(call, (Rc::clone(connection), component.into()));
        table.of_connection.entry(connection.key()).or_default().push(call);
    }

    /// Returns the connection and the component of a call.
    pub fn get(&self, call: u64) -> Option<(Rc<Connection>, Box<str>)> {
        self.0.borrow().calls.get(&call).cloned()
    }

    /// Removes a call that has ended.
    pub fn remove(&self, call: u64) -> Option<(Rc<Connection>, Box<str>)> {
        let mut table = self.0.borrow_mut();
        let (connection, component) = table.calls.remove(&call)?;
        let key = connection.key();
        if let Some(calls) = table.of_connection.get_mut(&key) {
            calls.retain(|other| *other != call);
            if calls.is_empty() {
                table.of_connection.remove(&key);
            }
        }
        Some((connection, component))
    }

    /// Removes the calls of a connection that has ended, and returns them.
    pub fn remove_all(&self, connection: &Connection) -> Vec<u64> {
        let mut table = self.0.borrow_mut();
        let calls = table.of_connection.remove(&connection.key()).unwrap_or_default();
        for call in &calls {
            table.calls.remove(call);
        }
        calls
    }
}
