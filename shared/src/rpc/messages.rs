//! The bodies of frames.

use serde::{Deserialize, Serialize};
pub use serde_bytes::ByteBuf as Bytes;

use super::version::VersionRange;
use crate::trace_context::{self, TraceContext};

/// Fields that are rarely set take no bytes when they are not.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The [`backend`](Hello::backend) of a worker that runs the demo's components instead of an application's.
pub const DEMO_BACKEND: &str = "demo";

/// A [feature](Hello::features) of workers: they run [`CallKind::Lifecycle`].
pub const LIFECYCLE_FEATURE: &str = "lifecycle";

/// The first frame of a gateway, and a worker's when it takes calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol versions spoken.
    pub versions: VersionRange,
    /// Names of optional features.
    #[serde(default)]
    pub features: Vec<String>,
    /// Who this is: a gateway's or a worker's id.
    pub id: String,
    /// The token itself: from gateways of version 1 only. See [`handshake`](super::handshake).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Calls that the worker runs side by side; 0 from a gateway.
    #[serde(default)]
    pub capacity: u32,
    /// What the worker runs calls on, for people.
    #[serde(default)]
    pub backend: String,
    /// The worker takes no new calls.
    #[serde(default)]
    pub draining: bool,
    /// The worker's backend cannot run calls now; its log and its `/ready` give the reason.
    #[serde(default)]
    pub faulty: bool,
    /// The application's newest code does not start, so that older code runs calls; the worker's log and its `/ready`
    /// give the reason.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outdated: bool,
    /// Longest frame that this side takes, in bytes; older releases do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes_max: Option<u32>,
    /// Calls that may wait in the worker beyond its capacity, so that gateways send no more; older releases do not
    /// tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// The release of a worker's components; older releases do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// A gateway's random bytes, so that the worker's proof is made for this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Bytes>,
    /// A worker's MAC, after it has seen the gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Bytes>,
}

impl Hello {
    /// The hello of a gateway.
    pub fn gateway(id: &str, nonce: Bytes, frame_bytes_max: usize) -> Self {
        let frame_bytes_max = u32::try_from(frame_bytes_max).ok();
        Self { id: id.to_owned(), nonce: Some(nonce), frame_bytes_max, ..Self::default() }
    }

    /// The hello of a worker that runs `capacity` calls side by side.
    pub fn worker(id: &str, capacity: u32) -> Self {
        Self { id: id.to_owned(), capacity, ..Self::default() }
    }
}

/// A worker's challenge to a gateway that connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Challenge {
    /// Protocol versions spoken.
    pub versions: VersionRange,
    /// The worker's id.
    pub id: String,
    /// Random bytes for this connection.
    pub nonce: Bytes,
}

/// A gateway's answer to a challenge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proof {
    /// A MAC by each of its tokens.
    pub macs: Vec<Bytes>,
}

/// How a call came to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Over a WebSocket.
    Ws,
    /// As an HTTP request.
    Ajax,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// `diffyne.call`: run a method.
    Call,
    /// `diffyne.update`: set a property.
    Update,
    /// A lazy component's first state.
    Mount,
    /// May this user hear these events?
    Grant,
    /// Tell the application what happened to connections. Only for workers with [`LIFECYCLE_FEATURE`]: others do not know
    /// this kind, and end the connection.
    Lifecycle,
}

/// The client that calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client<'a> {
    /// The client id of the connection.
    #[serde(borrow)]
    pub id: &'a str,
    /// The address of the browser, as far as proxies are trusted.
    #[serde(borrow)]
    pub ip: &'a str,
    /// How the call came.
    pub transport: Transport,
    /// `name: value` lines of the handshake, one blob made once a connection.
    #[serde(borrow, with = "serde_bytes", default)]
    pub headers: &'a [u8],
    /// Cookies set since the handshake.
    #[serde(borrow, with = "serde_bytes", default, rename = "jar")]
    pub cookies: &'a [u8],
}

/// The push that a call reacts to.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Cause {
    /// Id of the broadcast.
    pub id: String,
    /// Its depth.
    pub depth: u32,
}

