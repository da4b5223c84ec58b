//! Parts of the answers to calls that still run. Each goes to its client at once.
//!
//! A worker may send only so much ahead of what a call's client has been sent. A client that reads slowly so slows its
//! own method down, and no other one: not even one of the same worker.

use std::cell::RefCell;
use std::rc::Rc;

use super::call::CallOrigin;
use super::hub::Hub;
use super::response_lines::WaitingBytes;
use crate::connection::Connection;
use crate::protocol;

/// Parts that their client may not have been sent yet.
pub struct UnsentParts {
    /// The relay's key of the call.
    pub call: u64,
    /// Bytes of the parts.
    pub bytes: u32,
    client: PartClient,
}

/// Whom parts are for.
enum PartClient {
    /// The connection, and how many bytes it has been sent when the part is among them.
    Socket(Rc<Connection>, u64),
    /// The bytes that wait in the body of an HTTP response.
    Response(WaitingBytes),
}

impl UnsentParts {
    fn are_sent(&self) -> bool {
        match &self.client {
            // Nothing waits either when the connection has ended.
            PartClient::Socket(connection, end) => connection.sent_bytes() >= *end || connection.waiting_bytes() == 0,
            PartClient::Response(waiting) => waiting.get() == 0,
        }
    }
}

/// The parts of one thread's calls.
#[derive(Default)]
pub struct Parts(RefCell<Vec<UnsentParts>>);

impl Parts {
    /// Hands a part, a JSON object of a worker, to the client of its call. A part for which a client has no room is left
    /// out, because the answer of the call has all of it. It counts as sent all the same, so that its method goes on.
    pub fn hand_over(&self, hub: &Hub, bytes_max: usize, call: u64, origin: &CallOrigin, data: &[u8]) {
        let (count, client) = match origin {
            CallOrigin::Socket(connection, pending) => {
                if has_room(connection.waiting_bytes(), data, bytes_max) {
                    hub.send(connection, &protocol::part(pending.component(), pending.request_id(), data));
                    hub.metrics.parts.inc();
                }
                let end = connection.sent_bytes() + connection.waiting_bytes() as u64;
                (&pending.parts, PartClient::Socket(Rc::clone(connection), end))
            }
            CallOrigin::Ajax(pending) => {
                let Some(waiting) = pending.waiting() else { return };
                if has_room(waiting.get(), data, bytes_max) {
                    pending.send_line(protocol::part(&pending.component, None, data));
                    hub.metrics.parts.inc();
                }
                (&pending.parts, PartClient::Response(waiting))
            }
            CallOrigin::Grant(..) | CallOrigin::Rooms(..) | CallOrigin::Lifecycle(_) => return,
        };
        if let Some(bytes) = count.add(data.len()) {
            self.0.borrow_mut().push(UnsentParts { call, bytes, client });
        }
    }

    /// Whether a call has parts that its client has not been sent.
    pub fn are_waiting(&self, call: u64) -> bool {
        self.0.borrow().iter().any(|parts| parts.call == call && !parts.are_sent())
    }

    /// Takes the parts that have been sent.
    pub fn take_sent(&self) -> Vec<UnsentParts> {
        let mut unsent = self.0.borrow_mut();
        unsent.extract_if(.., |parts| parts.are_sent()).collect()
    }
}

/// Whether a part fits behind what waits already.
fn has_room(waiting: usize, data: &[u8], bytes_max: usize) -> bool {
    let has_room = waiting + data.len() <= bytes_max;
    if !has_room {
        tracing::debug!(waiting, bytes = data.len(), "a part of an answer is left out: DIFFYNE_OUTBOX_BYTES");
    }
    has_room
}
