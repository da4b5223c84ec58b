//! A call as the relay accepts it, and the result that its caller gets.

use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{CallKind, Cause, Reply, Transport};
use diffyne_shared::trace_context::TraceContext;

use super::component_key::ComponentKey;
use crate::auth::cookie_store::CookieStore;

/// The identity of a client, as workers get it. It is created once per connection, and kept as long, so it takes few
/// allocations.
#[derive(Debug)]
pub struct Caller {
    /// The client id, behind it the address, and behind that the headers of the handshake as `name: value` lines.
    text: Box<[u8]>,
    id_length: u32,
    ip_length: u32,
    /// Cookies set since the handshake.
    pub cookies: CookieStore,
}

impl Caller {
    /// Creates the identity of a client with this id and address, whose handshake had these headers.
    pub fn new(id: &str, ip: &str, headers: &[u8], cookies: CookieStore) -> Self {
        let text = [id.as_bytes(), ip.as_bytes(), headers].concat().into_boxed_slice();
        Self { text, id_length: id.len() as u32, ip_length: ip.len() as u32, cookies }
    }

    /// Returns the client id.
    pub fn id(&self) -> &str {
        self.part(0, self.id_length)
    }

    /// Returns the browser's address.
    pub fn ip(&self) -> &str {
        self.part(self.id_length, self.ip_length)
    }

    fn part(&self, start: u32, length: u32) -> &str {
        let start = start as usize;
        // It was made of texts.
        std::str::from_utf8(&self.text[start..start + length as usize]).unwrap_or_default()
    }

    /// Returns the headers of the handshake, as `name: value` lines.
    pub fn headers(&self) -> &[u8] {
        &self.text[(self.id_length + self.ip_length) as usize..]
    }

    /// Whether the client has brought cookies, or was given some since.
    pub fn has_cookies(&self) -> bool {
        self.headers().split(|byte| *byte == b'\n').any(|line| line.starts_with(b"cookie: "))
            || self.cookies.with(|cookies| !cookies.is_empty())
    }

    /// Adds a line to the headers.
    pub fn add_header(&mut self, name: &str, value: &str) {
        let line = [name, ": ", value, "\n"].concat();
        self.text = [&self.text, line.as_bytes()].concat().into_boxed_slice();
    }
}

/// A call for a worker.
#[derive(Debug)]
pub struct CallRequest {
    /// The client that makes the call.
    pub caller: Rc<Caller>,
    /// The transport by which the call arrived.
    pub transport: Transport,
    /// The kind of the call.
    pub kind: CallKind,
    /// The component that is called.
    pub component: ComponentKey,
    /// The push that the call reacts to.
    pub cause: Option<Cause>,
    /// The client can be sent more after the answer.
    pub takes_pushes: bool,
    /// The worker is to tell who the user is.
    pub wants_user: bool,
    /// How long the call may take in all while it sends parts of its answer. Zero: the client takes none.
    pub stream_max: Duration,
    /// The span of the relay, if it is recorded.
    pub trace: Option<Box<TraceContext>>,
    /// The client's `data`.
    pub payload: Rc<str>,
    /// The time of the call's arrival.
    pub arrived: Instant,
    /// The time after which nobody waits for the result.
    pub deadline: Instant,
}

/// The result of a call.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is handed on by reference")]
pub enum RelayResult<'a> {
    /// A worker ran the call; from when it was sent, its answer took this long.
    Reply(Reply<'a>, Duration),
    /// The call was not run, or it is unknown whether it was.
    Failed(FailureKind, &'static str),
}

/// Receives the results of calls. `O` is the origin that the caller gave the relay with the call.
///
/// The relay holds no borrow while it calls a handler, so a handler may submit the next call.
pub trait CallHandler<O> {
    /// Handles the end of a call.
    fn complete(&self, origin: O, result: &RelayResult<'_>);
    /// Handles a part of the answer to a call that still runs: a JSON object. Submits no call.
    fn part(&self, call: u64, origin: &O, data: &[u8]);
    /// Whether a call waits for its client to read what it was sent.
    fn waits_for_client(&self, call: u64) -> bool;
    /// Whether a call that was answered has a client for what follows.
    fn takes_pushes(&self, call: u64) -> bool;
    /// Handles what follows the answer of a call: a JSON object.
    fn pushed(&self, call: u64, data: &[u8]);
    /// Handles the end of what follows; `lost` if there should have been more.
    fn pushes_ended(&self, call: u64, lost: bool);
    /// Handles the end of a batch of calls, whose responses can be written together.
    fn batch_complete(&self);
}

/// Receives the events that the relay counts.
pub trait RelayObserver {
    /// A call was sent to a worker: to the one that its component prefers, or to another.
    fn sent(&self, is_preferred: bool);
    /// A worker handed a call back.
    fn busy(&self);
    /// A worker sent a reply that matches no call.
    fn stray_reply(&self);
    /// A connection to a worker was made or lost.
    fn worker_connection(&self, up: bool);
    /// A cancelled call came back without having been run.
    fn cancelled(&self);
    /// The number of calls that wait for a worker changed by `delta`.
    fn waiting(&self, delta: i64);
    /// A server at a worker's address did not prove that it is a worker.
    fn unproved(&self);
}