/// One component call on its way to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call<'a> {
    /// Unique on this relay connection.
    pub id: u64,
    /// What is left of the time for this call.
    pub budget_ms: u32,
    /// Who calls.
    #[serde(borrow)]
    pub client: Client<'a>,
    /// What is asked for.
    pub kind: CallKind,
    /// The push that this call reacts to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The client can be sent more after the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pushes: bool,
    /// The client can be sent parts of the answer while the call runs. Each gives the call its budget anew, for as long
    /// as this in all. 0: it cannot; older gateways do not tell it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stream_ms: u32,
    /// The answer is to tell who the user is. Without it, a worker tells that only where it costs nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wants_user: bool,
    /// The `traceparent` of the gateway's span, where traces are recorded.
    #[serde(default, deserialize_with = "trace_context::lenient", skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The client's `data` object, as it came.
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
}

/// How a call ended; the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Ran; patches, or a redirect.
    Ok,
    /// The component's validation refused its state, or the message its shape.
    ValidationError,
    /// Unknown or not invokable method, or a parameter of the wrong type.
    MethodError,
    /// Unknown, hidden, locked or computed property, or a value of the wrong type.
    PropertyError,
    /// The signature does not fit the state.
    SecurityError,
    /// The component threw.
    Exception,
    /// The backend failed.
    ServerError,
    /// The call ran until its deadline and was ended.
    Timeout,
    /// No such component.
    UnknownComponent,
    /// The client left in the middle of an answer that streams.
    ClientLeft,
    /// From a newer worker.
    #[serde(other)]
    Other,
}

impl Outcome {
    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ValidationError => "validation_error",
            Self::MethodError => "method_error",
            Self::PropertyError => "property_error",
            Self::SecurityError => "security_error",
            Self::Exception => "exception",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::UnknownComponent => "unknown_component",
            Self::ClientLeft => "client_left",
            Self::Other => "other",
        }
    }
}

/// An event of a response that may leave for the whole cluster: its `to` is null.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResponseEvent<'a> {
    /// Place in the response's `events`.
    pub index: u32,
    /// Event name.
    #[serde(borrow)]
    pub name: &'a str,
    /// The `params` list as JSON.
    #[serde(borrow, with = "serde_bytes")]
    pub params: &'a [u8],
}

/// An event for one user alone. It is in no list with events for everybody: a gateway of an older release, which knows no
/// users, would send those to all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserEvent<'a> {
    /// The user's id.
    #[serde(borrow)]
    pub user: &'a str,
    /// Event name.
    #[serde(borrow)]
    pub name: &'a str,
    /// The `params` list as JSON.
    #[serde(borrow, with = "serde_bytes")]
    pub params: &'a [u8],
}

/// The header of a client that tells whether its calls may run without the session that it has brought. A gateway sets
/// it, never a browser.
pub const SESSION_HEADER: &str = "x-diffyne-session";
/// The value of [`SESSION_HEADER`]: such a call is refused when the session has ended.
pub const SESSION_REQUIRED: &str = "required";

/// What a call did to the user's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionChange {
    /// As before, or no session at all.
    #[default]
    Same,
    /// Another id: login, logout.
    Changed,
    /// It had ended.
    Gone,
}

/// What a worker tells of a call that took long or failed, for the log of the gateway and for operators. Times are in
/// microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CallDetails<'a> {
    /// The request's id in the logs of the worker and of the application.
    #[serde(borrow)]
    pub request: &'a str,
    /// The method as the class spells it; empty when the class does not have it.
    #[serde(borrow)]
    pub method: &'a str,
    /// In the worker's queues: for a slot, and for a PHP process.
    pub queue: u32,
    /// In the component's method, and everything around it in PHP.
    pub run: u32,
    /// Rendering its HTML.
    pub render: u32,
    /// Making patches of the HTML.
    pub diff: u32,
    /// From the call's arrival at the worker to its answer.
    pub total: u32,
}

