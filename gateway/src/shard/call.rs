//! The origin of a call. This module holds data only; `connection` and `http` handle the result.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use diffyne_shared::bus::Position;
use hyper::StatusCode;
use tokio::sync::oneshot;

use super::response_lines::{ReceivedLines, ResponseLines, WaitingBytes};
use crate::auth::grant::{EventSubscription, GrantedRoom};
use crate::auth::session_identity::SessionIdentity;
use crate::connection::Connection;
use crate::connection::component_queues::{PageScripts, PendingCall};
use crate::lifecycle::delivery::DeliveryError;
use crate::relay::{Caller, PartCount};
use crate::traces::CallTrace;

/// The origin of a call, which gets its result.
pub enum CallOrigin {
    /// A component call of a WebSocket connection.
    Socket(Rc<Connection>, PendingCall),
    /// An AJAX request.
    Ajax(PendingRequest),
    /// A connection's request to subscribe, which a worker has to grant.
    Grant(Rc<Connection>, Box<PendingGrant>),
    /// Events of connections for the application; gets why they were not taken.
    Lifecycle(oneshot::Sender<Result<(), DeliveryError>>),
    /// A connection's request to enter rooms, which a worker has to grant.
    Rooms(Rc<Connection>, Box<PendingRooms>),
}

impl CallOrigin {
    /// Whether this connection made the call.
    pub fn is_of(&self, connection: &Rc<Connection>) -> bool {
        let (Self::Socket(caller, _) | Self::Grant(caller, _) | Self::Rooms(caller, _)) = self else { return false };
        Rc::ptr_eq(caller, connection)
    }
}

/// An AJAX request whose call has no result yet.
pub struct PendingRequest {
    /// A number that is unique among the requests of the shard.
    pub number: u64,
    /// Sends the response to the request's handler.
    pub response: RefCell<Option<oneshot::Sender<AjaxAnswer>>>,
    /// The lines of a response that has begun with parts.
    pub lines: RefCell<Option<ResponseLines>>,
    /// The parts of the answer.
    pub parts: PartCount,
    /// The id of the component on the page, as JSON.
    pub component: Box<str>,
    /// The identity of the client.
    pub caller: Rc<Caller>,
    /// The depth of the push that the call reacts to.
    pub cause_depth: Option<u32>,
    /// The release of the page's scripts.
    pub scripts: PageScripts,
    /// Its spans, if they are recorded.
    pub trace: Option<Box<CallTrace>>,
    /// The time of the call's arrival.
    pub started: Instant,
}

impl PendingRequest {
    /// Begins the response with lines, if it has not begun. Returns the count of the bytes that wait, or `None` if the
    /// response has been sent.
    pub fn waiting(&self) -> Option<WaitingBytes> {
        let mut lines = self.lines.borrow_mut();
        if lines.is_none() {
            let response = self.response.borrow_mut().take()?;
            let (sender, received) = ResponseLines::new();
            // The browser may be gone; then the lines are dropped.
            let _ = response.send(AjaxAnswer::Lines(received));
            *lines = Some(sender);
        }
        lines.as_ref().map(ResponseLines::waiting)
    }

    /// Adds a line to a response that has begun with lines.
    pub fn send_line(&self, line: String) {
        if let Some(lines) = &*self.lines.borrow() {
            lines.send(line);
        }
    }
}

/// How an AJAX call is answered.
#[derive(Debug)]
pub enum AjaxAnswer {
    /// By one response.
    Whole(AjaxResponse),
    /// By lines, as they come.
    Lines(ReceivedLines),
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

/// What a worker is asked when a client subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantQuestion {
    /// Which events the user may hear.
    Events {
        /// The client holds a valid grant, so it keeps its subscriptions if no worker answers.
        renews: bool,
    },
    /// Who the user is.
    User,
}

/// What a decision of a worker about a connection rests on.
pub struct PendingDecision {
    /// The session in which the worker decides.
    pub session: SessionIdentity,
    /// How often the connection's user had changed when the worker was asked.
    pub user_changes: u32,
    /// The request id, as JSON.
    pub request_id: Option<String>,
    /// Bytes on the connection's account.
    pub held: usize,
}

/// A request to a worker to decide whether a user may subscribe to these events.
pub struct PendingGrant {
    /// The events, including those that the connection already subscribes to.
    pub events: Vec<EventSubscription>,
    /// Events of the same request that everybody may hear.
    pub open: Vec<EventSubscription>,
    /// The position up to which the client has received broadcasts, if it resumes.
    pub position: Option<Position>,
    /// What the worker is asked.
    pub question: GrantQuestion,
    /// What the decision rests on.
    pub decision: PendingDecision,
}

/// A room that a client wants to enter.
#[derive(Debug, Clone)]
pub struct WantedRoom {
    /// The room's name.
    pub name: Arc<str>,
    /// The event and the fields that make the room, and the class that decides.
    pub event: EventSubscription,
    /// What the client shows is still valid, so it counts if no worker answers.
    pub shown: Option<GrantedRoom>,
}

/// A request to a worker to decide whether a user may enter these rooms.
pub struct PendingRooms {
    /// The rooms.
    pub rooms: Vec<WantedRoom>,
    /// What the decision rests on.
    pub decision: PendingDecision,
}
