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
    Socket(Rc<Connection>),
    /// The bytes that wait in the body of an HTTP response.
    Response(WaitingBytes),
}

impl UnsentParts {
    fn are_sent(&self) -> bool {
        match &self.client {
            PartClient::Socket(connection) => connection.waiting_bytes() == 0,
            PartClient::Response(waiting) => waiting.get() == 0,
        }
    }
}

/// The parts of one thread's calls.
#[derive(Default)]
pub struct Parts(RefCell<Vec<UnsentParts>>);

impl Parts {
    /// Hands a part, a JSON object of a worker, to the client of its call. A part that is larger than a connection may be
    /// sent is left out: the answer of the call has all of it.
    pub fn hand_over(&self, hub: &Hub, frame_bytes_max: usize, call: u64, origin: &CallOrigin, data: &[u8]) {
        if data.len() > frame_bytes_max {
            tracing::error!(bytes = data.len(), "a part of an answer is larger than DIFFYNE_OUTBOX_BYTES");
            return;
        }
        let (count, client) = match origin {
            CallOrigin::Socket(connection, pending) => {
                hub.send(connection, &protocol::part(pending.component(), pending.request_id(), data));
                (&pending.parts, PartClient::Socket(Rc::clone(connection)))
            }
            CallOrigin::Ajax(pending) => {
                let line = protocol::part(&pending.component, None, data);
                let Some(waiting) = pending.send_line(line) else { return };
                (&pending.parts, PartClient::Response(waiting))
            }
            CallOrigin::Grant(..) => return,
        };
        hub.metrics.parts.inc();
        if let Some(bytes) = count.add(data.len()) {
            self.0.borrow_mut().push(UnsentParts { call, bytes, client });
        }
    }

    /// Takes the parts that have been sent.
    pub fn take_sent(&self) -> Vec<UnsentParts> {
        let mut unsent = self.0.borrow_mut();
        unsent.extract_if(.., |parts| parts.are_sent()).collect()
    }
}