/// The answer to a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// The call's id.
    pub id: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The status code of the response to an AJAX call.
    #[serde(default)]
    pub status: u16,
    /// The finished JSON object, without `requestId` and `eventIds`.
    #[serde(borrow, with = "serde_bytes")]
    pub data: &'a [u8],
    /// Number of the response's events: `eventIds` is as long.
    #[serde(default)]
    pub event_count: u32,
    /// Events that may be broadcast.
    #[serde(borrow, default)]
    pub broadcasts: Vec<ResponseEvent<'a>>,
    /// Events for one user each, which are not in the response.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub user_events: Vec<UserEvent<'a>>,
    /// The id of the user who has called, as the application knows it after the call; empty for a guest. `None`: the
    /// worker does not tell it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// `Set-Cookie` values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_cookie: Vec<String>,
    /// What became of the session.
    #[serde(default)]
    pub session: SessionChange,
    /// The component's class as the worker spells it; older workers do not tell it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub component: Option<&'a str>,
    /// Calls running and waiting in the worker now.
    #[serde(default)]
    pub load: u32,
    /// Calls that may wait in the worker now; `None`: as many as in the hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Its backend cannot run calls now.
    #[serde(default)]
    pub faulty: bool,
    /// As in the hello.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outdated: bool,
    /// The release of the worker's components, where the message names another one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub release: Option<&'a str>,
    /// Pushes follow, for as long as the client is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Where the call took long or failed; older workers do not tell it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub details: Option<CallDetails<'a>>,
}

/// Something for the client of a call after its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Push<'a> {
    /// The call's id.
    pub id: u64,
    /// The data of a `diffyne.push`, a JSON object. Empty if there is nothing more to say, or, where something follows,
    /// if what there was to say is larger than the gateway takes.
    #[serde(borrow, with = "serde_bytes")]
    pub data: &'a [u8],
    /// Nothing follows.
    #[serde(default)]
    pub last: bool,
}

/// The bytes of parts of one call that a worker may send ahead of what its client has been sent.
pub const PARTS_AHEAD_BYTES_MAX: u32 = 64 * 1024;

/// A part of the answer to a call that still runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part<'a> {
    /// The call's id.
    pub id: u64,
    /// The rest of the data of a `diffyne.part`, a JSON object.
    #[serde(borrow, with = "serde_bytes")]
    pub data: &'a [u8],
}

/// Parts of a call have been sent to its client, so that the worker may send more.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct PartsSent {
    /// The call's id.
    pub id: u64,
    /// Bytes of their data.
    pub bytes: u32,
}

impl<'a> Reply<'a> {
    /// An answer without events or cookies.
    pub fn new(id: u64, outcome: Outcome, status: u16, data: &'a [u8]) -> Self {
        Self {
            id,
            outcome,
            status,
            data,
            event_count: 0,
            broadcasts: Vec::new(),
            user_events: Vec::new(),
            user: None,
            set_cookie: Vec::new(),
            session: SessionChange::Same,
            component: None,
            load: 0,
            queue: None,
            faulty: false,
            outdated: false,
            release: None,
            open: false,
            details: None,
        }
    }
}

/// Are you there?
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ping {
    /// Tell also what each process does.
    #[serde(skip_serializing_if = "is_false")]
    pub processes: bool,
}

/// A worker's load: the answer to `Ping`, or sent when the load changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pong {
    /// Calls running and waiting in the worker now.
    pub load: u32,
    /// As in a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// The worker takes no new calls.
    #[serde(default)]
    pub draining: bool,
    /// The worker's backend cannot run calls now; its log and its `/ready` give the reason.
    #[serde(default)]
    pub faulty: bool,
    /// As in the hello.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outdated: bool,
    /// The release of the worker's components: an application in PHP may be replaced while its worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What each process does, as JSON, where the ping has asked; `null` from a worker that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<String>,
}

/// The id of a call, alone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CallId {
    /// The call's id.
    pub id: u64,
}

/// Why a peer is refused, before the connection closes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refuse {
    /// Words for the other side's log.
    pub reason: String,
}

/// A frame without fields.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Empty {}
