//! The origin of a call. This module holds data only; `connection` and `http` handle the result.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use diffyne_shared::bus::Position;
use hyper::StatusCode;
use tokio::sync::oneshot;

use crate::auth::grant::EventSubscription;
use crate::auth::session_identity::SessionIdentity;
use crate::connection::Connection;
use crate::connection::component_queues::{PageScripts, PendingCall};
use crate::relay::Caller;

/// The origin of a call, which gets its result.
pub enum CallOrigin {
    /// A component call of a WebSocket connection.
    Socket(Rc<Connection>, PendingCall),
    /// An AJAX request.
    Ajax(PendingRequest),
    /// A connection's request to subscribe, which a worker has to grant.
    Grant(Rc<Connection>, Box<PendingGrant>),
}

impl CallOrigin {
    /// Whether this connection made the call.
    pub fn is_of(&self, connection: &Rc<Connection>) -> bool {
        matches!(self, Self::Socket(caller, _) | Self::Grant(caller, _) if Rc::ptr_eq(caller, connection))
    }
}

/// An AJAX request whose call has no result yet.
pub struct PendingRequest {
    /// A number that is unique among the requests of the shard.
    pub number: u64,
    /// Sends the response to the request's handler.
    pub response: oneshot::Sender<AjaxResponse>,
    /// The identity of the client.
    pub caller: Rc<Caller>,
    /// The depth of the push that the call reacts to.
    pub cause_depth: Option<u32>,
    /// The release of the page's scripts.
    pub scripts: PageScripts,
    /// The time of the call's arrival.
    pub started: Instant,
}

/// The response to an AJAX call.
#[derive(Debug)]
pub struct AjaxResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, as JSON.
    pub body: Bytes,
    /// `Set-Cookie` values.
    pub set_cookie: Vec<String>,
}

/// A request to a worker to decide whether a user may subscribe to these events.
pub struct PendingGrant {
    /// The events, including those that the connection already subscribes to.
    pub events: Vec<EventSubscription>,
    /// The position up to which the client has received broadcasts, if it resumes.
    pub position: Option<Position>,
    /// The client holds a valid grant, so it keeps its subscriptions if no worker answers.
    pub renews: bool,
    /// The session in which the worker decides.
    pub session: SessionIdentity,
    /// The request id, as JSON.
    pub request_id: Option<String>,
    /// Bytes on the connection's account.
    pub held: usize,
}
