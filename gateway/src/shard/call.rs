//! Where a call came from. Data only: `connection` and `http` know what to do with the result.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use diffyne_shared::bus::Position;
use hyper::StatusCode;
use tokio::sync::oneshot;

use crate::auth::grant::EventSubscription;
use crate::auth::session_identity::SessionIdentity;
use crate::connection::Connection;
use crate::connection::component_queues::PendingCall;
use crate::relay::Caller;

/// Who gets the result of a call.
pub enum CallOrigin {
    /// A WebSocket connection.
    Socket(Rc<Connection>, PendingCall),
    /// An AJAX request.
    Ajax(PendingRequest),
    /// A connection that asked to subscribe, and that a worker may grant it.
    Grant(Rc<Connection>, Box<GrantRequest>),
}

impl CallOrigin {
    /// Whether this connection made the call.
    pub fn is_of(&self, connection: &Rc<Connection>) -> bool {
        matches!(self, Self::Socket(caller, _) | Self::Grant(caller, _) if Rc::ptr_eq(caller, connection))
    }
}

/// An AJAX request whose call has no result yet.
pub struct PendingRequest {
    /// Unique among the requests of its shard.
    pub number: u64,
    /// Where its handler waits for the response.
    pub response: oneshot::Sender<AjaxResponse>,
    /// Who calls.
    pub caller: Rc<Caller>,
    /// Depth of the push that the call reacts to.
    pub cause_depth: Option<u32>,
    /// When it arrived.
    pub started: Instant,
}

/// The response to an AJAX call.
#[derive(Debug)]
pub struct AjaxResponse {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON.
    pub body: Bytes,
    /// `Set-Cookie` values.
    pub set_cookie: Vec<String>,
}

/// Asks a worker whether a user may subscribe to these events.
pub struct GrantRequest {
    /// The events, with those that the connection subscribes to already.
    pub events: Vec<EventSubscription>,
    /// Up to where the client has received, if it resumes.
    pub position: Option<Position>,
    /// The client holds a grant that is still valid: it keeps its subscriptions when no worker answers.
    pub renews: bool,
    /// The session in which the worker is asked.
    pub session: SessionIdentity,
    /// JSON of the request id.
    pub request_id: Option<String>,
    /// Bytes on the connection's account.
    pub held: usize,
}
