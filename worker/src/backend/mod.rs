//! What a worker runs calls on: components written in Rust ([`native`]), or a Laravel application in a pool of PHP
//! processes ([`php`]) or behind a server of its own ([`application`], by HTTP or FastCGI), whose answers
//! [`translation`] turns into the client's.

pub mod application;
mod fastcgi;
mod http;
pub mod names;
pub mod native;
pub mod php;
mod request;
pub mod translation;

pub(crate) use request::id as request_id;

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use diffyne_shared::rpc::{CallKind, Cause, Outcome, SessionChange, Transport};
use diffyne_shared::signing::{LockedValues, Signer};
use prometheus::Registry;

use crate::component::message::{Data, Locked, Verified};
use crate::component::{ClientInfo, Failure};

/// An event that may leave for the whole cluster.
#[derive(Debug, Clone)]
pub struct Broadcastable {
    /// Place in the response's events.
    pub index: u32,
    /// Event name.
    pub name: String,
    /// The `params` list as JSON.
    pub params: Vec<u8>,
}

/// A call that has ended, well or not.
#[derive(Debug)]
pub struct Finished {
    /// The class as the backend spells it, if it knows it; else empty.
    pub class: String,
    /// The method as the class spells it, if it has it; else empty.
    pub method: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Status of the HTTP twin.
    pub status: u16,
    /// The finished JSON object.
    pub data: Vec<u8>,
    /// Events in the response.
    pub event_count: u32,
    /// Those that may leave.
    pub broadcasts: Vec<Broadcastable>,
    /// `Set-Cookie` values for the browser.
    pub set_cookie: Vec<String>,
    /// The class's listeners, as JSON, when a mount asked.
    pub listeners: Option<Vec<u8>>,
    /// What became of the user's session.
    pub session: SessionChange,
}

impl Finished {
    /// A call that was not run.
    pub fn refused(failure: &Failure, kind: CallKind, transport: Transport) -> Self {
        let answer = match kind {
            CallKind::Mount => failure.mount_json(transport, false, ""),
            _ => failure.json(transport, false, ""),
        };
        Self {
            outcome: failure.outcome(),
            status: failure.status(),
            data: answer.to_string().into_bytes(),
            ..Self::default()
        }
    }
}

impl Default for Finished {
    /// A failure of the worker's own, to be filled in.
    fn default() -> Self {
        Self {
            class: String::new(),
            method: String::new(),
            outcome: Outcome::ServerError,
            status: 500,
            data: Vec::new(),
            event_count: 0,
            broadcasts: Vec::new(),
            set_cookie: Vec::new(),
            listeners: None,
            session: SessionChange::Same,
        }
    }
}

/// A call as a backend gets it.
#[derive(Debug)]
pub struct Job {
    /// What is asked for.
    pub kind: CallKind,
    /// Who calls.
    pub client: ClientInfo,
    /// The push that it reacts to.
    pub cause: Option<Cause>,
    /// The client's `data`.
    pub payload: Vec<u8>,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
    /// What logs call this request by, on both sides.
    pub request_id: String,
}

impl Job {
    /// Checks the message, and its signature where it needs one, before anybody is woken; the answer, if it is refused.
    fn verify(&self, signer: &Signer) -> Result<Verified<'static>, Box<Finished>> {
        let transport = self.client.transport;
        if self.kind == CallKind::Grant {
            return Ok(Verified::grant());
        }
        Data::read(&self.payload)
            .and_then(|data| {
                Verified::of(&data, self.kind, transport, signer, Locked::Unknown).map(Verified::into_owned)
            })
            .and_then(|verified| names::check(&verified, self.kind).map(|()| verified))
            .map_err(|failure| Box::new(Finished::refused(&failure, self.kind, transport)))
    }
}

/// The feature of a worker that takes locked values as the package does.
fn locked_feature(signer: &Signer) -> Option<String> {
    (signer.locked_values() == LockedValues::Upstream).then(|| "locked-upstream".to_owned())
}

/// The end of a call, later.
pub type FinishedFuture<'a> = Pin<Box<dyn Future<Output = Finished> + Send + 'a>>;

/// Runs calls.
pub trait Backend: Send + Sync {
    /// For people and the hello.
    fn name(&self) -> &'static str;
    /// Runs one call; must not panic and must end.
    fn run(&self, job: Job) -> FinishedFuture<'_>;
    /// What gateways and their operators may want to know of it: `bridge`, or `endpoint` without it; `locked-upstream`
    /// where anybody may choose locked values.
    fn features(&self) -> Vec<String> {
        Vec::new()
    }
    /// Exchanges the keys that states are signed with; a backend that has an engine leaves that to it.
    fn set_signer(&self, _signer: &Signer) {}
    /// Gateways came or went; or this worker is on its way out.
    fn gateways(&self, _connected: usize, _draining: bool) {}
    /// Takes the application's newest code; `false` when there is nothing to do.
    fn reload(&self) -> bool {
        false
    }
    /// What is left to do of that, in processes.
    fn reloading(&self) -> usize {
        0
    }
    /// Adds what it counts to the worker's metrics.
    fn register_metrics(&self, _registry: &Registry) {}
    /// Whether it can run calls now, and if not, why.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
