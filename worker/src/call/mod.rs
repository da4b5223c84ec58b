//! A call and its result: what backends and the component engine share.
//!
//! * `client`: who calls
//! * `message`: the client's message; `deep_json`: where it nests deeply
//! * `verified`: the check of it and its signatures
//! * `page_script`: what the script of a page says of itself
//! * `page_values`: what a page cannot return as it got it
//! * `error`: how a call can fail
//! * `parts`: parts of the answer to a call that still runs
//! * `cookies`, `redirect`: cookies of a request, addresses that pages may be sent to

pub(crate) mod client;
pub(crate) mod cookies;
pub(crate) mod deep_json;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod page_script;
pub(crate) mod page_values;
pub(crate) mod parts;
pub(crate) mod redirect;
pub(crate) mod verified;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{CallKind, Cause, Outcome, SessionChange, Transport};

use futures_util::stream::BoxStream;

pub use client::ClientInfo;
pub use diffyne_shared::BoxFuture;
pub use error::CallError;
pub use parts::Parts;

/// A call as a backend gets it.
#[derive(Debug)]
pub struct Job {
    /// What the client asks for.
    pub kind: CallKind,
    /// Who calls.
    pub client: ClientInfo,
    /// The broadcast that the call reacts to.
    pub cause: Option<Cause>,
    /// The client's `data`.
    pub payload: Vec<u8>,
    /// The gateway waits for the result until then.
    pub deadline: Instant,
    /// The client can be sent more after the answer.
    pub pushes: bool,
    /// The gateway wants to know who the user is.
    pub wants_user: bool,
    /// Where parts of the answer go while the call runs.
    pub parts: Parts,
    /// The request's id in the logs of the worker and of the application.
    pub request_id: String,
}

/// An event in a call's response that may go to the whole cluster.
#[derive(Debug, Clone)]
pub struct BroadcastEvent {
    /// Index among the response's events.
    pub index: u32,
    /// Event name.
    pub name: String,
    /// The `params` list as JSON.
    pub params: Vec<u8>,
}

/// An event for one user, which is not in the response.
#[derive(Debug, Clone)]
pub struct UserEvent {
    /// The user's id.
    pub user: String,
    /// Event name.
    pub name: String,
    /// The `params` list as JSON.
    pub params: Vec<u8>,
}

/// Where the time of a call went, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallPhases {
    /// In queues: for a slot of the worker, and for a PHP process.
    pub queue: u32,
    /// In the method and everything around it.
    pub run: u32,
    /// Rendering the component's HTML.
    pub render: u32,
    /// Making patches of the HTML, and the response.
    pub diff: u32,
    /// From the call's arrival at the worker to its result.
    pub total: u32,
}

impl CallPhases {
    /// The phases of a response that was made since `began`, of HTML whose rendering took so long.
    pub(crate) fn of_response(render: Duration, began: Instant) -> Self {
        Self { render: micros(render), diff: micros(began.elapsed()), ..Self::default() }
    }

    /// Takes the time that a backend needed for its reply, rendering included, and how much of it the call waited.
    pub(crate) fn split_queue_and_run(&mut self, waited: Duration, answered: Duration) {
        self.queue = micros(waited);
        self.run = micros(answered.saturating_sub(waited)).saturating_sub(self.render);
    }

    /// Takes what the worker has measured around its backend.
    pub(crate) fn around(&mut self, waited: Duration, took: Duration) {
        self.queue = self.queue.saturating_add(micros(waited));
        self.total = micros(waited + took);
    }
}

/// Saturates beyond an hour; no call takes that long.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The result of a call, successful or not.
#[derive(Debug)]
pub struct CallResult {
    /// The class as the backend spells it; empty when the backend does not know it.
    pub class: String,
    /// The method as the class spells it; empty when the class does not have it.
    pub method: String,
    /// How the call ended.
    pub outcome: Outcome,
    /// Status of the AJAX response.
    pub status: u16,
    /// The client's JSON object.
    pub data: Vec<u8>,
    /// Number of events in the response.
    pub event_count: u32,
    /// The events that may go to the whole cluster.
    pub broadcasts: Vec<BroadcastEvent>,
    /// Events for one user each.
    pub user_events: Vec<UserEvent>,
    /// The user's id after the call, empty for a guest; `None`: the backend does not tell it.
    pub user: Option<String>,
    /// `Set-Cookie` values for the browser.
    pub set_cookie: Vec<String>,
    /// What happened to the user's session.
    pub session: SessionChange,
    /// The release of the components, where the page names another one.
    pub release: Option<Arc<str>>,
    /// What follows the answer.
    pub follow_up: Option<FollowUp>,
    /// The request's id in the logs; set when the call has ended.
    pub request_id: Box<str>,
    /// Where the time went.
    pub phases: CallPhases,
}

/// What follows an answer: the data of messages to the page.
pub struct FollowUp(pub BoxStream<'static, Vec<u8>>);

impl fmt::Debug for FollowUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FollowUp")
    }
}

impl CallResult {
    /// The result of a call that was not run.
    pub fn refused(error: &CallError, kind: CallKind, transport: Transport) -> Self {
        Self {
            outcome: error.outcome(),
            status: error.status(kind),
            data: error.response(kind, transport, false, "").to_string().into_bytes(),
            ..Self::default()
        }
    }
}

impl Default for CallResult {
    /// A server error without a body.
    fn default() -> Self {
        Self {
            class: String::new(),
            method: String::new(),
            outcome: Outcome::ServerError,
            status: 500,
            data: Vec::new(),
            event_count: 0,
            broadcasts: Vec::new(),
            user_events: Vec::new(),
            user: None,
            set_cookie: Vec::new(),
            session: SessionChange::Same,
            release: None,
            follow_up: None,
            request_id: Box::default(),
            phases: CallPhases::default(),
        }
    }
}
