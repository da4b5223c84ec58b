//! A call as the relay takes it, and what its caller gets back.

use std::rc::Rc;
use std::time::Instant;

use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{CallKind, Cause, Reply, Transport};

use crate::auth::cookie_store::CookieStore;

/// Who calls, as workers are told. Made once a connection.
#[derive(Debug)]
pub struct Caller {
    /// Client id.
    pub id: String,
    /// Address of the browser.
    pub ip: String,
    /// `name: value` lines of the handshake.
    pub headers: Box<[u8]>,
    /// Cookies set since the handshake.
    pub cookies: CookieStore,
}

/// A call for a worker.
#[derive(Debug)]
pub struct CallRequest {
    /// Who calls.
    pub caller: Rc<Caller>,
    /// How the call came.
    pub transport: Transport,
    /// What it asks for.
    pub kind: CallKind,
    /// The push that it reacts to.
    pub cause: Option<Cause>,
    /// The client's `data`.
    pub payload: Rc<str>,
    /// When it arrived.
    pub arrived: Instant,
    /// When nobody waits for it any more.
    pub deadline: Instant,
}

/// What became of a call.
#[derive(Debug)]
pub enum RelayResult<'a> {
    /// A worker ran it.
    Reply(Reply<'a>),
    /// It was not run, or nobody knows whether it was.
    Failed(FailureKind, &'static str),
}

/// Takes the results of calls. `O` is what the caller gave the relay with the call.
///
/// The relay holds no borrow while it calls a handler, so a handler may submit the next call.
pub trait CallHandler<O> {
    /// A call has ended.
    fn complete(&self, origin: O, result: &RelayResult<'_>);
    /// A batch of calls has ended: what they put into outboxes can be written together.
    fn batch_complete(&self);
}

/// What the relay counts.
pub trait RelayObserver {
    /// A worker handed a call back.
    fn busy(&self);
    /// A worker sent a reply that fits no call.
    fn stray_reply(&self);
    /// A connection to a worker was made or lost.
    fn worker_connection(&self, up: bool);
    /// A call whose client had left came back without having been run.
    fn cancelled(&self);
    /// The number of calls that wait for a worker changed.
    fn waiting(&self, delta: i64);
    /// Whoever listens at a worker's address did not prove to be one.
    fn unproved(&self);
}
